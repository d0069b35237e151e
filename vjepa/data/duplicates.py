"""Near-duplicate episodes, found by perceptual hashes of several frames.

The hash is the sign pattern of low-frequency cosine terms: compression, a change of size or a little noise leaves it as
it is. Near pairs are found exactly without comparing all: where two hashes differ in at most k bits, and their bits are
dealt into k + 1 bands, at least one band is the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

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
        distance: bits of 64; below 0 nothing is a duplicate.

    Returns:
        `int64 [N]`, equal for episodes of a group; a chain of near-duplicates is one group.
    """
    most = math.floor(distance * hashes.shape[1])
    if most < 0:
        return np.arange(len(hashes))
    hashes, same = np.unique(hashes, axis=0, return_inverse=True)  # equal ones make a pair with each other, too many
    count = len(hashes)
    near = [np.zeros((2, 0), np.int64)]
    for first, second in candidates(hashes, most):
        differing = np.bitwise_count(hashes[first] ^ hashes[second]).sum(1, dtype=np.int64)
        near.append(np.stack([first, second])[:, differing <= most])
    rows, columns = np.concatenate(near, axis=1)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1][same.reshape(-1)]


def candidates(hashes: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs `int64 [P]`, `int64 [P]` among which are all whose hashes differ in at most `most` bits.

    A band of bits that is the same in both makes a candidate. Where scenes are so alike that bands say little, every
    pair is one, which is then less work.
    """
    bits = np.unpackbits(hashes.view(np.uint8).reshape(len(hashes), -1), axis=1)
    dealt = np.random.default_rng(0).permutation(bits.shape[1])  # neighbouring bits say much the same
    keys = [band_keys(bits[:, band]) for band in np.array_split(dealt, most + 1) if len(band)]
    together = sum(int((sizes * (sizes - 1) // 2).sum()) for sizes in map(np.bincount, keys))
    if most >= bits.shape[1] or together > len(hashes) * (len(hashes) - 1) // 2:
        keys = [np.zeros(len(hashes), np.int64)]
    for key in keys:
        yield from pairs_of_one_key(key)


def band_keys(bits: np.ndarray) -> np.ndarray:
    """A number for each different row of `uint8 [N, B]`: `int64 [N]`."""
    return np.unique(np.packbits(bits, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def pairs_of_one_key(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of places that have the same key, in pieces no longer than there are keys."""
    order = np.argsort(keys, kind="stable")
    places, ordered, apart = np.arange(len(keys)), keys[order], 1
    while len(places := places[places + apart < len(keys)]):
        places = places[ordered[places] == ordered[places + apart]]  # further apart only those that still are the same
        yield order[places], order[places + apart]
        apart += 1
