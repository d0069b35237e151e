"""Near-duplicate episodes, found by perceptual hashes of several frames.

The hash is the sign pattern of low-frequency cosine terms: compression, a change of size or a little noise leaves it as
it is. Every pair is compared, in numpy: 3 million pairs (2,400 episodes) take 0.1 s, 5 thousand million two minutes.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from vjepa.imaging import square_resize

MOMENTS = 8
"""Frames hashed in an episode, evenly spread over it."""


def perceptual_hashes(frames: np.ndarray) -> np.ndarray:
    """Hashes of an episode's frames at `MOMENTS` moments: `uint8 [T, H, W, 3]` to `uint64 [MOMENTS]`."""
    moments = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    grey = square_resize(frames[moments], 32) @ np.array([0.299, 0.587, 0.114])
    terms = dctn(grey, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(MOMENTS, 64)
    bits = terms > np.median(terms, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def near_duplicates(hashes: np.ndarray, distance: float) -> np.ndarray:
    """Group episodes whose hashes differ by `distance` bits or less on average over the moments.

    Args:
        hashes: `uint64 [N, MOMENTS]`.
        distance: bits of 64.

    Returns:
        `int64 [N]`, equal for episodes of a group; a chain of near-duplicates is one group.
    """
    count = len(hashes)
    block = max(1, 2**22 // max(hashes.size, 1))  # rows at a time, so that a block of pairs fills 32 MB
    pairs = []
    for start in range(0, count, block):
        differing = np.bitwise_count(hashes[start : start + block, None] ^ hashes[None, start:])
        near = np.argwhere(differing.sum(-1, dtype=np.int64) <= distance * hashes.shape[1])
        pairs.append(near + start)
    rows, columns = np.concatenate(pairs).T
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
