"""LeRobot data sets of a few episodes, written without the project's own writer, and ways to spoil them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.ndimage import gaussian_filter

from vjepa.config import (
    ColumnConfig,
    CurateConfig,
    GripperConfig,
    PositionConfig,
    RotationConfig,
    SourceConfig,
    StateConfig,
)
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video import encode_mp4

CAMERA, STATE, FPS = "observation.images.front", "observation.state", 10.0
POSE = StateConfig(
    PositionConfig(STATE, [0, 1, 2], "m"),
    RotationConfig(STATE, [3, 4, 5], "xyz", "rad"),
    GripperConfig(STATE, 6, 0.0, 1.0),
)
SOURCE = SourceConfig("lerobot", CAMERA, POSE, [], None)
MAPPING = StateMapping(SOURCE)
CONFIG = CurateConfig(
    fps=5.0,
    image_size=16,
    test_share=0.4,
    min_frames=4,
    min_motion=0.02,
    max_black=0.1,
    max_frozen=0.5,
    max_scene_change=12.0,
    duplicate_distance=2,
    episodes_per_shard=4,
    store=None,
    balance="none",
    balance_limit=1,
    clusters=1,
    encoder=None,
    targets=None,
    ray=None,
)


def as_it_is(column: str, width: int = 7) -> StateMapping:
    """States that are one column's values."""
    return StateMapping(SourceConfig("lerobot", CAMERA, None, [ColumnConfig(column, list(range(width)), "rad")], None))


@dataclass
class Recording:
    """What is written: frames `uint8 [T, H, W, 3]`, states `float32 [T, 7]`, and the columns made of them."""

    frames: np.ndarray
    states: np.ndarray
    task: str = "reach the red square"
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def recording(seed: int, length: int = 16, size: int = 32) -> Recording:
    """A scene of its own, brighter from frame to frame by 4 of 255, and a hand that moves a centimetre a frame."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.random((size, size, 1)), (3, 3, 0))
    scene = 40 + 120 * (scene - scene.min()) / (scene.max() - scene.min())
    frames = (scene + 4 * np.arange(length)[:, None, None, None]).repeat(3, -1).astype(np.uint8)
    states = np.zeros((length, 7), np.float32)
    states[:, :3] = rng.normal(size=3) + 0.01 * np.arange(length)[:, None] * (1, 0, 0)
    states[:, 3:6] = np.cumsum(rng.normal(size=(length, 3)) * 0.02, axis=0)
    states[:, 6] = np.linspace(0, 1, length)
    return Recording(frames, states)


def write_lerobot(
    path: Path,
    recordings: list[Recording],
    numbers: list[int] | None = None,
    per_file: int = 2,
    changed_rows: dict[int, dict[str, Any]] | None = None,
) -> Path:
    """Write the data set, `per_file` episodes in each data, video and index file.

    Args:
        path: its folder.
        recordings: the episodes.
        numbers: their `episode_index`; 0, 1, ... if None.
        per_file: episodes in a file.
        changed_rows: columns of the index that shall say something else, by episode.
    """
    numbers = list(range(len(recordings))) if numbers is None else numbers
    info = {
        "codebase_version": "v3.0",
        "robot_type": "Toy Arm",
        "fps": FPS,
        "features": {
            CAMERA: {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "channels"]},
            STATE: {"dtype": "float32", "shape": [7], "names": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]},
        },
        "data_path": "rows/part-{chunk_index:02d}-{file_index:02d}.parquet",
        "video_path": "films/{video_key}/part-{chunk_index:02d}-{file_index:02d}.mp4",
    }
    for folder in ("meta/episodes/chunk-000", "rows", f"films/{CAMERA}"):
        (path / folder).mkdir(parents=True)
    (path / "meta/info.json").write_text(json.dumps(info))
    for file, first in enumerate(range(0, len(recordings), per_file)):
        rows, index, start = [], [], 0
        for number, episode in zip(numbers[first:], recordings[first : first + per_file], strict=False):
            length = len(episode.states)
            columns = {
                "episode_index": np.full(length, number),
                "timestamp": (np.arange(length) / FPS).astype(np.float32),
                STATE: episode.states,
            } | episode.columns
            rows.append(pa.table({name: column.tolist() for name, column in columns.items()}))
            entry = {"episode_index": number, "tasks": [episode.task], "length": length}
            entry |= {"data/chunk_index": 0, "data/file_index": file, "stats/action/mean": 0.0}
            entry |= {f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": file}
            entry |= {f"videos/{CAMERA}/from_timestamp": start / FPS}
            entry |= {f"videos/{CAMERA}/to_timestamp": (start + length) / FPS}
            index.append(entry | (changed_rows or {}).get(number, {}))
            start += length
        pq.write_table(pa.concat_tables(rows), path / f"rows/part-00-{file:02d}.parquet")
        pq.write_table(pa.Table.from_pylist(index), path / f"meta/episodes/chunk-000/file-{file:03d}.parquet")
        film = np.concatenate([episode.frames for episode in recordings[first : first + per_file]])
        (path / f"films/{CAMERA}/part-00-{file:02d}.mp4").write_bytes(encode_mp4(film, FPS))
    return path


def write_lerobot_v2(path: Path, recordings: list[Recording], version: str = "v2.1", **info: Any) -> Path:
    """Write the same episodes as v2.0 or v2.1: a file for each; `info` changes what `meta/info.json` says."""
    stated = {
        "codebase_version": version,
        "robot_type": "Toy Arm",
        "fps": FPS,
        "chunks_size": 2,
        "features": {
            CAMERA: {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "channels"]},
            STATE: {"dtype": "float32", "shape": [7], "names": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]},
        },
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    lines = []
    for number, episode in enumerate(recordings):
        length, chunk = len(episode.states), f"chunk-{number // (stated | info)['chunks_size']:03d}"
        columns = {
            "episode_index": np.full(length, number),
            "timestamp": (np.arange(length) / FPS).astype(np.float32),
            STATE: episode.states,
        } | episode.columns
        data = path / f"data/{chunk}/episode_{number:06d}.parquet"
        film = path / f"videos/{chunk}/{CAMERA}/episode_{number:06d}.mp4"
        for file in (data, film):
            file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: column.tolist() for name, column in columns.items()}), data)
        film.write_bytes(encode_mp4(episode.frames, FPS))
        lines.append(json.dumps({"episode_index": number, "tasks": [episode.task], "length": length}))
    (path / "meta").mkdir(parents=True)
    (path / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    (path / "meta/info.json").write_text(json.dumps(stated | info))
    return path


def truncate(file: Path) -> None:
    """Leave half of a file."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
