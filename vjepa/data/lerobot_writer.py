"""Writes a LeRobot v3.0 data set: many episodes a file, H.264 video beside parquet, statistics of every column.

The layout is LeRobot's own (https://github.com/huggingface/lerobot): each data file has one row group an episode, each
video file holds episodes one after the other, and `meta/episodes` says where each of them lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vjepa.data.lerobot_statistics import Statistics
from vjepa.data.lerobot_video import EpisodeVideo
from vjepa.errors import UserError
from vjepa.files import write_json

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
INDEX_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True)
class Column:
    """A column of the data set: one vector of `len(names)` values a frame, or one value if `names` is None."""

    dtype: str
    names: tuple[str, ...] | None = None


@dataclass
class Place:
    """Number of the file that is being written, and of its folder."""

    chunk_index: int = 0
    file_index: int = 0

    def next(self) -> Place:
        """The file after this one."""
        files = self.chunk_index * FILES_PER_CHUNK + self.file_index + 1
        return Place(files // FILES_PER_CHUNK, files % FILES_PER_CHUNK)


class LeRobotWriter:
    """Writes episode after episode; the data set is complete after `finalize`.

    Args:
        root: an empty folder (see `vjepa.files.atomic_directory`).
        fps: frames a second of every episode.
        camera: the video feature's name, e.g. `observation.images.corner`.
        image_size: pixels on each side, even.
        columns: what `add_episode` is given beside the frames.
        robot: type of the robot.
        data_file_mb: a new data file is begun when one has grown beyond this.
        video_file_mb: the same for video files.
    """

    def __init__(
        self,
        root: Path,
        fps: float,
        camera: str,
        image_size: int,
        columns: Mapping[str, Column],
        robot: str,
        data_file_mb: float = 100,
        video_file_mb: float = 200,
    ) -> None:
        self.root, self.fps, self.camera, self.image_size, self.robot = root, fps, camera, image_size, robot
        self.columns = dict(columns)
        self.data_file_mb, self.video_file_mb = data_file_mb, video_file_mb
        self._schema = pa.schema([(name, arrow_type(column)) for name, column in self._all_columns().items()])
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._statistics = {name: Statistics() for name in [*self._all_columns(), camera]}
        self._frames = 0
        self._data_place, self._video_place = Place(), Place()
        self._data: pq.ParquetWriter | None = None
        self._data_bytes = 0
        self._video: EpisodeVideo | None = None

    def add_episode(self, frames: np.ndarray, columns: Mapping[str, np.ndarray], task: str) -> None:
        """Append an episode of T frames.

        Args:
            frames: `uint8 [T, image_size, image_size, 3]`.
            columns: name -> `[T, len(names)]` or `[T]`.
            task: a sentence.

        Raises:
            ValueError: shapes or names are not as announced.
            UserError: the disk can't be written.
        """
        self._check(frames, columns)
        number, length = len(self._episodes), len(frames)
        index = np.arange(length)
        rows = {
            **{name: np.asarray(columns[name], column.dtype) for name, column in self.columns.items()},
            "timestamp": (index / self.fps).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(length, number),
            "index": self._frames + index,
            "task_index": np.full(length, self._tasks.setdefault(task, len(self._tasks))),
        }
        episode = {
            "episode_index": number,
            "tasks": [task],
            "length": length,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }
        try:
            episode |= self._write_rows(rows) | self._write_frames(frames)
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"can't write to {self.root}: {error.strerror or error}") from error
        episode |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for name, statistics in self._statistics.items():
            values = frames if name == self.camera else rows[name]
            described = statistics.add(values)
            episode |= {f"stats/{name}/{kind}": value for kind, value in described.items()}
        self._episodes.append(episode)
        self._frames += length

    def finalize(self) -> None:
        """Close the files and write what describes them; a data set without episodes is an error.

        Raises:
            UserError: there are no episodes, or the disk can't be written.
        """
        if not self._episodes:
            raise UserError(f"no episodes were written to {self.root}")
        try:
            if self._data is not None:
                self._data.close()
            if self._video is not None:
                self._video.close()
            episodes = self.root / EPISODES_PATH.format(chunk_index=0, file_index=0)
            episodes.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(self._episodes), episodes)
            tasks = pd.DataFrame({"task_index": list(self._tasks.values())}, index=pd.Index(self._tasks, name="task"))
            tasks.to_parquet(self.root / "meta/tasks.parquet")
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"can't write to {self.root}: {error.strerror or error}") from error
        statistics = {name: statistics.total() for name, statistics in self._statistics.items()}
        write_json(self.root / "meta/stats.json", statistics)
        write_json(self.root / "meta/info.json", self._info())

    def _all_columns(self) -> dict[str, Column]:
        return self.columns | {name: Column(dtype) for name, dtype in INDEX_COLUMNS.items()}

    def _check(self, frames: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        expected = (self.image_size, self.image_size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != expected or len(frames) == 0:
            raise ValueError(f"expected uint8 frames [T, {expected}], not {frames.dtype} {frames.shape}")
        if columns.keys() != self.columns.keys():
            raise ValueError(f"expected the columns {sorted(self.columns)}, not {sorted(columns)}")
        for name, column in self.columns.items():
            shape = (len(frames),) if column.names is None else (len(frames), len(column.names))
            if np.shape(columns[name]) != shape:
                raise ValueError(f"expected {name} to have the shape {shape}, not {np.shape(columns[name])}")

    def _write_rows(self, rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Append rows as one row group; where they went, in the words of `meta/episodes`."""
        if self._data is not None and self._data_bytes > self.data_file_mb * 2**20:
            self._data.close()
            self._data, self._data_bytes, self._data_place = None, 0, self._data_place.next()
        if self._data is None:
            path = self.root / DATA_PATH.format(**vars(self._data_place))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(path, self._schema, compression="snappy")
        arrays = [
            pa.array(values)
            if values.ndim == 1
            else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            for values in (rows[name] for name in self._schema.names)
        ]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._data.write_table(table)
        self._data_bytes += table.nbytes
        return {f"data/{key}": value for key, value in vars(self._data_place).items()}

    def _write_frames(self, frames: np.ndarray) -> dict[str, Any]:
        """Append frames to the video; where they went, in the words of `meta/episodes`."""
        if self._video is not None and self._video.size > self.video_file_mb * 2**20:
            self._video.close()
            self._video, self._video_place = None, self._video_place.next()
        if self._video is None:
            path = self.root / VIDEO_PATH.format(video_key=self.camera, **vars(self._video_place))
            self._video = EpisodeVideo(path, self.fps, self.image_size)
        start, stop = self._video.add(frames)
        place = vars(self._video_place) | {"from_timestamp": start, "to_timestamp": stop}
        return {f"videos/{self.camera}/{key}": value for key, value in place.items()}

    def _info(self) -> dict[str, Any]:
        video = {
            "video.height": self.image_size,
            "video.width": self.image_size,
            "video.channels": 3,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.fps": whole(self.fps),
            "video.is_depth_map": False,
            "has_audio": False,
        }
        features: dict[str, Any] = {
            self.camera: {
                "dtype": "video",
                "shape": [self.image_size, self.image_size, 3],
                "names": ["height", "width", "channels"],
                "info": video,
            }
        }
        for name, column in self._all_columns().items():
            names = None if column.names is None else list(column.names)
            features[name] = {"dtype": column.dtype, "shape": [len(names or [1])], "names": names}
        return {
            "codebase_version": "v3.0",
            "robot_type": self.robot,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": whole(self.data_file_mb),
            "video_files_size_in_mb": whole(self.video_file_mb),
            "fps": whole(self.fps),
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": features,
        }


def arrow_type(column: Column) -> pa.DataType:
    """The parquet type of a column."""
    value = pa.from_numpy_dtype(np.dtype(column.dtype))
    return value if column.names is None else pa.list_(value, len(column.names))


def whole(number: float) -> float | int:
    """An integer where the number is one: LeRobot reads `fps` as such."""
    return int(number) if number == int(number) else number
