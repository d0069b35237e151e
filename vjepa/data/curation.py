"""From a raw data set to shards: which episodes are used, in which split, and why others are not.

The split of an episode hangs on its own states alone, so it stays where it is when episodes are added, moved or encoded
anew. Near-duplicates share a split, that of the member with the smallest hash; so the one thing that can move an
episode is a new near-duplicate with a smaller hash, since leaving it would leak one split into the other.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.duplicates import near_duplicates, perceptual_hashes
from vjepa.data.episode import Episode
from vjepa.data.layout import write_layout
from vjepa.data.raw import EpisodeError, Source
from vjepa.data.s3 import require_bucket
from vjepa.data.shards import QUARANTINE, REPAIRS, PackedEpisode, pack_episode, write_shards
from vjepa.data.sources import open_source
from vjepa.errors import DataError, UserError
from vjepa.imaging import square_resize
from vjepa.processes import worker_pool

KINDS = ("unreadable", "missing frames", "time stamps off", "NaN state", "too short", "motionless")
"""Why an episode may be left out."""


@dataclass
class Examined:
    """An episode that can be used; its tar blocks wait in the file `blocks`."""

    row: dict[str, Any]
    blocks: Path
    fingerprint: str
    hashes: np.ndarray
    notes: tuple[str, ...]


@dataclass
class Rejected:
    """An episode that is left out."""

    episode: int
    file: str
    kind: str
    reason: str


def curate(
    raw: Path,
    out: Path,
    source: SourceConfig,
    config: CurateConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write the episodes of the data set `raw` as shards into `out`, with a manifest and what was left out.

    Args:
        raw: the data set's folder; nothing else is read.
        out: an empty folder; what was set right in episodes that are used is listed there as well, if anything was.
        source: what the data set is, and which of it makes an episode.
        config: what to take and what to leave out.
        workers: processes; the result does not depend on their number.
        progress: called with the number of episodes done and of all, after each one.

    Returns:
        Counts: episodes read, kept, in each split, repaired, near-duplicates, quarantined by kind.

    Raises:
        DataError: the data set is missing, empty, lacks what the settings name, or no episode can be used; the store
            can't be written to.
    """
    if config.image_size < 2 or config.image_size % 2:
        raise UserError(f"curate.image_size must be an even number of pixels, not {config.image_size}")
    if config.store is not None:
        require_bucket(config.store)
    dataset = open_source(raw, source, config.fps)
    kept: list[Examined] = []
    rejected: list[Rejected] = []
    with TemporaryDirectory(dir=out, prefix=".spool") as spool:
        for done, result in enumerate(examine_all(dataset, source, config, Path(spool), workers), 1):
            if isinstance(result, Examined):
                kept.append(result)
            else:
                rejected.append(result)
            if progress is not None:
                progress(done, len(dataset.episodes))
        if not kept:
            raise DataError(
                f"{raw}: none of {len(rejected)} episodes can be used; the first, {rejected[0].episode}, "
                f"is left out since {rejected[0].reason}"
            )
        assign_splits(kept, config.duplicate_distance, config.test_share)
        packed = (PackedEpisode(episode.row, take_blocks(episode)) for episode in kept)
        manifest = write_shards(out, packed, config.episodes_per_shard, config.store)
    quarantine = [
        {"episode": item.episode, "file": item.file, "kind": item.kind, "reason": item.reason} for item in rejected
    ]
    write_layout(out, dataset.layout)
    (out / QUARANTINE).write_text(json.dumps(quarantine, indent=2) + "\n")
    repaired = [{"episode": item.row["episode_index"], "notes": list(item.notes)} for item in kept if item.notes]
    if repaired:
        (out / REPAIRS).write_text(json.dumps(repaired, indent=2) + "\n")
    kinds = Counter(item.kind for item in rejected)
    return {
        "episodes_read": len(dataset.episodes),
        "episodes_kept": len(kept),
        "episodes_train": int((manifest["split"] == "train").sum()),
        "episodes_test": int((manifest["split"] == "test").sum()),
        "repaired": len(repaired),
        "near_duplicates": len(kept) - manifest["group"].nunique(),
        "frames": int(manifest["frames"].sum()),
        "quarantined": {kind.replace(" ", "_").lower(): kinds[kind] for kind in KINDS},
    }


def examine_all(
    dataset: Source, source: SourceConfig, config: CurateConfig, spool: Path, workers: int
) -> Iterator[Examined | Rejected]:
    """Examine every episode, in order; in `workers` processes if more than one."""
    if workers == 1:
        for entry in dataset.episodes:
            yield examine(dataset, entry, config, spool)
        dataset.close()
        return
    with worker_pool(workers, "free some memory", start_worker, (dataset.path, source, config, spool)) as pool:
        yield from pool.map(examine_in_worker, range(len(dataset.episodes)), chunksize=16)


def start_worker(raw: Path, source: SourceConfig, config: CurateConfig, spool: Path) -> None:
    """Open the data set once in each process."""
    global _worker
    _worker = open_source(raw, source, config.fps), config, spool


def examine_in_worker(place: int) -> Examined | Rejected:
    """Examine the episode at `place` in the index."""
    dataset, config, spool = _worker
    return examine(dataset, dataset.episodes[place], config, spool)


_worker: tuple[Source, CurateConfig, Path]


def examine(dataset: Source, entry: Any, config: CurateConfig, spool: Path) -> Examined | Rejected:
    """Read, check, resize, hash and pack one episode."""
    try:
        raw = dataset.read(entry, config.fps)
        if not np.isfinite(raw.states).all():
            row, column = np.argwhere(~np.isfinite(raw.states))[0]
            raise EpisodeError("NaN state", raw.file, f"{dataset.layout.state_names[column]} at {raw.times[row]:.3f} s")
        if raw.actions is not None and not np.isfinite(raw.actions).all():
            row, column = np.argwhere(~np.isfinite(raw.actions))[0]
            at = f"{dataset.layout.action_names[column]} at {raw.times[row]:.3f} s"
            raise EpisodeError("NaN state", raw.file, f"in the recorded action, {at}")
        if len(raw.frames) < config.min_frames:
            raise EpisodeError("too short", raw.file, f"{len(raw.frames)} frames at {config.fps:g} a second")
        source = re.sub(r"[^a-z0-9]+", "-", dataset.robot.lower()).strip("-") or "raw"
        frames = square_resize(raw.frames, config.image_size)
        task, notes = raw.task.strip(), raw.notes
        if not task and raw.states.shape[1]:
            notes = (*notes, "it has no task: it is used without one")
        actions = dataset.layout.actions_between(raw.states) if raw.actions is None else raw.actions
        episode = Episode(f"{source}-{raw.index:06d}", task, frames, raw.times, raw.states, actions)
        packed = pack_episode(episode, source, raw.index, config.fps, dataset.layout.pose)
        if dataset.layout.pose and packed.row["motion_m"] < config.min_motion:
            raise EpisodeError("motionless", raw.file, f"the hand moves {packed.row['motion_m']:.3f} m in all")
    except EpisodeError as error:
        return Rejected(entry.index, error.file.relative_to(dataset.path).as_posix(), error.kind, str(error))
    blocks = spool / f"{raw.index}"
    blocks.write_bytes(packed.blocks)
    return Examined(packed.row, blocks, raw.fingerprint, perceptual_hashes(raw.frames), notes)


def take_blocks(episode: Examined) -> bytes:
    """The tar blocks of an episode; their file goes, so that they lie on the disk once."""
    blocks = episode.blocks.read_bytes()
    episode.blocks.unlink()
    return blocks


def assign_splits(episodes: list[Examined], duplicate_distance: float, test_share: float) -> None:
    """Set `split` and `group` in the rows: near-duplicates share both, whatever their order."""
    labels = near_duplicates(np.stack([episode.hashes for episode in episodes]), duplicate_distance)
    groups: dict[int, list[Examined]] = {}
    for label, episode in zip(labels, episodes, strict=True):
        groups.setdefault(int(label), []).append(episode)
    for members in groups.values():
        first = min(members, key=lambda member: (member.fingerprint, member.row["key"]))
        for member in members:
            member.row["group"] = first.row["key"]
            member.row["split"] = split_of(first.fingerprint, test_share)


def split_of(fingerprint: str, test_share: float) -> str:
    """The split of an episode: its hash, read as a fraction of all hashes, is in the test share or not."""
    return "test" if int(fingerprint[:16], 16) / 2**64 < test_share else "train"
