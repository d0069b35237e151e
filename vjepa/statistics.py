"""Measured quantities with their 95 % intervals, as the metrics files hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Estimate = dict[str, float | int]
CONFIDENCE = 0.95
RESAMPLES = 2000


def rate(outcomes: Sequence[bool] | np.ndarray) -> Estimate:
    """A success rate over independent trials with Wilson's interval."""
    outcomes = np.asarray(outcomes, bool)
    if outcomes.ndim != 1 or len(outcomes) == 0:
        raise ValueError(f"a rate needs a list of at least one outcome, not shape {outcomes.shape}")
    interval = stats.binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "value": float(outcomes.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "n": len(outcomes),
    }


def ratio(numerators: ArrayLike, denominators: ArrayLike, groups: ArrayLike, seed: int = 0) -> Estimate:
    """The ratio of two means over the same items, with a bootstrap interval over independent units (see `mean`)."""
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    fits = above.shape == below.shape and above.ndim == 1 and np.isfinite(above).all() and (below >= 0).all()
    if not fits or not below.any():
        raise ValueError("a ratio needs two equally long lists of finite values, the second not below 0 and not all 0")
    _, units = np.unique(np.asarray(groups), return_inverse=True)
    sums, parts = np.bincount(units, above), np.bincount(units, below)
    low, high = resampled_bounds(sums, parts, seed)
    return {"value": float(above.sum() / below.sum()), "low": low, "high": high, "n": len(sums)}


def resampled_bounds(sums: np.ndarray, parts: np.ndarray, seed: int) -> tuple[float, float]:
    """Bootstrap interval of the sum of `sums` over that of `parts`, one of each an independent unit."""
    draws = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    below = parts[draws].sum(1)
    ratios = sums[draws].sum(1)[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def mean(values: ArrayLike, groups: ArrayLike | None = None, seed: int = 0) -> Estimate:
    """A mean with a bootstrap interval over independent items.

    Args:
        values: one number an item.
        groups: which independent unit (an episode) each item belongs to; units are resampled whole and weigh by their
            items. None: every item is independent.
        seed: of the resampling.
    """
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError("a mean needs a list of at least one finite value")
    _, units = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(units, values), np.bincount(units)
    low, high = resampled_bounds(sums, counts, seed)
    if low == high and set(values) <= {0.0, 1.0}:
        # Resampling answers that are all alike says nothing about how sure that is; Wilson's interval does.
        return {**rate(np.full(len(sums), values[0] == 1)), "value": float(values.mean())}
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(sums)}
