"""Statistics of the features of a LeRobot data set, per episode and over all, as LeRobot names and shapes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


@dataclass
class Statistics:
    """Statistics of one feature over the episodes added, exact: all values of a column, histograms of images."""

    _values: list[np.ndarray] = field(default_factory=list)
    _histogram: np.ndarray | None = None
    _images: int = 0

    def add(self, values: np.ndarray) -> dict[str, Any]:
        """Add an episode, `[T]`, `[T, N]` or images `uint8 [T, H, W, 3]`; the episode's own statistics."""
        if values.ndim == 4:
            # Every second pixel of every second row, as LeRobot thins large images for this.
            histogram = np.stack(
                [np.bincount(c.ravel(), minlength=256) for c in np.moveaxis(values[:, ::2, ::2], 3, 0)]
            )
            self._histogram = histogram if self._histogram is None else self._histogram + histogram
            self._images += len(values)
            return describe_images(histogram, len(values))
        self._values.append(values)
        return describe(values)

    def total(self) -> dict[str, Any]:
        """Statistics of all that was added."""
        if self._histogram is not None:
            return describe_images(self._histogram, self._images)
        return describe(np.concatenate(self._values))


def describe(values: np.ndarray) -> dict[str, Any]:
    """Statistics of a column `[T]` or `[T, N]`: lists of 1 or N numbers, and the count."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    described = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    described |= dict(zip(QUANTILES, quantiles, strict=True))
    return {name: value.tolist() for name, value in described.items()} | {"count": [len(rows)]}


def describe_images(histogram: np.ndarray, images: int) -> dict[str, Any]:
    """Statistics of pixel values in 0..1 from counts `[3, 256]`: lists of shape [3, 1, 1], and the number of images."""
    levels = np.arange(256) / 255
    share = histogram / histogram.sum(1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    cumulated = share.cumsum(1)
    described = {"min": levels[(histogram > 0).argmax(1)], "max": levels[255 - (histogram > 0)[:, ::-1].argmax(1)]}
    described |= {"mean": mean, "std": std}
    described |= {name: levels[(cumulated >= q - 1e-12).argmax(1)] for name, q in QUANTILES.items()}
    return {name: value.reshape(3, 1, 1).tolist() for name, value in described.items()} | {"count": [images]}
