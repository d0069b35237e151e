"""Where each episode of a LeRobot data set lies: its index, by version of the format.

v3.0: many episodes in a file. v2.0 and v2.1: a file for each. Another version is another function in `LAYOUTS`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vjepa.data.lerobot_tasks import numbered, numbers_of_tasks, sentences
from vjepa.errors import DataError
from vjepa.files import require_inside

UNUSABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
"""What an entry of the index that is not what it should be raises where it is used."""


@dataclass(frozen=True)
class VideoSpan:
    """Where an episode lies in a video file: from `start` to `end`, in s; infinite where it has the file for itself.

    `problem` says why that can't be believed, if so; `notes` what was set right.
    """

    file: Path
    start: float
    end: float
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpisodeEntry:
    """What the data set's index says of an episode.

    Attributes:
        index: its number.
        length: rows.
        task: a sentence, or all that are listed for it.
        data_file: where its rows are.
        videos: where its frames are, by camera; a problem of one is no problem of the others.
        problem: why all this can't be believed, if so.
        notes: what was found otherwise than the index says, and set right.
        tasks: where more than one sentence is listed: each by its number, as its rows may name it.
    """

    index: int
    length: int
    task: str
    data_file: Path
    videos: Mapping[str, VideoSpan]
    problem: str = ""
    notes: tuple[str, ...] = ()
    tasks: Mapping[int, str] = field(default_factory=dict)


def cameras_of(info: Mapping[str, Any]) -> list[str]:
    """The video features that `meta/info.json` announces."""
    return [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]


def filled(path: Path, template: str, **numbers: Any) -> Path:
    """The file that a path template of `meta/info.json` names.

    Raises:
        ValueError: it leads out of the data set's folder.
        KeyError, IndexError: it asks for something else than `numbers`.
    """
    file = path / template.format(**numbers)
    require_inside(path, file)
    return file


def once_each(entries: Iterable[EpisodeEntry], where: str) -> list[EpisodeEntry]:
    """Entries in the order of their numbers; a number that is given twice is a problem of that episode."""
    found: dict[int, EpisodeEntry] = {}
    for entry in sorted(entries, key=lambda entry: entry.index):
        twice = entry.index in found
        found[entry.index] = replace(entry, problem=f"{where} gives its number twice") if twice else entry
    return list(found.values())


def episodes_v30(path: Path, info: Mapping[str, Any]) -> list[EpisodeEntry]:
    """The index of a v3.0 data set: all files under `meta/episodes`, whatever their number."""
    cameras = cameras_of(info)
    rows: list[dict[str, Any]] = []
    for file in sorted((path / "meta/episodes").glob("*/*.parquet")):
        try:
            names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            rows += pq.read_table(file, columns=names, partitioning=None).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file} can't be read: {' '.join(str(error).split())}") from error
        if not all(isinstance(row.get("episode_index"), int) for row in rows):
            raise DataError(f"{file} can't be used: not every row has an episode_index")
    numbers = numbers_of_tasks(path)
    entries = [entry_v30(path, info, cameras, numbers, row) for row in rows]
    return once_each([*entries, *forgotten_v30(path, {entry.index for entry in entries})], "meta/episodes")


def forgotten_v30(path: Path, listed: set[int]) -> list[EpisodeEntry]:
    """Episodes of which there are rows and no line in the index."""
    found: dict[int, Path] = {}
    for file in sorted(path.rglob("*.parquet")):
        if file.is_relative_to(path / "meta"):
            continue
        try:
            column = pq.read_table(file, columns=["episode_index"], partitioning=None).column(0)
            numbers = pc.unique(column).to_pylist()
        except (OSError, KeyError, IndexError, pa.ArrowException):
            continue  # what the index says of it is refused when it is read
        found |= {number: file for number in numbers if isinstance(number, int) and number not in listed}
    problem = "its rows are there, but meta/episodes does not list it"
    return [EpisodeEntry(number, 0, "", file, {}, problem) for number, file in found.items()]


def entry_v30(
    path: Path, info: Mapping[str, Any], cameras: Iterable[str], numbers: Mapping[str, int], row: Mapping[str, Any]
) -> EpisodeEntry:
    """One row of the index; `numbers` are those of the tasks."""
    index = row["episode_index"]
    try:
        place = {name: int(row[f"data/{name}"]) for name in ("chunk_index", "file_index")}
        data = filled(path, info["data_path"], **place)
        videos = {key: span_v30(path, info, key, row) for key in cameras}
        listed = sentences(row.get("tasks"))
        tasks = numbered(listed, numbers)
        return EpisodeEntry(index, int(row["length"]), "; ".join(listed), data, videos, tasks=tasks)
    except UNUSABLE as error:
        problem = f"its entry in meta/episodes can't be used: {type(error).__name__}: {error}"
        return EpisodeEntry(index, 0, "", path / "meta/episodes", {}, problem)


def span_v30(path: Path, info: Mapping[str, Any], key: str, row: Mapping[str, Any]) -> VideoSpan:
    """Where the frames of one camera are."""
    try:
        place = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
        file = filled(path, info["video_path"], video_key=key, **place)
        span = VideoSpan(file, float(row[f"videos/{key}/from_timestamp"]), float(row[f"videos/{key}/to_timestamp"]))
        if not 0 <= span.start < span.end < math.inf:
            raise ValueError(f"its span in {key} is {span.start} to {span.end} s")
        return span
    except UNUSABLE as error:
        problem = f"its entry in meta/episodes can't be used: {type(error).__name__}: {error}"
        return VideoSpan(path / "meta/episodes", 0.0, 0.0, problem)


def episodes_v2(path: Path, info: Mapping[str, Any]) -> list[EpisodeEntry]:
    """The index of a v2.0 or v2.1 data set, `meta/episodes.jsonl`, and the episodes that it does not list.

    Where a file is not at the place that the templates name, the one file of its name is taken instead, with a note.
    """
    lines = path / "meta/episodes.jsonl"
    try:
        text = lines.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{lines} can't be read: {error}") from error
    entries, files, numbers = [], FilesByName(path), numbers_of_tasks(path)
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would cut sentences at rarer separators
        if line.strip():
            entries.append(entry_v2(path, info, files, numbers, line, number))
    listed = {entry.index for entry in entries}
    for file in files.all("data", ".parquet"):
        digits = re.search(r"episode_(\d+)$", file.stem)
        if digits and int(digits[1]) not in listed:
            problem = "its rows are there, but meta/episodes.jsonl does not list it"
            entries.append(EpisodeEntry(int(digits[1]), 0, "", file, {}, problem))
    return once_each(entries, "meta/episodes.jsonl")


def entry_v2(
    path: Path, info: Mapping[str, Any], files: FilesByName, tasks: Mapping[str, int], line: str, number: int
) -> EpisodeEntry:
    """A line of the index; `tasks` are the numbers of the sentences.

    One without an episode's number is given - its own, so that it is counted and named.
    """
    index = -number
    try:
        row = json.loads(line)
        index = int(row["episode_index"])
        numbers = {"episode_index": index, "episode_chunk": index // int(info.get("chunks_size") or 1000)}
        data, notes = files.find(filled(path, info["data_path"], **numbers), "data")
        videos = {}
        for key in cameras_of(info):
            due = filled(path, info["video_path"], video_key=key, **numbers)
            file, moved = files.find(due, f"videos/**/{key}")
            videos[key] = VideoSpan(file, 0.0, math.inf, notes=moved)
        listed = sentences(row.get("tasks"))
        length, said = int(row["length"]), "; ".join(listed)
        return EpisodeEntry(index, length, said, data, videos, "", notes, numbered(listed, tasks))
    except UNUSABLE as error:
        problem = f"line {number} of meta/episodes.jsonl can't be used: {type(error).__name__}: {error}"
        return EpisodeEntry(index, 0, "", path / "meta/episodes.jsonl", {}, problem)


class FilesByName:
    """Files of a data set by name, for those that are not where they are due; looked through once, if ever."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, dict[str, list[Path]]] = {}

    def all(self, folder: str, suffix: str) -> list[Path]:
        """Every file of a kind below a folder, sorted."""
        return sorted((self.path / folder).rglob(f"*{suffix}"))

    def find(self, due: Path, below: str) -> tuple[Path, tuple[str, ...]]:
        """A file, and a note where it is not where it is due; `below` is a folder or a pattern of folders."""
        if due.exists():
            return due, ()
        if below not in self._found:
            names = self._found.setdefault(below, {})
            for file in sorted(self.path.glob(f"{below}/**/*{due.suffix}")):
                names.setdefault(file.name, []).append(file)
        found = self._found[below].get(due.name, [])
        if len(found) != 1:
            return due, ()  # reading it says that it is missing
        require_inside(self.path, found[0])
        there, wanted = (file.relative_to(self.path).as_posix() for file in (found[0], due))
        return found[0], (f"{there} is taken: {wanted}, which meta/info.json names, is not there",)


LAYOUTS: dict[str, Callable[[Path, Mapping[str, Any]], list[EpisodeEntry]]] = {
    "v2.0": episodes_v2,
    "v2.1": episodes_v2,
    "v3.0": episodes_v30,
}
"""How to list the episodes of each version of the format."""
