"""LeRobot data sets, read from their folder alone.

What the folder states is checked, not believed: path templates are followed, rows are searched by `episode_index`,
spans are held against the video's length, and every chosen frame's own time stamp against the row's. What is wrong with
one episode is an `EpisodeError` when that episode is read; only what spoils all of them is an error on opening.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.lerobot_index import LAYOUTS, EpisodeEntry, VideoSpan
from vjepa.data.lerobot_table import DataTable, read_table
from vjepa.data.lerobot_tasks import named_by_rows
from vjepa.data.raw import EpisodeError, RawEpisode, Rows, frames_by_order, nearest_rows
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video import VideoFile
from vjepa.errors import DataError


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
        info = read_info(file)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file} can't be used: {type(error).__name__}: {error}") from error
    version = info["codebase_version"]
    if version not in LAYOUTS:
        raise DataError(f"{file}: LeRobot {version} can't be read yet; known are {', '.join(LAYOUTS)}")
    episodes = LAYOUTS[version](path, info)
    if not episodes:
        raise DataError(f"{path} holds no episodes")
    return LeRobotDataset(path, info, episodes)


def read_info(file: Path) -> dict[str, Any]:
    """The content of `meta/info.json`, as far as it is used.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: a key is missing, of another type or out of its range.
    """
    info = json.loads(file.read_text(encoding="utf-8"))
    fps, features = info["fps"], info["features"]
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise TypeError("features must be settings by name")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf:
        raise ValueError(f"fps must be a number above 0, not {fps!r}")
    for name in ("data_path", *(["video_path"] if any(f.get("dtype") == "video" for f in features.values()) else [])):
        if not isinstance(info[name], str):
            raise TypeError(f"{name} must be a text, not {info[name]!r}")
    return {**info, "codebase_version": str(info["codebase_version"])}


def open_lerobot(path: Path, camera: str | None, mapping: StateMapping, fps: float) -> LeRobotSource:
    """Open a data set as a source of one camera and one state.

    Raises:
        DataError: as `open_dataset`; or it lacks the camera, a column, values in it, or frames enough.
    """
    dataset = open_dataset(path)
    return LeRobotSource(dataset, dataset.require(camera, mapping.needs, fps), mapping)


class LeRobotSource:
    """See `vjepa.data.raw.Source`."""

    def __init__(self, dataset: LeRobotDataset, camera: str, mapping: StateMapping) -> None:
        self.dataset, self.camera, self.mapping = dataset, camera, mapping
        self.path, self.robot, self.episodes = dataset.path, dataset.robot, dataset.episodes
        self.layout = mapping.layout

    def read(self, entry: EpisodeEntry, fps: float) -> RawEpisode:
        """One episode."""
        return self.dataset.read(entry, self.camera, self.mapping, fps)

    def files(self, entry: EpisodeEntry) -> list[Path]:
        """The data file that the index names and the camera's video file."""
        return [entry.data_file, *(span.file for span in self.spans(entry))]

    def facts(self, entry: EpisodeEntry) -> list[Any]:
        """The entry, the frame rate, and the rows of all episodes in the same video file."""
        return [entry, self.dataset.fps, *(self.dataset.rows_in(span.file) for span in self.spans(entry))]

    def spans(self, entry: EpisodeEntry) -> list[VideoSpan]:
        """Where the camera's frames are; nowhere for an entry that can't be read."""
        return [entry.videos[self.camera]] if self.camera in entry.videos else []

    def close(self) -> None:
        """Close the video that is open."""
        self.dataset.close()


class LeRobotDataset:
    """An open data set: read its `episodes` one by one, best in their order, since files are kept open.

    Attributes:
        info: what `meta/info.json` says; of it:
        fps: rows a second.
        features: settings of columns and cameras, by name.
        robot: the robot's type, or the folder's name where none is given.
        episodes: the index, sorted by episode.
    """

    def __init__(self, path: Path, info: dict[str, Any], episodes: list[EpisodeEntry]) -> None:
        self.path, self.info, self.episodes = path, info, episodes
        self.fps, self.features = float(info["fps"]), info["features"]
        self.robot = str(info.get("robot_type") or path.name)
        self.data_files = sorted({entry.data_file for entry in episodes if not entry.problem})
        self._table: tuple[Path, tuple[str, ...], DataTable] | None = None
        self._video: tuple[Path, VideoFile] | None = None
        self._stamps: np.ndarray | None = None  # of that video's frames
        self._rows: Counter[Path] | None = None

    def require(self, camera: str | None, columns: Mapping[str, int], fps: float) -> str:
        """Check that there are such a video and such columns, each of so many values or more, and frames enough.

        Returns:
            The camera.

        Raises:
            DataError: it says what there is instead.
        """
        videos = sorted(key for key, feature in self.features.items() if feature.get("dtype") == "video")
        others = {key: feature for key, feature in self.features.items() if key not in videos}
        if camera is None or camera not in videos:
            raise DataError(
                f"{self.path} has no video {camera!r} (source.camera); it has {', '.join(videos) or 'none'}"
            )
        for name, width in columns.items():
            if name not in others:
                raise DataError(f"{self.path} has no column {name!r}; it has {', '.join(sorted(others)) or 'none'}")
            shape = list(others[name].get("shape") or [])
            if len(shape) != 1 or shape[0] < width:
                raise DataError(
                    f"{self.path}: the column {name!r} has the shape {shape}, "
                    f"the source's settings take its value number {width - 1} (from 0)"
                )
        if fps > self.fps * 1.001:
            raise DataError(f"{self.path} has {self.fps:g} frames a second, {fps:g} are wanted")
        return camera

    def read(self, entry: EpisodeEntry, camera: str, mapping: StateMapping, fps: float | None = None) -> RawEpisode:
        """Read an episode, with the rows nearest to every `1 / fps` s (None: all rows) and the frames shown at them.

        Raises:
            EpisodeError: files are missing or damaged, or rows, time stamps and video contradict each other.
        """
        if entry.problem:
            raise EpisodeError("unreadable", entry.data_file, entry.problem)
        file, rows = self.rows(entry, mapping)
        times = rows.times
        chosen = np.arange(len(times)) if fps is None else nearest_rows(times - times[0], fps)
        frames, notes = self.frames(entry, camera, times, chosen)
        return RawEpisode(
            index=entry.index,
            task=self.task(entry, file, mapping),
            frames=frames,
            times=times[chosen] - times[0],
            states=rows.states[chosen],
            actions=rows.actions(mapping, chosen),
            fingerprint=rows.fingerprint(frames),
            file=file,
            notes=(*entry.notes, *entry.videos[camera].notes, *notes),
        )

    def rows(self, entry: EpisodeEntry, mapping: StateMapping) -> tuple[Path, Rows]:
        """The file that holds an episode's rows, and all of them.

        Their stamps keep the pace of the frame rate, wherever they start.
        """
        # Some converters name the file beside the right one where a file was full (lerobot#2401).
        files, place = self.data_files, self.data_files.index(entry.data_file)
        for file in (entry.data_file, *files[place + 1 : place + 2], *files[max(place - 1, 0) : place]):
            table = self.table(file, tuple(mapping.needs))
            rows = np.flatnonzero(table.episodes == entry.index)
            if len(rows):
                break
        if len(rows) != entry.length:
            detail = f"{len(rows)} rows of the {entry.length} that the index states"
            raise EpisodeError("unreadable", entry.data_file, detail)
        times = table.times[rows]
        off = np.abs(times - times[0] - np.arange(len(rows)) / self.fps)
        if not (off <= 0.5 / self.fps).all():  # NaN is off, too
            row = int(np.argmax(~(off <= 0.5 / self.fps)))
            due = f"{times[0] + row / self.fps:.3f} s is due at {self.fps:g} frames a second"
            raise EpisodeError("time stamps off", file, f"row {row} says {times[row]:.3f} s, {due}")
        try:
            return file, Rows.of(mapping, times, {name: values[rows] for name, values in table.columns.items()})
        except (IndexError, ValueError) as error:
            raise EpisodeError("unreadable", file, f"its states can't be made of its columns: {error}") from error

    def task(self, entry: EpisodeEntry, file: Path, mapping: StateMapping) -> str:
        """What an episode is about, by what its rows in this file say."""
        table = self.table(file, tuple(mapping.needs))
        return named_by_rows(
            entry.task, entry.tasks, None if table.tasks is None else table.tasks[table.episodes == entry.index]
        )

    def table(self, file: Path, columns: tuple[str, ...]) -> DataTable:
        """The columns of a data file; the last one is kept, since neighbouring episodes share a file."""
        if self._table is None or self._table[:2] != (file, columns):
            self._table = (file, columns, read_table(file, columns))
        return self._table[2]

    def frames(
        self, entry: EpisodeEntry, camera: str, times: np.ndarray, chosen: np.ndarray
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """The frames `uint8 [N, H, W, 3]` of the chosen rows, and notes; `times` (s) are those of all rows.

        Every row, chosen or not, must have a frame of its time: a wrong rate shows in the rows that are farthest from
        the first. Stamps that start late, in rows that have a frame each, are counted from the first row: they continue
        the episode before, or begin one frame late. A file that holds this episode alone, with a frame for each row at
        another pace, has a header that lies: rows and frames are then matched by their order.
        """
        span, tolerance = entry.videos[camera], 0.5 / self.fps
        if span.problem:
            raise EpisodeError("unreadable", entry.data_file, span.problem)
        notes: tuple[str, ...] = ()
        try:
            video = self.video(span.file)
            if self._stamps is None:
                self._stamps = video.stamps()
            stamps = self._stamps - span.start
            stamps = stamps[(stamps > -tolerance) & (stamps < span.end - span.start - 0.5 * tolerance)]
            one_each, late = len(stamps) == entry.length, abs(times[0]) > tolerance
            if late and one_each:
                notes = (f"its time stamps start at {times[0]:.3f} s: they are counted from the first row",)
                times = times - times[0]
            gaps = distance_to_nearest(times, stamps)
            alone = span.end == math.inf
            if not (gaps <= tolerance).all() and one_each and alone and evenly_spaced(stamps):
                frames, _, _ = frames_by_order(span.file, chosen, entry.length)
                rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
                lie = f"its video says {rate:.4g} frames a second, its rows {self.fps:g}"
                return frames, (*notes, f"{lie}: they are matched by their order")
            self._require_frames(entry, span, times, gaps, stamps)
            return video.frames_at(span.start + times[chosen])[0], notes
        except EpisodeError:
            raise
        except DataError as error:
            self.close()
            raise EpisodeError("unreadable", span.file, str(error).removeprefix(f"{span.file} ")) from error

    def _require_frames(
        self, entry: EpisodeEntry, span: VideoSpan, times: np.ndarray, gaps: np.ndarray, stamps: np.ndarray
    ) -> None:
        """Refuse an episode of whose rows one has no frame, or whose file shows more of them than there are."""
        tolerance = 0.5 / self.fps
        assert self._video is not None and self._stamps is not None
        needed, there = span.start + times[-1], min(span.end, self._video[1].duration)
        if needed > there + tolerance:
            detail = f"its last frame is due at {needed:.3f} s, its video ends at {there:.3f} s"
            raise EpisodeError("missing frames", span.file, detail)
        if not (gaps <= tolerance).all():
            at = times[gaps.argmax()]
            raise EpisodeError("missing frames", span.file, f"no frame within {tolerance:.3f} s of {at:.3f} s")
        # A file with a frame for each of its rows whose spans hold more frames than rows runs too fast.
        if len(self._stamps) == self.rows_in(span.file) and abs(len(stamps) - entry.length) > 1:
            detail = f"{len(stamps)} frames in the time of its {entry.length} rows: its header lies about the rate"
            raise EpisodeError("time stamps off", span.file, detail)

    def rows_in(self, file: Path) -> int:
        """Rows of all episodes in a video file, as the index states them."""
        if self._rows is None:
            self._rows = Counter()
            for entry in self.episodes:
                for held in {span.file for span in entry.videos.values()}:
                    self._rows[held] += entry.length
        return self._rows[file]

    def video(self, file: Path) -> VideoFile:
        """The video file, opened; the last one is kept open."""
        if self._video is None or self._video[0] != file:
            self.close()
            self._video, self._stamps = (file, VideoFile(file)), None
        return self._video[1]

    def close(self) -> None:
        """Close the video that is open, if one is."""
        if self._video is not None:
            self._video[1].container.close()
            self._video = None


def distance_to_nearest(times: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """How far each of `times` is from the nearest of `stamps`, ascending; infinite where there are none."""
    if len(stamps) == 0:
        return np.full(len(times), np.inf)
    after = np.searchsorted(stamps, times).clip(0, len(stamps) - 1)
    return np.minimum(np.abs(stamps[after] - times), np.abs(stamps[np.maximum(after - 1, 0)] - times))


def evenly_spaced(stamps: np.ndarray) -> bool:
    """Whether frames follow each other at one pace, give or take a tenth: then none was dropped between them."""
    steps = np.diff(stamps)
    return len(steps) > 0 and bool(np.ptp(steps) <= 0.1 * np.median(steps))
