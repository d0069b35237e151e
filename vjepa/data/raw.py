"""What every source of raw data gives to curation, and what it says of an episode that it can't give."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vjepa.data.layout import Layout
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video import VideoFile
from vjepa.errors import DataError


class EpisodeError(DataError):
    """One episode can't be used.

    Attributes:
        kind: the reason in a word or two, to be counted: `unreadable`, `missing frames`, `time stamps off`, ...
        file: the file at fault.
    """

    def __init__(self, kind: str, file: Path, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.file = kind, file


@dataclass
class RawEpisode:
    """A recorded episode.

    Attributes:
        index: its number in the data set.
        task: a sentence.
        frames: `uint8 [T, H, W, 3]`, RGB.
        times: `float64 [T]`, s from the first frame.
        states: `float32 [T, S]`, as the mapping made them; S = 0 where there is video alone.
        actions: `float32 [T - 1, A]`, as recorded from each frame to the next; None where the states give them.
        fingerprint: SHA-256 of the states of all rows, as mapped, whichever were chosen, and of the frames where there
            are no states: copies have the same.
        file: where its rows are.
        notes: what was found otherwise than the data set says, and set right.
    """

    index: int
    task: str
    frames: np.ndarray
    times: np.ndarray
    states: np.ndarray
    actions: np.ndarray | None
    fingerprint: str
    file: Path
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """An open data set. CONTRIBUTING.md says what adding one takes.

    Attributes:
        path: the folder; nothing outside is read.
        robot: its type, which names the source in keys.
        layout: what its states and actions are.
        episodes: one entry an episode, in an order that does not change, each with its number as `index`.
    """

    path: Path
    robot: str
    layout: Layout

    @property
    def episodes(self) -> Sequence[Any]:
        """The index."""

    def read(self, entry: Any, fps: float) -> RawEpisode:
        """An episode, with the rows nearest to every `1 / fps` s and the frames shown at them.

        Raises:
            EpisodeError: it can't be used; the others still can.
        """

    def files(self, entry: Any) -> Sequence[Path]:
        """The files that an episode is read from, as far as the index names them."""

    def facts(self, entry: Any) -> Any:
        """What else the reading of an episode hangs on: its entry, and of the whole data set what concerns it.

        It is made of dataclasses, lists, texts, numbers and paths, and differs from entry to entry; episodes that are
        added to the data set leave it, so a number that follows from the order of names is not in it.
        """

    def close(self) -> None:
        """Close what is open."""


def facts_in_words(dataset: Source, entry: Any) -> str:
    """What a data set says of an entry, wherever its folder is: equal for equal entries."""

    def plain(value: Any) -> Any:
        return value.relative_to(dataset.path).as_posix() if isinstance(value, Path) else asdict(value)

    return json.dumps(dataset.facts(entry), default=plain, sort_keys=True)


@dataclass
class Rows:
    """All rows of an episode, as the mapping made them.

    Attributes:
        times: `float64 [T]`, s.
        states: `float32 [T, S]`.
        commands: `float32 [T, A]`, the recorded action of each row; None where actions are derived.
    """

    times: np.ndarray
    states: np.ndarray
    commands: np.ndarray | None

    @staticmethod
    def of(mapping: StateMapping, times: np.ndarray, columns: Mapping[str, np.ndarray]) -> Rows:
        """Rows of columns `[T, W]`.

        Raises:
            ValueError, IndexError: values can't be what the mapping says they are.
        """
        return Rows(times, mapping.states(columns, len(times)), mapping.commands(columns, len(times)))

    def fingerprint(self, frames: np.ndarray) -> str:
        """See `RawEpisode`."""
        return hashlib.sha256((self.states if self.states.size else frames).tobytes()).hexdigest()

    def actions(self, mapping: StateMapping, chosen: np.ndarray) -> np.ndarray | None:
        """Recorded actions from each of the chosen rows `int64 [N]`, ascending, to the next: `float32 [N - 1, A]`."""
        if self.commands is None:
            return None
        if mapping.between == "last":
            return self.commands[np.maximum(chosen[1:] - 1, chosen[:-1])]
        parts = [self.commands[first:after].sum(0, dtype=float) for first, after in pairwise(chosen)]
        return np.array(parts, np.float32).reshape(-1, self.commands.shape[1])


def nearest_rows(times: np.ndarray, fps: float) -> np.ndarray:
    """Rows nearest to every `1 / fps` s from the first one on: ascending `times` (s) to `int64 [N]`."""
    wanted = times[0] + np.arange(math.floor((times[-1] - times[0]) * fps + 1e-3) + 1) / fps
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1) if len(times) > 1 else np.zeros(1, np.int64)
    before = np.maximum(after - 1, 0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def frames_by_order(
    file: Path, chosen: np.ndarray, rows: int, missing: int = 0
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The frames of the chosen rows `int64 [N]`, ascending, the k-th frame being the k-th row's.

    Args:
        file: a video of one episode.
        chosen: rows, of which some may be chosen more than once.
        rows: of the episode.
        missing: frames that the last rows may lack.

    Returns:
        `uint8 [M, H, W, 3]` and the rows `int64 [M]` that they belong to, those without a frame left out, with a note.

    Raises:
        EpisodeError: the file can't be decoded, or has more frames than there are rows, or too few.
    """
    wanted, shown, count = set(chosen.tolist()), {}, 0
    try:
        with VideoFile(file) as video:
            for frame, _ in video.frames_from(0.0):
                if count in wanted:
                    shown[count] = video.to_rgb(frame)
                count += 1
    except DataError as error:
        raise EpisodeError("unreadable", file, str(error).removeprefix(f"{file} ")) from error
    if not rows - missing <= count <= rows or not shown:
        raise EpisodeError("missing frames", file, f"{count} frames for {rows} rows")
    notes = (f"its video has {count} frames for {rows} rows: they are matched from the start",) if count < rows else ()
    kept = chosen[chosen < count]
    return np.stack([shown[row] for row in kept.tolist()]), kept, notes
