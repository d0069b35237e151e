"""Clips in other light, as a lamp that is dimmed or a hazy lens would show them. No torch."""

from __future__ import annotations

import numpy as np

HAZE = 128


def in_random_light(clips: np.ndarray, dimmest: float, rng: np.random.Generator) -> np.ndarray:
    """Each clip with less contrast, towards black or grey, the same for all of its frames.

    Args:
        clips: `uint8 [B, T, H, W, 3]`.
        dimmest: factors are drawn from here to 1; 1 leaves the clips as they are.
        rng: of the factors and offsets; it is advanced by the same numbers whatever `dimmest` is.
    """
    return in_light(clips, draw_light(len(clips), dimmest, rng))


def draw_light(clips: int, dimmest: float, rng: np.random.Generator) -> np.ndarray:
    """Factor and offset of each clip: `float32 [B, 2]`; see `in_random_light`."""
    factor, haze = rng.uniform(dimmest, 1, clips), rng.random(clips)
    return np.stack([factor, haze * (1 - factor) * HAZE], axis=1).astype(np.float32)


def in_light(clips: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Factor x pixel + offset: `uint8 [B, T, H, W, 3]`, `float32 [B, 2]` -> clips alike."""
    factor, offset = light.T.reshape(2, -1, 1, 1, 1, 1)
    shown = clips * factor + offset
    return np.rint(shown, out=shown).astype(np.uint8)
