"""Clips in other light, as a lamp that is dimmed or a hazy lens would show them. No torch."""

from __future__ import annotations

import numpy as np

HAZE = 128


def in_random_light(clips: np.ndarray, dimmest: float, rng: np.random.Generator) -> np.ndarray:
    """Each clip with less contrast, towards black or grey: factor x pixel + offset, the same for all of its frames.

    Args:
        clips: `uint8 [B, T, H, W, 3]`.
        dimmest: factors are drawn from here to 1; 1 leaves the clips as they are.
        rng: of the factors and offsets; it is advanced by the same numbers whatever `dimmest` is.
    """
    factor, haze = rng.uniform(dimmest, 1, len(clips)), rng.random(len(clips))
    offset = haze * (1 - factor) * HAZE
    shape = (-1, 1, 1, 1, 1)
    shown = clips * factor.astype(np.float32).reshape(shape) + offset.astype(np.float32).reshape(shape)
    return np.rint(shown, out=shown).astype(np.uint8)
