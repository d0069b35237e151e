"""Videos without states, for pretraining: every video file of a folder, or those that its `videos.csv` lists.

Long videos become several episodes, so that none has to be held in memory whole; all parts of a file share its
fingerprint, so they end up in one split.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from vjepa.config import SourceConfig
from vjepa.data.raw import EpisodeError, RawEpisode, Rows, nearest_rows
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video import VideoFile
from vjepa.errors import DataError
from vjepa.files import require_inside, sha256_of

LIST = "videos.csv"
SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
VIDEO_ALONE = SourceConfig("video", None, None, [], None)
"""The settings that fit every such folder."""
PART_S = 10.0
"""Longest episode, in s."""
RATE_TOLERANCE = 1.01  # by which the wanted rate may exceed the video's: 30 of 29.97


@dataclass(frozen=True)
class VideoEntry:
    """A part of a video file: of the `parts` that it has, the one with this number; `problem`: why it can't be used."""

    index: int
    file: Path
    task: str
    part: int = 0
    parts: int = 1
    problem: str = ""


def open_video_folder(path: Path, camera: str | None, mapping: StateMapping, fps: float) -> VideoFolder:
    """Open a folder that holds videos at any depth.

    Where it holds a `videos.csv`, that lists them: a column `path`, relative to the folder, and, if wanted, `task`.

    Raises:
        DataError: it is missing, holds no video, or its list can't be used; or the settings ask for a camera or states.
    """
    if camera is not None or mapping.needs:
        advice = "set source.camera and state to null, columns to []"
        raise DataError(f"{path}: videos alone have no cameras and states: {advice}")
    listed = listed_videos(path) if (path / LIST).exists() else [(file, "") for file in videos_in(path)]
    if not listed:
        where = f"{path / LIST} lists" if (path / LIST).exists() else f"{path} is missing or holds"
        raise DataError(f"{where} no video ({', '.join(SUFFIXES)})")
    entries: list[VideoEntry] = []
    for file, task in listed:
        try:
            require_inside(path, file)
            parts = parts_of(file)
        except ValueError as error:  # nothing out of the folder is opened or named as a file at fault
            entries.append(VideoEntry(len(entries), path / LIST, task, problem=str(error)))
        except DataError as error:
            problem = str(error).removeprefix(f"{file} ")
            entries.append(VideoEntry(len(entries), file, task, problem=problem))
        else:
            entries += [VideoEntry(len(entries) + part, file, task, part, parts) for part in range(parts)]
    return VideoFolder(path, mapping, entries)


def videos_in(path: Path) -> list[Path]:
    """The video files of a folder at any depth, sorted."""
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)


def listed_videos(path: Path) -> list[tuple[Path, str]]:
    """The files in `videos.csv`, in its order, each with its task sentence.

    Raises:
        DataError: it can't be read or has other columns.
    """
    try:
        table = pd.read_csv(path / LIST, dtype=str, keep_default_na=False, index_col=False, on_bad_lines="error")
    except (OSError, ValueError) as error:
        raise DataError(f"{path / LIST} can't be read: {error}") from error
    if "path" not in table or set(table) - {"path", "task"}:
        raise DataError(f"{path / LIST} has the columns {', '.join(map(str, table))}; it needs path, and may have task")
    tasks = table["task"] if "task" in table else [""] * len(table)
    return [(path / name, task) for name, task in zip(table["path"], tasks, strict=True)]


def parts_of(file: Path) -> int:
    """How many equal parts of `PART_S` s or so a video has, by the length that its header states.

    Where it states none the file is read to its end, but not decoded.

    Raises:
        DataError: it can't be read or holds no frames.
    """
    with VideoFile(file) as video:
        length = video.duration
    if math.isinf(length):
        stamps = stamps_of(file)
        if len(stamps) == 0:
            raise DataError(f"{file} holds no frames")
        length = stamps[-1] - stamps[0]
    return max(1, math.ceil(length / PART_S))


class VideoFolder:
    """See `vjepa.data.raw.Source`."""

    robot = "video"

    def __init__(self, path: Path, mapping: StateMapping, episodes: list[VideoEntry]) -> None:
        self.path, self.mapping, self.layout, self.episodes = path, mapping, mapping.layout, episodes
        seen: Counter[VideoEntry] = Counter()
        self.nth: list[int] = []  # of entries that are equal but for their numbers, which one each is
        for entry in episodes:
            same = replace(entry, index=0)
            self.nth.append(seen[same])
            seen[same] += 1

    def read(self, entry: VideoEntry, fps: float) -> RawEpisode:
        """One part of a video, its frames chosen by the container's own time stamps."""
        if entry.problem:
            raise EpisodeError("unreadable", entry.file, entry.problem)
        try:
            with VideoFile(entry.file) as video:
                # for more parts than one they are kept, so that the file is read through once
                stamps = stamps_of(entry.file) if entry.parts > 1 else video.stamps()
                stamps = np.array_split(stamps, entry.parts)[entry.part]
                if len(stamps) == 0:
                    raise EpisodeError("too short", entry.file, f"no frames in part {entry.part} of {entry.parts}")
                rate = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0
                if fps > rate * RATE_TOLERANCE:
                    raise EpisodeError("time stamps off", entry.file, f"{rate:.4g} frames a second, {fps:g} are wanted")
                chosen = nearest_rows(stamps, fps)
                frames, _ = video.frames_at(stamps[chosen])
        except EpisodeError:
            raise
        except DataError as error:
            raise EpisodeError("unreadable", entry.file, str(error).removeprefix(f"{entry.file} ")) from error
        rows = Rows.of(self.mapping, stamps, {})
        return RawEpisode(
            index=entry.index,
            task=entry.task,
            frames=frames,
            times=stamps[chosen] - stamps[0],
            states=rows.states[chosen],
            actions=rows.actions(self.mapping, chosen),
            fingerprint=fingerprint_of(entry.file),
            file=entry.file,
        )

    def files(self, entry: VideoEntry) -> list[Path]:
        """The video."""
        return [entry.file]

    def facts(self, entry: VideoEntry) -> VideoEntry:
        """The entry but for its number: a part that is listed twice is told from the other by its order."""
        return replace(entry, index=self.nth[entry.index])

    def close(self) -> None:
        """Nothing is kept open."""


@lru_cache(maxsize=8)  # the parts of a file are read one after the other
def stamps_of(file: Path) -> np.ndarray:
    """When each frame of a video is shown: see `VideoFile.stamps`."""
    with VideoFile(file) as video:
        return video.stamps()


@lru_cache(maxsize=8)
def fingerprint_of(file: Path) -> str:
    """SHA-256 of a file's bytes, which all its parts share."""
    return sha256_of(file)
