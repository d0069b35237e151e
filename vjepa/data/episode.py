"""An episode: what every source gives and every later stage takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""The default state: end effector in the robot's base frame (m), Euler xyz extrinsic (rad), gripper closedness 0..1."""


@dataclass
class Episode:
    """One recorded episode.

    Attributes:
        key: unique name, e.g. `metaworld-000012`; also the WebDataset key.
        task: a sentence, e.g. `reach the goal position`.
        frames: `uint8 [T, H, W, 3]`, RGB.
        times: `float64 [T]`, seconds from the first frame.
        states: `float32 [T, S]`, as the layout says (`vjepa.data.layout`); S = 0 where there is video alone.
        actions: `float32 [T - 1, A]`, what was done between each frame and the next.
    """

    key: str
    task: str
    frames: np.ndarray
    times: np.ndarray
    states: np.ndarray
    actions: np.ndarray
