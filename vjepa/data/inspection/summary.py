"""What is gathered of a data set, whatever its format."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.video import VideoFile
from vjepa.errors import DataError

PACED = 20
"""Frames of a video whose time stamps give its true rate."""
STRIP = 8
"""Frames of the film strip."""


@dataclass
class CameraSummary:
    """One camera: what is said of it and what its files show (of the episodes that were opened)."""

    name: str
    said: str
    shown: Counter[str] = field(default_factory=Counter)
    missing: int = 0


@dataclass
class ColumnSummary:
    """One column of numbers: its width and, over the rows that were read, the range of each value."""

    name: str
    width: int
    low: np.ndarray
    high: np.ndarray
    missing: int  # values that are NaN or infinite
    values: tuple[str, ...] = ()  # what the data set calls each of them, if it does


@dataclass
class Inspection:
    """See `inspect`.

    Attributes:
        path: the data set.
        format: what `source.format` calls it, and the version.
        robot: its type.
        fps: rows a second.
        episodes, frames: of a LeRobot data set as its index states them; of DROID's folders as counted, frames by those
            that were opened.
        cameras, columns: by name.
        tasks: episodes by sentence.
        opened: episodes whose rows and videos were looked at.
        findings: what is wrong or was set right: a sentence, how often, and where first.
        strip: `uint8 [H, W, 3]`, frames of one episode side by side; None where no video can be shown.
    """

    path: Path
    format: str
    robot: str
    fps: float
    episodes: int
    frames: int
    cameras: dict[str, CameraSummary]
    columns: dict[str, ColumnSummary]
    tasks: Counter[str]
    opened: int
    findings: dict[str, list[str]]
    strip: np.ndarray | None

    @property
    def hours(self) -> float:
        """Duration of all episodes."""
        return self.frames / self.fps / 3600 if self.fps else math.nan

    def note(self, finding: str, where: str) -> None:
        """Add to the findings."""
        self.findings.setdefault(finding, []).append(where)


def spread(entries: list[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spread."""
    places = np.unique(np.linspace(0, len(entries) - 1, min(most, len(entries))).round().astype(int))
    return [entries[place] for place in places]


def widen(columns: dict[str, ColumnSummary], name: str, values: np.ndarray) -> None:
    """Take rows `[R, W]` of a column into its summary."""
    finite = np.where(np.isfinite(values), values, np.nan)
    missing = int(np.isnan(finite).sum())
    low = np.where(np.isnan(finite), np.inf, finite).min(0, initial=np.inf)
    high = np.where(np.isnan(finite), -np.inf, finite).max(0, initial=-np.inf)
    known = columns.get(name)
    if known is None:
        columns[name] = ColumnSummary(name, values.shape[1], low, high, missing)
    elif known.width == values.shape[1]:
        known.low, known.high = np.minimum(known.low, low), np.maximum(known.high, high)
        known.missing += missing


@lru_cache(maxsize=8)  # neighbouring episodes share a file
def watch(file: Path) -> tuple[str, float, float]:
    """What a video's first frames show: size and rate in words, its length in s as stated, its true rate.

    Raises:
        DataError: it can't be decoded.
    """
    with VideoFile(file) as video:
        shown = list(islice(video.frames_from(0.0), PACED))
        if not shown:
            raise DataError(f"{file} holds no frames")
        frame, rate = shown[0][0], pace(np.array([time for _, time in shown]))
        return f"{frame.width} x {frame.height} at {rate:.4g} frames a second", video.duration, rate


def pace(times: np.ndarray) -> float:
    """Frames a second by their time stamps `[T]` (s); NaN where these say nothing."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return 1 / step if step > 0 else math.nan


def told_apart(said: str, index: int) -> tuple[str, str]:
    """A message about one episode as a sentence for all of its kind, and the episode."""
    number = f"{index:06d}"
    general = said.replace(number, "N" * len(number)).replace(f"{index:03d}", "NNN")
    return general, f"episode {index}"
