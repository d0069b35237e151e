"""A folder of DROID's raw episodes, written from its published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tiny_lerobot import Recording

from vjepa.config import GripperConfig, PositionConfig, RotationConfig, SourceConfig, StateConfig
from vjepa.data.video import encode_mp4

POSE, GRIPPER = "observation/robot_state/cartesian_position", "observation/robot_state/gripper_position"
STATE = StateConfig(
    PositionConfig(POSE, [0, 1, 2], "m"),
    RotationConfig(POSE, [3, 4, 5], "xyz", "rad"),
    GripperConfig(GRIPPER, 0, 0.0, 1.0),
)
SOURCE = SourceConfig("droid", "ext1", STATE, [], None)
SERIAL, HEADER_FPS = "22008760", 60.0


def write_droid(path: Path, recordings: list[Recording], fps: float = 8.0, dropped: int = 0, **metadata: Any) -> Path:
    """Write each episode, its video with a header that lies about the rate and `dropped` frames fewer than rows."""
    for number, episode in enumerate(recordings):
        folder = path / f"LAB/success/2023-07-07/Fri_Jul__7_09:{number:02d}:00_2023"
        (folder / "recordings/MP4").mkdir(parents=True)
        stated = {"uuid": f"LAB+{number}", "current_task": episode.task, "ext1_cam_serial": SERIAL} | metadata
        (folder / f"metadata_LAB+user+{number}.json").write_text(json.dumps(stated))
        length = len(episode.states)
        with h5py.File(folder / "trajectory.h5", "w") as file:
            file[POSE] = episode.states[:, :6].astype(np.float64)
            file[GRIPPER] = episode.states[:, 6].astype(np.float64)
            clock = 1_688_740_000_000 + np.arange(length) * 1000 / fps
            file[f"observation/timestamp/cameras/{SERIAL}_estimated_capture"] = episode.columns.get("clock", clock)
        film = encode_mp4(episode.frames[: length - dropped], HEADER_FPS)
        (folder / f"recordings/MP4/{SERIAL}.mp4").write_bytes(film)
    return path
