"""Where each episode of a LeRobot data set lies: its index, by version of the format.

v3.0 today: many episodes in a file. Another version is another function in `LAYOUTS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa.errors import DataError


@dataclass(frozen=True)
class VideoSpan:
    """Where an episode lies in a video file: from `start` to `end`, in s."""

    file: Path
    start: float
    end: float


@dataclass(frozen=True)
class EpisodeEntry:
    """What the data set's index says of an episode; `problem` says why it can't be believed, if so."""

    index: int
    length: int
    task: str
    data_file: Path
    videos: Mapping[str, VideoSpan]
    problem: str = ""


def episodes_v30(path: Path, info: Mapping[str, Any]) -> list[EpisodeEntry]:
    """The index of a v3.0 data set: all files under `meta/episodes`, whatever their number."""
    cameras = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
    rows: list[dict[str, Any]] = []
    for file in sorted((path / "meta/episodes").glob("*/*.parquet")):
        try:
            names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            rows += pq.read_table(file, columns=names, partitioning=None).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file} can't be read: {' '.join(str(error).split())}") from error
        if not all(isinstance(row.get("episode_index"), int) for row in rows):
            raise DataError(f"{file} can't be used: not every row has an episode_index")
    entries: dict[int, EpisodeEntry] = {}
    for row in sorted(rows, key=lambda row: row["episode_index"]):
        entry = entry_v30(path, info, cameras, row)
        if entry.index in entries:
            entry = replace(entry, problem="meta/episodes gives its number twice")
        entries[entry.index] = entry
    return list(entries.values())


def entry_v30(path: Path, info: Mapping[str, Any], cameras: Iterable[str], row: Mapping[str, Any]) -> EpisodeEntry:
    """One row of the index."""
    index, task = row["episode_index"], "; ".join(row.get("tasks") or [])
    try:
        data = path / info["data_path"].format(
            chunk_index=int(row["data/chunk_index"]), file_index=int(row["data/file_index"])
        )
        videos = {}
        for key in cameras:
            part = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            file = path / info["video_path"].format(video_key=key, **{name: int(at) for name, at in part.items()})
            span = VideoSpan(file, float(row[f"videos/{key}/from_timestamp"]), float(row[f"videos/{key}/to_timestamp"]))
            if not 0 <= span.start < span.end < math.inf:
                raise ValueError(f"its span in {key} is {span.start} to {span.end} s")
            videos[key] = span
        return EpisodeEntry(index, int(row["length"]), task, data, videos)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"its entry in meta/episodes can't be used: {type(error).__name__}: {error}"
        return EpisodeEntry(index, 0, task, path / "meta/episodes", {}, problem)


LAYOUTS: dict[str, Callable[[Path, Mapping[str, Any]], list[EpisodeEntry]]] = {"v3.0": episodes_v30}
"""How to list the episodes of each version of the format."""
