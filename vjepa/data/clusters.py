"""Clusters of features, and how training episodes are dealt among them."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2, vq

ITERATIONS = 30


def k_means(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Part features by k-means, the same ones always in the same way (begun by k-means++ with a fixed seed).

    Args:
        features: `float32 [N, D]`, N at least 1.
        count: clusters; there are fewer where fewer features differ, or one ends without members.

    Returns:
        Their centres `float32 [K, D]`, that of the largest cluster first, and the cluster of each feature `int64 [N]`.
    """
    count = min(count, len(np.unique(features, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of clusters without members, which are left out below
        centres, _ = kmeans2(features, count, iter=ITERATIONS, minit="++", rng=np.random.default_rng(0))
    sizes = np.bincount(nearest(features, centres), minlength=count)
    order = np.argsort(-sizes, kind="stable")
    centres = centres[order[sizes[order] > 0]]
    return centres, nearest(features, centres)


def nearest(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre nearest to each feature: `[N, D]` and `[K, D]` to `int64 [N]`."""
    return vq(features, centres)[0].astype(np.int64)


def shares(matches: np.ndarray, total: int) -> np.ndarray:
    """How many of `total` episodes go to each cluster: in proportion to its matches, rounded down.

    A cluster with any match gets one at least; what one can't fill goes to no other.

    Args:
        matches: `int64 [K]`, not all 0.
        total: of episodes.

    Returns:
        `int64 [K]`.
    """
    return np.where(matches > 0, np.maximum(matches * total // matches.sum(), 1), 0)
