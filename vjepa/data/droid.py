"""DROID's raw folders: `trajectory.h5`, `metadata_*.json` and `recordings/MP4` of each episode.

The MP4 headers say 60 frames a second where one frame was stored for each 15 Hz step, so frames are matched to rows by
their order, and time is the camera's own clock in `trajectory.h5`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vjepa.data.raw import EpisodeError, RawEpisode, Rows, frames_by_order, nearest_rows
from vjepa.data.state_mapping import StateMapping
from vjepa.errors import DataError
from vjepa.files import require_inside

CAMERAS = ("ext1", "ext2", "wrist")
CLOCKS = ("estimated_capture", "frame_received")
"""The camera's clocks in `trajectory.h5`, in ms, the better one first."""
LABELS = "droid_language_annotations.json"
"""Sentences by an episode's uuid, published later than the episodes; beside the folders, if anywhere."""
CLOCK_TOLERANCE = 0.05  # by which the camera's rate may fall short of the one that is wanted
MISSING_FRAMES = 1  # the last row's frame often was not stored
LARGEST_GAP = 2.0  # of a usual time step; a longer one is a pause of the recording


@dataclass(frozen=True)
class DroidEntry:
    """An episode's folder and its number, which counts the folders by name."""

    index: int
    folder: Path


def open_droid(path: Path, camera: str | None, mapping: StateMapping, fps: float) -> DroidSource:
    """Open a folder that holds DROID episodes at any depth.

    Raises:
        DataError: it is missing or holds no episode, or there is no such camera.
    """
    if camera is None or camera not in CAMERAS:
        raise DataError(f"DROID has the cameras {', '.join(CAMERAS)}, not {camera!r} (source.camera)")
    entries = entries_in(path)
    try:
        require_inside(path, path / LABELS)
        labels = json.loads((path / LABELS).read_text()) if (path / LABELS).exists() else {}
        if not isinstance(labels, dict):
            raise ValueError("it holds no sentences by uuid")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path / LABELS} can't be read: {error}") from error
    return DroidSource(path, camera, mapping, entries, labels)


def entries_in(path: Path) -> list[DroidEntry]:
    """The episodes of a folder, at any depth.

    Raises:
        DataError: there is none.
    """
    folders = sorted(file.parent for file in path.rglob("trajectory.h5"))
    if not folders:
        raise DataError(f"{path} is missing or no DROID folder: there is no trajectory.h5 in it")
    return [DroidEntry(number, folder) for number, folder in enumerate(folders)]


class DroidSource:
    """See `vjepa.data.raw.Source`."""

    robot = "droid"

    def __init__(
        self, path: Path, camera: str, mapping: StateMapping, episodes: list[DroidEntry], labels: Mapping[str, Any]
    ) -> None:
        self.path, self.camera, self.mapping, self.episodes, self.labels = path, camera, mapping, episodes, labels
        self.layout = mapping.layout

    def read(self, entry: DroidEntry, fps: float) -> RawEpisode:
        """One episode."""
        file = entry.folder / "trajectory.h5"
        metadata = read_metadata(self.path, entry.folder)
        video, serial = video_of(self.path, entry.folder, metadata, self.camera)
        rows = self.rows(file, serial)
        times = rows.times
        rate = (len(times) - 1) / times[-1]
        if fps > rate * (1 + CLOCK_TOLERANCE):
            raise EpisodeError("time stamps off", file, f"{rate:.4g} frames a second, {fps:g} are wanted")
        frames, chosen, notes = frames_by_order(video, nearest_rows(times, fps), len(times), MISSING_FRAMES)
        return RawEpisode(
            index=entry.index,
            task=self.task(metadata),
            frames=frames,
            times=times[chosen],
            states=rows.states[chosen],
            actions=rows.actions(self.mapping, chosen),
            fingerprint=rows.fingerprint(frames),
            file=file,
            notes=notes,
        )

    def files(self, entry: DroidEntry) -> list[Path]:
        """Rows, metadata and the videos of all cameras, since the metadata say which is whose; and the sentences."""
        found = [file for names in ("metadata_*.json", "recordings/MP4/*.mp4") for file in entry.folder.glob(names)]
        return [entry.folder / "trajectory.h5", *sorted(found), self.path / LABELS]

    def facts(self, entry: DroidEntry) -> Path:
        """The folder: nothing else of the data set concerns an episode."""
        return entry.folder

    def close(self) -> None:
        """Nothing is kept open."""

    def rows(self, file: Path, serial: str) -> Rows:
        """All rows of an episode; their times count from the first one."""
        try:
            require_inside(self.path, file)
            with h5py.File(file, "r") as trajectory:
                columns = {name: numbers(trajectory, name) for name in self.mapping.needs}
                clocks = [f"observation/timestamp/cameras/{serial}_{clock}" for clock in CLOCKS]
                clock = next((name for name in clocks if name in trajectory), None)
                if clock is None:
                    raise ValueError(f"it has no {' or '.join(clocks)}")
                times = numbers(trajectory, clock) / 1000
            columns = {name: values.reshape(len(values), -1) for name, values in columns.items()}
            lengths = {name: len(values) for name, values in columns.items()} | {clock: len(times)}
            if len(set(lengths.values())) > 1 or len(times) < 2:
                raise ValueError(f"rows of its columns: {lengths}")
            rows = Rows.of(self.mapping, times - times[:1], columns)
        except (OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise EpisodeError("unreadable", file, " ".join(str(error).split())) from error
        steps = np.diff(times)
        usual = float(np.median(steps))
        if not (usual > 0 and (steps > 0).all() and (steps < LARGEST_GAP * usual).all()):
            row = int(np.argmax(~((steps > 0) & (steps < LARGEST_GAP * usual))))
            detail = f"{steps[row]:.3f} s between rows {row} and {row + 1}, {usual:.3f} s is usual"
            raise EpisodeError("time stamps off", file, detail)
        return rows

    def task(self, metadata: Mapping[str, Any]) -> str:
        """The sentence of the later annotations, else that of the operator."""
        label = self.labels.get(str(metadata.get("uuid")))
        said = label.get("language_instruction1") if isinstance(label, dict) else None
        return str(said or metadata.get("current_task") or "")


def numbers(trajectory: h5py.File, name: str) -> np.ndarray:
    """A data set of the file as `float64`.

    Raises:
        KeyError: it is not there.
        ValueError: it holds no numbers, or they lie in another file.
    """
    values = trajectory[name]
    if not isinstance(values, h5py.Dataset) or values.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds no numbers")
    if values.external or values.file.filename != trajectory.filename:
        raise ValueError(f"{name} lies in another file")
    return np.asarray(values, np.float64)


def video_of(path: Path, folder: Path, metadata: Mapping[str, Any], camera: str) -> tuple[Path, str]:
    """The file of a camera and the camera's serial number.

    Raises:
        EpisodeError: the metadata name none, or the file lies outside the data set `path`.
    """
    serial = str(metadata.get(f"{camera}_cam_serial", ""))
    file = folder / "trajectory.h5"
    if not re.fullmatch(r"[0-9A-Za-z]+", serial):
        raise EpisodeError("unreadable", file, f"its metadata give no serial number of the camera {camera}")
    video = folder / f"recordings/MP4/{serial}.mp4"
    try:
        require_inside(path, video)
    except ValueError as error:
        raise EpisodeError("unreadable", file, str(error)) from error
    return video, serial


def read_metadata(path: Path, folder: Path) -> dict[str, Any]:
    """The content of `metadata_*.json` of an episode's folder in the data set `path`.

    Raises:
        EpisodeError: there is none, or more than one, or it can't be read.
    """
    files = sorted(folder.glob("metadata_*.json"))
    if len(files) != 1:
        raise EpisodeError("unreadable", folder / "trajectory.h5", f"{len(files)} files metadata_*.json beside it")
    try:
        require_inside(path, files[0])
        metadata = json.loads(files[0].read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise EpisodeError("unreadable", files[0], str(error)) from error
    if not isinstance(metadata, dict):
        raise EpisodeError("unreadable", files[0], "it holds no settings")
    return metadata
