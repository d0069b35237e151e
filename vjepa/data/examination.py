"""One episode of a raw data set: read, checked, made small, hashed and packed, or left out with the reason.

What comes out hangs on the episode's files, its entry in the index, the settings and this code, and on nothing else:
`vjepa.data.journal` keeps it by these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vjepa.config import CurateConfig
from vjepa.data.duplicates import perceptual_hashes
from vjepa.data.episode import Episode
from vjepa.data.pictures import black_frames, largest_change, longest_freeze
from vjepa.data.raw import EpisodeError, RawEpisode, Source
from vjepa.data.shards import SHORT_SHOT, pack_episode
from vjepa.data.shots import changes, cuts, shots
from vjepa.imaging import square_resize

STRIP, STRIP_SIZE = 6, 64
"""Pictures kept of an episode that is left out, and pixels on each side of them."""
NO_PICTURES = np.zeros((0, STRIP_SIZE, STRIP_SIZE, 3), np.uint8)


@dataclass
class Examined:
    """An episode that can be used.

    Attributes:
        row: its manifest row, as `vjepa.data.shards.PackedEpisode` has it.
        blocks: its tar blocks.
        fingerprint: of the recording that it comes from: the shots of a video have the same.
        hashes: `uint64 [MOMENTS]`, perceptual hashes.
        file: where its rows are, relative to the data set.
        notes: what was set right.
    """

    row: dict[str, Any]
    blocks: bytes
    fingerprint: str
    hashes: np.ndarray
    file: str
    notes: tuple[str, ...]


@dataclass
class Rejected:
    """An episode that is left out, with a few pictures of it `uint8 [N, STRIP_SIZE, STRIP_SIZE, 3]` if it has any."""

    episode: int
    file: str
    kind: str
    reason: str
    pictures: np.ndarray = field(default_factory=lambda: NO_PICTURES)


@dataclass
class Outcome:
    """What became of an entry of the index.

    Attributes:
        parts: one episode, or one for each shot of a video without states.
        lasting: whether reading it again would give the same as long as its files do not change. What could not be
            used as it was read may have been a disk that was away; what was read may lie in a file that the index does
            not name.
    """

    parts: list[Examined | Rejected]
    lasting: bool

    def light(self) -> Outcome:
        """The same without tar blocks and pictures, so that millions fit into memory."""
        parts = [
            replace(part, blocks=b"") if isinstance(part, Examined) else replace(part, pictures=NO_PICTURES)
            for part in self.parts
        ]
        return Outcome(parts, self.lasting)


def examine(dataset: Source, entry: Any, config: CurateConfig) -> Outcome:
    """Read, check, resize, hash and pack the episode of an entry."""
    try:
        raw = dataset.read(entry, config.fps)
    except EpisodeError as error:
        return Outcome([rejected(dataset, entry.index, error)], lasting=False)
    frames = square_resize(raw.frames, config.image_size)
    spans = [slice(0, len(frames))] if raw.states.shape[1] else shots(frames, config.max_scene_change)
    parts: list[Examined | Rejected] = []
    for number, span in enumerate(spans):
        suffix = f"-{number:02d}" if len(spans) > 1 else ""
        try:
            parts.append(examine_span(dataset, raw, frames, span, suffix, config))
        except EpisodeError as error:
            if suffix and error.kind == "too short":
                error = EpisodeError(SHORT_SHOT, error.file, f"{len(frames[span])} frames from one cut to the next")
            parts.append(rejected(dataset, entry.index, error, frames[span]))
    return Outcome(parts, raw.file in dataset.files(entry))


def examine_span(
    dataset: Source, raw: RawEpisode, frames: np.ndarray, span: slice, suffix: str, config: CurateConfig
) -> Examined:
    """Check and pack a stretch of a recording as an episode.

    Args:
        dataset: where it comes from.
        raw: the recording.
        frames: all of its frames, at the size of the shards.
        span: the stretch.
        suffix: what tells its key from those of the recording's other stretches.
        config: what to take and what to leave out.

    Raises:
        EpisodeError: it is to be left out.
    """
    shown, times, states = frames[span], raw.times[span], raw.states[span]
    layout = dataset.layout
    if not np.isfinite(states).all():
        row, column = np.argwhere(~np.isfinite(states))[0]
        raise EpisodeError("NaN state", raw.file, f"{layout.state_names[column]} at {times[row]:.3f} s")
    if raw.actions is not None and not np.isfinite(raw.actions).all():
        row, column = np.argwhere(~np.isfinite(raw.actions))[0]
        at = f"{layout.action_names[column]} at {raw.times[row]:.3f} s"
        raise EpisodeError("NaN state", raw.file, f"in the recorded action, {at}")
    if len(shown) < config.min_frames:
        raise EpisodeError("too short", raw.file, f"{len(shown)} frames at {config.fps:g} a second")
    moved = layout.actions_between(states)
    check_pictures(raw, shown, times, moved, config)
    source = re.sub(r"[^a-z0-9]+", "-", dataset.robot.lower()).strip("-") or "raw"
    task, notes = raw.task.strip(), raw.notes
    if not task and states.shape[1]:
        notes = (*notes, "it has no task: it is used without one")
    actions = moved if raw.actions is None else raw.actions[span.start : span.stop - 1]
    episode = Episode(episode_key(source, raw.index, suffix), task, shown, times - times[0], states, actions)
    packed = pack_episode(episode, source, raw.index, config.fps, layout.pose)
    if layout.pose and packed.row["motion_m"] < config.min_motion:
        raise EpisodeError("motionless", raw.file, f"the hand moves {packed.row['motion_m']:.3f} m in all")
    file = raw.file.relative_to(dataset.path).as_posix()
    hashes = perceptual_hashes(raw.frames[span])
    return Examined(packed.row, packed.blocks, raw.fingerprint, hashes, file, notes)


def episode_key(source: str, number: int, suffix: str = "") -> str:
    """The name of an episode, or of one of its stretches."""
    return f"{source}-{number:06d}{suffix}"


def check_pictures(
    raw: RawEpisode, frames: np.ndarray, times: np.ndarray, moved: np.ndarray, config: CurateConfig
) -> None:
    """Refuse what is black, frozen or cut; `moved` `float32 [T - 1, S]` is what the states change by.

    Raises:
        EpisodeError: it says where.
    """
    black = black_frames(frames)
    if black.mean() > config.max_black:
        detail = f"{black.sum()} of {len(black)} frames, the first at {times[black.argmax()]:.3f} s"
        raise EpisodeError("black", raw.file, detail)
    start, end = longest_freeze(largest_change(frames), times, moved)
    if end - start > config.max_frozen:
        while_what = " while the robot moves" if moved.shape[1] else ""
        raise EpisodeError("frozen", raw.file, f"the picture stands still from {start:.3f} to {end:.3f} s{while_what}")
    if not moved.shape[1]:
        return  # a video without states is in shots already
    later = cuts(changes(frames), config.max_scene_change)
    if len(later):
        raise EpisodeError("shot cut", raw.file, f"the picture jumps to another scene at {times[later[0]]:.3f} s")


def rejected(dataset: Source, episode: int, error: EpisodeError, frames: np.ndarray | None = None) -> Rejected:
    """An episode that is left out for what the error says, with pictures of it if it has frames."""
    found = Rejected(episode, error.file.relative_to(dataset.path).as_posix(), error.kind, str(error))
    if frames is not None:
        moments = np.unique(np.linspace(0, len(frames) - 1, STRIP).round().astype(int))
        found.pictures = square_resize(frames[moments], STRIP_SIZE)
    return found
