"""Multi-block tube masks (paper, sec. 2.1): which tokens the context encoder sees and which it must predict."""

from __future__ import annotations

import numpy as np

from vjepa.config import MaskConfig


def block_size(rows: int, columns: int, config: MaskConfig, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width of the blocks of one batch, in patches; the aspect ratio is drawn uniformly."""
    area = int(rows * columns * config.spatial_scale)
    aspect = rng.uniform(config.aspect_ratio[0], config.aspect_ratio[1])
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return min(max(height, 1), rows), min(max(width, 1), columns)


def sample_masks(
    grid: tuple[int, int, int], config: MaskConfig, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the context and the targets of every clip of a batch.

    The blocks reach through all time steps. They have one size in a batch and their own place in each clip; their union
    is predicted and the rest is context. Clips of a batch need equally many tokens, so surplus patches are dropped from
    either set (they are then neither seen nor predicted): at random, where the published code drops the last ids, which
    are always the last frames.

    Args:
        grid: time steps, rows and columns of tokens.
        config: the generator's settings.
        batch: clips.
        rng: all randomness comes from it.

    Returns:
        Context ids `int64 [batch, K]` and target ids `int64 [batch, M]`, ascending, K and M at least 1.
    """
    steps, rows, columns = grid
    height, width = block_size(rows, columns, config, rng)
    if height == rows and width == columns:
        raise ValueError(f"a block of {height} x {width} patches leaves no context on a {rows} x {columns} grid")
    hidden = np.zeros((batch, rows, columns), bool)
    for clip in hidden:
        while not clip.any() or clip.all():
            clip[:] = False
            for _ in range(config.blocks):
                top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
                clip[top : top + height, left : left + width] = True
    flat = hidden.reshape(batch, -1)
    return _ids(~flat, steps, rng), _ids(flat, steps, rng)


def _ids(chosen: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Token ids `[batch, steps * k]` of k patches a clip, k being the smallest number chosen (`bool [batch, H'W']`)."""
    count = chosen.sum(1).min()
    patches = np.stack([np.sort(rng.permutation(np.flatnonzero(clip))[:count]) for clip in chosen])
    time = np.arange(steps) * chosen.shape[1]
    return (time[None, :, None] + patches[:, None, :]).reshape(len(chosen), -1)
