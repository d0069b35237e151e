"""A LeRobot data set beside what it says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.inspection.summary import STRIP, CameraSummary, Inspection, spread, told_apart, watch, widen
from vjepa.data.lerobot import LeRobotDataset, open_dataset
from vjepa.data.lerobot_index import EpisodeEntry
from vjepa.data.lerobot_table import DataTable, read_table
from vjepa.data.raw import EpisodeError
from vjepa.data.video import VideoFile
from vjepa.errors import DataError


def inspect_lerobot(path: Path, most: int) -> Inspection:
    """A LeRobot data set of any version that can be read."""
    dataset = open_dataset(path)
    info = dataset.info
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
        column.values = names_in(dataset.features[column.name].get("names"))
        if column.missing:
            found.note(f"{column.name} holds NaN or infinity", f"{column.missing} values")
    return found


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


def names_in(said: Any) -> tuple[str, ...]:
    """What `meta/info.json` calls the values of a column: a list, or lists by some heading."""
    if isinstance(said, Mapping):
        said = [name for names in said.values() if isinstance(names, list) for name in names]
    return tuple(map(str, said)) if isinstance(said, list) else ()


def said_of(feature: Mapping[str, Any]) -> str:
    """What `meta/info.json` says of a camera."""
    said = feature.get("info") or feature.get("video_info") or {}
    shape, names = list(feature.get("shape") or []), list(feature.get("names") or [])
    sides = dict(zip(names, shape, strict=False))
    size = f"{sides.get('width', '?')} x {sides.get('height', '?')}"
    return f"{size} at {said.get('video.fps', '?')} frames a second"


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
