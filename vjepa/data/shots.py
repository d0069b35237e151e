"""Shot cuts: where a video jumps to another scene.

The score of a cut is that of FFmpeg's filter `scdet`, whose limit is 10 by default: how much the picture changes, or
how much more or less than a step before if that is less, so that steady motion is no cut; but for the first change,
which the filter holds against none at all. It is computed here since the frames are decoded and small already: the
filter takes several times as long for them.
"""

from __future__ import annotations

import numpy as np


def changes(frames: np.ndarray) -> np.ndarray:
    """Mean change from each frame to the next: `uint8 [T, H, W, 3]` to `float64 [T - 1]`, % of the range of pixels."""
    after, before = frames[1:], frames[:-1]
    return (np.maximum(after, before) - np.minimum(after, before)).mean((1, 2, 3)) * 100 / 255


def cuts(change: np.ndarray, max_scene_change: float) -> np.ndarray:
    """The frames that start another scene, by the changes `float64 [T - 1]`: `int64 [C]`, ascending."""
    before = np.concatenate([change[1:2], change[:-1]])  # the first change has none before it: the one after it serves
    score = np.minimum(change, np.abs(change - before)) if len(change) > 1 else change
    return np.flatnonzero(score > max_scene_change) + 1


def shots(frames: np.ndarray, max_scene_change: float) -> list[slice]:
    """The shots of a video `uint8 [T, H, W, 3]`, in order and without gaps."""
    starts = [0, *cuts(changes(frames), max_scene_change).tolist()]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(frames)], strict=True)]
