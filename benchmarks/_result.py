"""Sides measured in turn, and the one record that every comparison with a peer ends in."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

DIGITS = 3
Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Comparison:
    """Runs of this project's side and of a peer's, taken in turn.

    Attributes:
        ours: one figure a run, all in `unit`.
        peer: as many.
        unit: `something/s`, of which more are better; else a cost (`s`, `GB`).
    """

    ours: Sequence[float]
    peer: Sequence[float]
    unit: str

    def times(self, ours: float, peer: float) -> float:
        """How many times as good ours is: above 1 it is better."""
        return ours / peer if self.unit.endswith("/s") else peer / ours

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.times(statistics.median(self.ours), statistics.median(self.peer))

    @property
    def spread(self) -> list[float]:
        """The lowest and the highest ratio of two runs that followed each other."""
        ratios = [self.times(a, b) for a, b in zip(self.ours, self.peer, strict=True)]
        return [min(ratios), max(ratios)]

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.ratio:.{DIGITS}g} times [{low:.{DIGITS}g}, {high:.{DIGITS}g}]"

    def figures(self) -> dict[str, object]:
        """Both medians, the ratio and its spread, with their unit."""
        return {
            "ours": rounded(statistics.median(self.ours)),
            "peer": rounded(statistics.median(self.peer)),
            "unit": self.unit,
            "ratio": rounded(self.ratio),
            "spread": [rounded(end) for end in self.spread],
        }

    def record(self, name: str, peer_is: str, summary: str, **more: object) -> dict[str, object]:
        """What results.json holds of a benchmark; `more` is what it alone has."""
        return {"name": name, **self.figures(), "peer_is": peer_is, **more, "summary": summary}


def rounded(value: float) -> float:
    """A measured number without digits that say nothing."""
    return float(f"{value:.{DIGITS}g}")


def in_turn(
    sides: Mapping[str, Callable[[], Measured]], repeats: int, shown: Callable[[Measured], str]
) -> dict[str, list[Measured]]:
    """Each side's figures of so many runs: one run of each, then the next, so that all meet the same machine."""
    runs: dict[str, list[Measured]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, measure in sides.items():
            runs[name].append(measure())
            print(f"repeat {repeat + 1}: {name} {shown(runs[name][-1])}", file=sys.stderr)
    return runs
