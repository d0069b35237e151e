"""LeRobot data sets, read from their folder alone.

What the folder states is checked, not believed: path templates are followed, rows are searched by `episode_index`,
spans are held against the video's length, and every chosen frame's own time stamp against the row's. What is wrong with
one episode is an `EpisodeError` when that episode is read; only what spoils all of them is an error on opening.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vjepa.data.lerobot_index import LAYOUTS, EpisodeEntry
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
        states: `float32 [T, S]`, in the data set's own meaning.
        fingerprint: SHA-256 of all states recorded, whichever frames were chosen: copies have the same.
        notes: what was found otherwise than the data set says, and set right.
    """

    index: int
    task: str
    frames: np.ndarray
    times: np.ndarray
    states: np.ndarray
    fingerprint: str
    notes: tuple[str, ...] = ()


def open_dataset(path: Path) -> LeRobotDataset:
    """Open the data set in the folder `path`.

    Raises:
        DataError: the folder is missing or no LeRobot data set, its version is unknown, its index is damaged, or it
            has no episodes.
    """
    file = path / "meta/info.json"
    if not file.exists():
        raise DataError(f"{path} is missing or no LeRobot data set: there is no {file}")
    try:
        info = json.loads(file.read_text())
        version, fps, features = str(info["codebase_version"]), float(info["fps"]), dict(info["features"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} can't be used: {type(error).__name__}: {error}") from error
    if version not in LAYOUTS:
        raise DataError(f"{file}: LeRobot {version} can't be read yet; known are {', '.join(LAYOUTS)}")
    episodes = LAYOUTS[version](path, info)
    if not episodes:
        raise DataError(f"{path} holds no episodes")
    return LeRobotDataset(path, fps, features, str(info.get("robot_type") or path.name), episodes)


class LeRobotDataset:
    """An open data set: read its `episodes` one by one, best in their order, since files are kept open.

    Attributes:
        fps: rows a second.
        features: as in `meta/info.json`.
        robot: the robot's type, or the folder's name where none is given.
        episodes: the index, sorted by episode.
    """

    def __init__(
        self, path: Path, fps: float, features: dict[str, Any], robot: str, episodes: list[EpisodeEntry]
    ) -> None:
        self.path, self.fps, self.features, self.robot, self.episodes = path, fps, features, robot, episodes
        self.data_files = sorted({entry.data_file for entry in episodes if not entry.problem})
        self._table: tuple[Path, str, DataTable] | None = None
        self._video: tuple[Path, VideoFile] | None = None

    def require(self, camera: str, state: str, fps: float) -> None:
        """Check that there are such a video and such a column, and frames enough.

        Raises:
            DataError: it says what there is instead.
        """
        for name, wanted in ((camera, True), (state, False)):
            fitting = [key for key, feature in self.features.items() if (feature.get("dtype") == "video") == wanted]
            if name not in fitting:
                what = "video" if wanted else "column"
                raise DataError(f"{self.path} has no {what} {name!r}; it has {', '.join(sorted(fitting)) or 'none'}")
        if fps > self.fps * 1.001:
            raise DataError(f"{self.path} has {self.fps:g} frames a second, {fps:g} are wanted")

    def read(self, entry: EpisodeEntry, camera: str, state: str, fps: float | None = None) -> RawEpisode:
        """Read an episode, with the rows nearest to every `1 / fps` s (None: all rows) and the frames shown at them.

        Raises:
            EpisodeError: files are missing or damaged, or rows, time stamps and video contradict each other.
        """
        if entry.problem:
            raise EpisodeError("unreadable", entry.data_file, entry.problem)
        times, states, notes = self.rows(entry, state)
        fingerprint = hashlib.sha256(states.tobytes()).hexdigest()
        chosen = np.arange(len(times)) if fps is None else nearest_rows(times, fps)
        frames = self.frames(entry, camera, times[chosen])
        return RawEpisode(
            entry.index, entry.task, frames, times[chosen] - times[0], states[chosen], fingerprint, entry.notes + notes
        )

    def rows(self, entry: EpisodeEntry, state: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Time stamps `float64 [T]` (s) and states `float32 [T, S]` of all rows of an episode, checked, and notes.

        Stamps that keep their pace and only start elsewhere are counted from the first row: they continue the episode
        before, or begin one frame late, while the rows and the frames are all there.
        """
        # Some converters name the file beside the right one where a file was full (lerobot#2401).
        files, place = self.data_files, self.data_files.index(entry.data_file)
        for file in (entry.data_file, *files[place + 1 : place + 2], *files[max(place - 1, 0) : place]):
            table = self.table(file, state)
            rows = np.flatnonzero(table.episodes == entry.index)
            if len(rows):
                break
        if len(rows) != entry.length:
            detail = f"{len(rows)} rows of the {entry.length} that the index states"
            raise EpisodeError("unreadable", entry.data_file, detail)
        times = table.times[rows]
        notes: tuple[str, ...] = ()
        start = times[0]
        if abs(start) > 0.5 / self.fps:
            times = times - start
            notes = (f"its time stamps start at {start:.3f} s: they are counted from the first row",)
        off = np.abs(times - np.arange(len(rows)) / self.fps)
        if not (off <= 0.5 / self.fps).all():  # NaN is off, too
            row = int(np.argmax(~(off <= 0.5 / self.fps)))
            due = f"{row / self.fps:.3f} s is due at {self.fps:g} frames a second"
            detail = f"row {row} says {times[row]:.3f} s{' after the first' if notes else ''}, {due}"
            raise EpisodeError("time stamps off", file, detail)
        return times, table.states[rows], notes

    def table(self, file: Path, state: str) -> DataTable:
        """The columns of a data file; the last one is kept, since neighbouring episodes share a file."""
        if self._table is None or self._table[:2] != (file, state):
            self._table = (file, state, read_table(file, state))
        return self._table[2]

    def frames(self, entry: EpisodeEntry, camera: str, times: np.ndarray) -> np.ndarray:
        """The frames `uint8 [N, H, W, 3]` of an episode at `times` (s from its start, ascending)."""
        span = entry.videos[camera]
        tolerance = 0.5 / self.fps
        try:
            video = self.video(span.file)
            needed, there = span.start + times[-1], min(span.end, video.duration)
            if needed > there + tolerance:
                detail = f"its last frame is due at {needed:.3f} s, its video ends at {there:.3f} s"
                raise EpisodeError("missing frames", span.file, detail)
            frames, shown = video.frames_at(span.start + times)
        except EpisodeError:
            raise
        except DataError as error:
            self.close()
            raise EpisodeError("unreadable", span.file, str(error).removeprefix(f"{span.file} ")) from error
        off = np.abs(shown - span.start - times)
        if off.max() > tolerance:
            at = times[off.argmax()]
            raise EpisodeError("missing frames", span.file, f"no frame within {tolerance:.3f} s of {at:.3f} s")
        return frames

    def video(self, file: Path) -> VideoFile:
        """The video file, opened; the last one is kept open."""
        if self._video is None or self._video[0] != file:
            self.close()
            self._video = (file, VideoFile(file))
        return self._video[1]

    def close(self) -> None:
        """Close the video that is open, if one is."""
        if self._video is not None:
            self._video[1].container.close()
            self._video = None


def nearest_rows(times: np.ndarray, fps: float) -> np.ndarray:
    """Rows nearest to every `1 / fps` s from the first one on: ascending `times` (s) to `int64 [N]`."""
    wanted = times[0] + np.arange(math.floor((times[-1] - times[0]) * fps + 1e-3) + 1) / fps
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1) if len(times) > 1 else np.zeros(1, np.int64)
    before = np.maximum(after - 1, 0)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


@dataclass
class DataTable:
    """Columns of a data file: `episodes` int64 [R], `times` float64 [R] (s), `states` float32 [R, S]."""

    episodes: np.ndarray
    times: np.ndarray
    states: np.ndarray


def read_table(file: Path, state: str) -> DataTable:
    """Read the columns that episodes are made of.

    Raises:
        EpisodeError: the file is missing or damaged, lacks a column, or the states differ in width.
    """
    try:
        table = pq.read_table(file, columns=["episode_index", "timestamp", state], partitioning=None)
        column = table.column(state).combine_chunks()
        values = column.flatten() if pa.types.is_nested(column.type) else column
        states = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(table), -1)
        episodes = table.column("episode_index").to_numpy().astype(np.int64)
        return DataTable(episodes, table.column("timestamp").to_numpy().astype(np.float64), states)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise EpisodeError("unreadable", file, " ".join(str(error).split())) from error
