"""How fast a run goes, and how long it waits for its data: measured, so never a part of its log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """The pace of one process.

    Args:
        clips: of a step, over all processes.
    """

    def __init__(self, clips: int) -> None:
        self.clips = clips
        self._waited = 0.0
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self._steps = 0
        self._first = self._last = self._mark()

    def _mark(self) -> tuple[int, float, float]:
        return self._steps, time.perf_counter(), self._waited

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What lies in here is waiting for data."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - started

    def step(self) -> None:
        """A step was taken."""
        self._steps += 1

    def lately(self) -> dict[str, float]:
        """`clips_per_second`, and `waiting_share` of the time, from 0 to 1, since this was last asked."""
        before, self._last = self._last, self._mark()
        return self._between(before, self._last)

    def overall(self) -> dict[str, float]:
        """The same since the beginning, and `steps`."""
        now = self._mark()
        return {"steps": now[0], **self._between(self._first, now)}

    def _between(self, before: tuple[int, float, float], now: tuple[int, float, float]) -> dict[str, float]:
        steps, seconds, waited = (b - a for a, b in zip(before, now, strict=True))
        return {"clips_per_second": steps * self.clips / seconds, "waiting_share": waited / seconds}
