"""Recordings that benchmarks make for themselves, as LeRobot data sets, and the shards that curation makes of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from vjepa.config import ColumnConfig, CurateConfig, SourceConfig
from vjepa.data.curation import curate
from vjepa.data.lerobot_writer import Column, LeRobotWriter

CAMERA, STATE = "observation.images.front", "observation.state"
THINGS = 4
NAMES = tuple(f"{axis}{thing}" for thing in range(THINGS) for axis in ("row", "column"))
SOURCE = SourceConfig("lerobot", CAMERA, None, [ColumnConfig(STATE, list(range(len(NAMES))), "1")], None)


def scene(seed: int, size: int, frames: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Things that move before a still background, with a camera's noise.

    Returns:
        `uint8 [frames, size, size, 3]`, and where the things are, 0 to 1: `float32 [frames, 2 * THINGS]`.
    """
    rng = np.random.default_rng(seed)
    ground = gaussian_filter(rng.random((size, size, 3)), (4, 4, 0))
    ground = 30 + 190 * (ground - ground.min()) / np.ptp(ground)
    side = size // 5
    things = gaussian_filter(255 * rng.random((THINGS, side, side, 3)), (0, 2, 2, 0))
    phase, pace = rng.uniform(0, 2 * np.pi, (THINGS, 2)), rng.uniform(0.5, 2, (THINGS, 2))
    places = (np.sin(phase + pace * np.arange(frames).reshape(-1, 1, 1) / fps) + 1) / 2
    shown = np.empty((frames, size, size, 3), np.uint8)
    for t in range(frames):
        image = ground.copy()
        for thing, (row, column) in zip(things, (places[t] * (size - side)).astype(int), strict=True):
            image[row : row + side, column : column + side] = thing
        shown[t] = (image + rng.normal(0, 1, (size, size, 1))).clip(0, 255)
    return shown, places.reshape(frames, -1).astype(np.float32)


def data_set(root: Path, fps: float, size: int) -> LeRobotWriter:
    """An empty data set of scenes, in a folder that is made."""
    root.mkdir()
    return LeRobotWriter(root, fps, CAMERA, size, {STATE: Column("float32", NAMES)}, "toy")


def curated(raw: Path, shards: Path, fps: float, size: int, journal: Path) -> None:
    """Shards of such a data set, every episode of it to train on; their folder is made."""
    shards.mkdir()
    config = CurateConfig(
        fps=fps,
        image_size=size,
        test_share=1e-9,
        min_frames=1,
        min_motion=0.0,
        max_black=1.0,
        max_frozen=math.inf,
        max_scene_change=100.0,
        duplicate_distance=2,
        episodes_per_shard=128,
        store=None,
        balance="none",
        balance_limit=1,
        clusters=1,
        encoder=None,
        targets=None,
        ray=None,
    )
    curate(raw, shards, SOURCE, config, journal)
