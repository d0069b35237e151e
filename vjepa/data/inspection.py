"""What a raw data set is, before anything is run: counted from its files, beside what it says of itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from vjepa.data import droid
from vjepa.data.lerobot import DataTable, LeRobotDataset, open_dataset, read_info, read_table
from vjepa.data.lerobot_index import EpisodeEntry
from vjepa.data.raw import EpisodeError, frames_by_order
from vjepa.data.video import VideoFile
from vjepa.errors import DataError
from vjepa.files import require_inside

PACED = 20
"""Frames of a video whose time stamps give its true rate."""
STRIP = 8
"""Frames of the film strip."""
EXAMPLES = 3


@dataclass
class CameraSummary:
    """One camera: what is said of it and what its files show (of the episodes that were opened)."""

    name: str
    said: str
    shown: Counter[str] = field(default_factory=Counter)
    missing: int = 0


@dataclass
class ColumnSummary:
    """One column of numbers: its width and, over the rows that were read, the range of each value."""

    name: str
    width: int
    low: np.ndarray
    high: np.ndarray
    missing: int  # values that are NaN or infinite


@dataclass
class Inspection:
    """See `inspect`.

    Attributes:
        path: the data set.
        format: what `source.format` calls it, and the version.
        robot: its type.
        fps: rows a second.
        episodes, frames: of a LeRobot data set as its index states them; of DROID's folders as counted, frames by those
            that were opened.
        cameras, columns: by name.
        tasks: episodes by sentence.
        opened: episodes whose rows and videos were looked at.
        findings: what is wrong or was set right: a sentence, how often, and where first.
        strip: `uint8 [H, W, 3]`, frames of one episode side by side; None where no video can be shown.
    """

    path: Path
    format: str
    robot: str
    fps: float
    episodes: int
    frames: int
    cameras: dict[str, CameraSummary]
    columns: dict[str, ColumnSummary]
    tasks: Counter[str]
    opened: int
    findings: dict[str, list[str]]
    strip: np.ndarray | None

    @property
    def hours(self) -> float:
        """Duration of all episodes."""
        return self.frames / self.fps / 3600 if self.fps else math.nan

    def note(self, finding: str, where: str) -> None:
        """Add to the findings."""
        self.findings.setdefault(finding, []).append(where)


def inspect(path: Path, most: int = 200) -> Inspection:
    """Look at a data set without changing anything.

    Args:
        path: a LeRobot data set or a folder of DROID's raw episodes.
        most: episodes whose rows and videos are opened, evenly spread; the index is read whole.

    Raises:
        DataError: it is neither, or its index can't be read.
    """
    if (path / "meta/info.json").exists():
        return inspect_lerobot(path, most)
    if path.is_dir() and next(path.rglob("trajectory.h5"), None) is not None:
        return inspect_droid(path, most)
    raise DataError(f"{path} holds no meta/info.json (LeRobot) and no trajectory.h5 (DROID): nothing here can read it")


def spread(entries: list[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spread."""
    places = np.unique(np.linspace(0, len(entries) - 1, min(most, len(entries))).round().astype(int))
    return [entries[place] for place in places]


def widen(columns: dict[str, ColumnSummary], name: str, values: np.ndarray) -> None:
    """Take rows `[R, W]` of a column into its summary."""
    finite = np.where(np.isfinite(values), values, np.nan)
    missing = int(np.isnan(finite).sum())
    low = np.where(np.isnan(finite), np.inf, finite).min(0, initial=np.inf)
    high = np.where(np.isnan(finite), -np.inf, finite).max(0, initial=-np.inf)
    known = columns.get(name)
    if known is None:
        columns[name] = ColumnSummary(name, values.shape[1], low, high, missing)
    elif known.width == values.shape[1]:
        known.low, known.high = np.minimum(known.low, low), np.maximum(known.high, high)
        known.missing += missing


@lru_cache(maxsize=8)  # neighbouring episodes share a file
def watch(file: Path) -> tuple[str, float, float]:
    """What a video's first frames show: size and rate in words, its length in s as stated, its true rate.

    Raises:
        DataError: it can't be decoded.
    """
    with VideoFile(file) as video:
        shown = list(islice(video.frames_from(0.0), PACED))
        if not shown:
            raise DataError(f"{file} holds no frames")
        frame, rate = shown[0][0], pace(np.array([time for _, time in shown]))
        return f"{frame.width} x {frame.height} at {rate:.4g} frames a second", video.duration, rate


@lru_cache(maxsize=1)
def columns_of(file: Path, names: tuple[str, ...]) -> tuple[DataTable, dict[str, EpisodeError]]:
    """A data file's columns, and why some of them can't be read.

    Raises:
        EpisodeError: none can.
    """
    try:
        return read_table(file, names), {}
    except EpisodeError:
        table, wrong = read_table(file, ()), {}
    for name in names:  # one by one: a column that can't be read spoils none of the others
        try:
            table.columns[name] = read_table(file, (name,)).columns[name]
        except EpisodeError as error:
            wrong[name] = error
    return table, wrong


def pace(times: np.ndarray) -> float:
    """Frames a second by their time stamps `[T]` (s); NaN where these say nothing."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return 1 / step if step > 0 else math.nan


def inspect_lerobot(path: Path, most: int) -> Inspection:
    """A LeRobot data set of any version that can be read."""
    dataset = open_dataset(path)
    info = read_info(path / "meta/info.json")
    cameras, columns = {}, {}
    for name, feature in dataset.features.items():
        if feature.get("dtype") == "video":
            cameras[name] = CameraSummary(name, said_of(feature))
        elif feature.get("dtype") not in ("string", "image", "language"):
            columns[name] = feature
    entries = dataset.episodes
    usable = [entry for entry in entries if not entry.problem]
    found = Inspection(
        path=path,
        format=f"lerobot {info['codebase_version']}",
        robot=dataset.robot,
        fps=dataset.fps,
        episodes=len(entries),
        frames=sum(entry.length for entry in entries),
        cameras=cameras,
        columns={},
        tasks=Counter(entry.task for entry in usable),
        opened=min(most, len(usable)),
        findings={},
        strip=None,
    )
    for name, counted in (("total_episodes", found.episodes), ("total_frames", found.frames)):
        if name in info and info[name] != counted:
            found.note(f"meta/info.json says {name} {info[name]}, the index has {counted}", "")
    if "" in found.tasks:
        found.note("episodes without a task", f"{found.tasks['']} of them")
    for entry in entries:
        spans = entry.videos.values()
        problems = [problem for problem in (entry.problem, *(span.problem for span in spans)) if problem]
        for said in (*problems, *entry.notes, *(note for span in spans for note in span.notes)):
            found.note(*told_apart(said, entry.index))
    for entry in spread(usable, most):
        look_at_rows(found, dataset, entry, [name for name in columns if name not in ("timestamp", "episode_index")])
        look_at_videos(found, dataset, entry)
    for camera in found.cameras.values():
        if camera.missing == found.opened > 0:
            found.note(f"meta/info.json announces the camera {camera.name}, of which there is no file", "")
    for column in found.columns.values():
        if column.missing:
            found.note(f"{column.name} holds NaN or infinity", f"{column.missing} values")
    return found


def said_of(feature: Mapping[str, Any]) -> str:
    """What `meta/info.json` says of a camera."""
    said = feature.get("info") or feature.get("video_info") or {}
    shape, names = list(feature.get("shape") or []), list(feature.get("names") or [])
    sides = dict(zip(names, shape, strict=False))
    size = f"{sides.get('width', '?')} x {sides.get('height', '?')}"
    return f"{size} at {said.get('video.fps', '?')} frames a second"


def told_apart(said: str, index: int) -> tuple[str, str]:
    """A message about one episode as a sentence for all of its kind, and the episode."""
    number = f"{index:06d}"
    general = said.replace(number, "N" * len(number)).replace(f"{index:03d}", "NNN")
    return general, f"episode {index}"


def look_at_rows(found: Inspection, dataset: LeRobotDataset, entry: EpisodeEntry, names: Sequence[str]) -> None:
    """Ranges of an episode's columns, and whether its rows are what the index says."""
    where = f"episode {entry.index}"
    try:
        table, wrong = columns_of(entry.data_file, tuple(names))
    except EpisodeError as error:
        found.note(*told_apart(str(error), entry.index))
        return
    for name, reason in wrong.items():
        found.note(*told_apart(f"column {name}: {reason}", entry.index))
    rows = table.episodes == entry.index
    for name, values in table.columns.items():
        if rows.any():
            widen(found.columns, name, values[rows])
    times = table.times[rows]
    if len(times) != entry.length:
        found.note("the index states another number of rows than there are", f"{where}: {entry.length}, {len(times)}")
    if len(times) > 1:
        if abs(times[0]) > 0.5 / dataset.fps:
            found.note(f"time stamps start at {times[0]:.3f} s, not at 0", where)
        steps = np.diff(times)
        if not (np.abs(steps - 1 / dataset.fps) <= 0.5 / dataset.fps).all():
            found.note("time stamps leave the grid of the frame rate, repeat or run back", where)


def look_at_videos(found: Inspection, dataset: LeRobotDataset, entry: EpisodeEntry) -> None:
    """Sizes, rates and lengths of an episode's videos; the first that can be shown becomes the film strip."""
    for name, camera in found.cameras.items():
        span, where = entry.videos[name], f"episode {entry.index}"
        if span.problem or not span.file.exists():
            camera.missing += 1
            continue
        try:
            shown, duration, rate = watch(span.file)
            camera.shown[shown] += 1
            needed = span.start + (entry.length - 1) / dataset.fps
            if duration + 0.5 / dataset.fps < needed:
                found.note(f"{name}: the video ends before the last row", f"{where}: {duration:.2f} s of {needed:.2f}")
            if abs(rate / dataset.fps - 1) > 0.01:
                found.note(f"{name}: {rate:.4g} frames a second in the video, {dataset.fps:g} in the rows", where)
            if found.strip is None:
                times = span.start + np.linspace(0, (entry.length - 1) / dataset.fps, STRIP)
                with VideoFile(span.file) as video:
                    found.strip = np.concatenate(list(video.frames_at(times)[0]), axis=1)
        except DataError as error:
            found.note(f"{name}: a video can't be decoded", f"{where}: {error}")


def inspect_droid(path: Path, most: int) -> Inspection:
    """A folder of DROID's raw episodes."""
    folders = sorted(file.parent for file in path.rglob("trajectory.h5"))
    found = Inspection(
        path=path,
        format="droid",
        robot="droid",
        fps=0.0,
        episodes=len(folders),
        frames=0,
        cameras={
            name: CameraSummary(name, "60 frames a second in its header, whatever it shows") for name in droid.CAMERAS
        },
        columns={},
        tasks=Counter(),
        opened=min(most, len(folders)),
        findings={},
        strip=None,
    )
    rows, rates = [], []
    for folder in spread(folders, most):
        where = folder.relative_to(path).as_posix()
        try:
            metadata = droid.read_metadata(path, folder)
            require_inside(path, folder / "trajectory.h5")
            with h5py.File(folder / "trajectory.h5", "r") as trajectory:
                lengths = look_at_trajectory(found, trajectory)
                clocks = [name for name in trajectory.get("observation/timestamp/cameras", {})]
                clock = next((name for name in clocks if name.endswith(droid.CLOCKS)), None)
                if clock is not None:
                    times = droid.numbers(trajectory, f"observation/timestamp/cameras/{clock}") / 1000
                    rates.append(pace(times))
        except (DataError, OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
            found.note("an episode can't be read", f"{where}: {' '.join(str(error).split())}")
            continue
        rows.append(max(lengths, default=0))
        if len(set(lengths)) > 1:
            found.note("columns of trajectory.h5 differ in length", where)
        found.tasks[str(metadata.get("current_task") or "")] += 1
        for name, camera in found.cameras.items():
            if not metadata.get(f"{name}_cam_serial"):
                camera.missing += 1
                continue
            try:
                file, _ = droid.video_of(path, folder, metadata, name)
                if not file.exists():
                    camera.missing += 1
                    continue
                camera.shown[watch(file)[0]] += 1
                if found.strip is None:
                    places = np.linspace(0, rows[-1] - 2, STRIP).astype(int)
                    frames, _, _ = frames_by_order(file, places, rows[-1], droid.MISSING_FRAMES)
                    found.strip = np.concatenate(list(frames), axis=1)
            except DataError as error:
                found.note(f"{name}: a video can't be used", f"{where}: {error}")
    found.fps = float(np.nanmedian(rates)) if np.isfinite(rates).any() else 0.0
    found.frames = round(float(np.mean(rows)) * len(folders)) if rows else 0
    return found


def look_at_trajectory(found: Inspection, trajectory: h5py.File) -> list[int]:
    """Ranges of the numbers that can make a state or an action; returns the lengths of these columns."""
    lengths = []
    for group in ("observation/robot_state", "action"):
        for name, values in trajectory.get(group, {}).items():
            if isinstance(values, h5py.Dataset) and values.ndim in (1, 2) and values.dtype.kind in "fiu":
                numbers = droid.numbers(trajectory, f"{group}/{name}")
                lengths.append(len(numbers))
                widen(found.columns, f"{group}/{name}", numbers.reshape(len(numbers), -1))
    return lengths


def proposal(found: Inspection) -> str:
    """A `conf/source` file for the data set, with a remark at what has to be checked."""
    remarks = [f"Proposed for {found.path.name} ({found.format}): check the columns before you use it."]
    if found.format == "droid":
        pose, gripper = (f"observation/robot_state/{name}_position" for name in ("cartesian", "gripper"))
        state: dict[str, Any] = {
            "position": {"column": pose, "at": [0, 1, 2], "unit": "m"},
            "rotation": {"column": pose, "at": [3, 4, 5], "convention": "xyz", "unit": "rad"},
            "gripper": {"column": gripper, "at": 0, "open": 0.0, "closed": 1.0},
        }
    else:
        state, more = proposed_state(found)
        remarks += more
    shown = [name for name, camera in found.cameras.items() if camera.shown]
    source = {"format": found.format.split()[0], "camera": (shown or list(found.cameras) or [""])[0], "state": state}
    text = yaml.safe_dump(source, sort_keys=False, default_flow_style=None, width=120)
    return "".join(f"# {remark}\n" for remark in remarks) + text


def proposed_state(found: Inspection) -> tuple[dict[str, Any], list[str]]:
    """A state of the column that looks most like a pose, and what has to be checked of it."""
    names = [name for name in found.columns if "state" in name]
    poses = [name for name in names if any(word in name for word in ("cartesian", "eef", "ee_", "pose", "tcp"))]
    column = (poses or names or list(found.columns) or [""])[0]
    width = found.columns[column].width if column in found.columns else 0
    remarks = [f"{column} has {width} values; nothing in the data set says in which unit and convention they are."]
    state: dict[str, Any] = {
        "position": {"column": column, "at": [0, 1, 2], "unit": "m"},
        "rotation": None,
        "gripper": None,
    }
    if width in (6, 7):
        state["rotation"] = {"column": column, "at": [3, 4, 5], "convention": "xyz", "unit": "rad"}
    elif width == 8:
        state["rotation"] = {"column": column, "at": [3, 4, 5, 6], "convention": "quaternion xyzw", "unit": "rad"}
    if width in (7, 8):
        low, high = (float(bound[width - 1]) for bound in (found.columns[column].low, found.columns[column].high))
        if low < high:
            state["gripper"] = {"column": column, "at": width - 1, "open": low, "closed": high}
            remarks.append("The gripper's lowest value is taken for open: exchange both if it is closed there.")
    if width not in (3, 6, 7, 8):
        state["position"]["column"] = "NAME-A-COLUMN"
        remarks.append("These are rather joints than a pose: name a column that holds one, if there is one.")
    return state, remarks
