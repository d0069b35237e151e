"""Resizing images with numpy alone, so that training data and the robot's camera pass through the same arithmetic."""

from __future__ import annotations

import numpy as np


def area_weights(size: int, target: int) -> np.ndarray:
    """Weights `float32 [target, size]` by which each target pixel averages the source pixels that it covers."""
    edges = np.linspace(0, size, target + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) / (edges[1:] - edges[:-1])[:, None]).astype(np.float32)


def square_resize(frames: np.ndarray, size: int) -> np.ndarray:
    """The centred square of each frame, averaged (or repeated) to `size` pixels: `uint8 [..., H, W, 3]` in and out."""
    height, width = frames.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[..., top : top + side, left : left + side, :]
    if side == size:
        return np.ascontiguousarray(square)
    weights = area_weights(side, size)
    rows = np.einsum("ih,...hwc->...iwc", weights, square.astype(np.float32), optimize=True)
    resized = np.einsum("jw,...iwc->...ijc", weights, rows, optimize=True)
    return np.round(resized).clip(0, 255).astype(np.uint8)
