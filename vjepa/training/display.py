"""A run in the terminal: a bar and the log's numbers with their curves; where there is none, a line now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from types import TracebackType

from rich import get_console
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

LINES, LINE_S = 5, 600.0
"""Without a terminal a line is written at so many parts of a run, and after as many seconds."""
CURVE, BARS = 32, "▁▂▃▄▅▆▇█"


class Display:
    """Shows one run on the console while it lasts.

    Args:
        name: of the run.
        steps: it will have.
        shown: False: nothing is shown, as in all processes but the one that leads.
    """

    def __init__(self, name: str, steps: int, shown: bool = True) -> None:
        self.name, self.steps, self.shown = name, steps, shown
        self._console = get_console()
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        # a part of the panel: it is never started
        self._bars = Progress(*columns, console=self._console, speed_estimate_period=LINE_S)
        self._bar = self._bars.add_task(name, total=steps, start=False)
        self._curves: dict[str, list[float]] = {}
        self._table = Table()
        self._panel: Live | None = None
        if shown and self._console.is_interactive:
            self._panel = Live(get_renderable=self._both, console=self._console, transient=True)
        self._part, self._said_at = -1, 0.0

    def __enter__(self) -> Display:
        if self._panel:
            self._panel.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._panel:
            self._panel.stop()

    def say(self, said: str) -> None:
        """A line of its own, which stays."""
        if self.shown:
            self._console.print(f"{self.name}: {said}", soft_wrap=True, markup=False, highlight=False)

    def begin(self, step: int, log: Sequence[Mapping[str, float]]) -> None:
        """The run starts at `step`, with the rows that it has."""
        self._bars.update(self._bar, completed=step)
        self._bars.start_task(self._bar)
        for row in log:
            self._keep(row)

    def at(self, step: int) -> None:
        """So many steps were taken."""
        self._bars.update(self._bar, completed=step)

    def show(self, row: Mapping[str, float]) -> None:
        """A row of the log, with the pace at its step."""
        self._keep(row)
        if self._panel:
            self._table = numbers_table(self._curves)
        elif self.shown:
            part, now = int(row["step"]) * LINES // self.steps, time.monotonic()
            if part > self._part or now - self._said_at > LINE_S:
                self._part, self._said_at = part, now
                self.say(self._line(row))

    def _both(self) -> Group:
        return Group(self._bars, self._table)

    def _keep(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._curves.setdefault(name, []).append(value)

    def _line(self, row: Mapping[str, float]) -> str:
        left = self._bars.tasks[0].time_remaining
        ends = "" if left is None else f", {timedelta(seconds=int(left))} left"
        return f"step {int(row['step'])} of {self.steps}{ends}: {numbers(row)}"


def numbers(row: Mapping[str, float]) -> str:
    """A row's numbers as words: `loss 0.3712, learning rate 0.001`."""
    return ", ".join(f"{words(name)} {value:.4g}" for name, value in row.items() if name != "step")


def words(name: str) -> str:
    return name.replace("_", " ")


def numbers_table(curves: Mapping[str, Sequence[float]]) -> Table:
    """Each number's name, its last value and its curve."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="cyan")
    for name, values in curves.items():
        table.add_row(words(name), f"{values[-1]:.4g}", curve(values))
    return table


def curve(values: Sequence[float]) -> str:
    """A curve as a row of at most `CURVE` characters, from its lowest to its highest value."""
    values = [value for value in values if math.isfinite(value)]
    width = min(CURVE, len(values))
    ends = [len(values) * i // width for i in range(width + 1)] if width else []
    parts = [sum(values[a:b]) / (b - a) for a, b in pairwise(ends)]
    low, high = min(parts, default=0.0), max(parts, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((part - low) * scale)] for part in parts)
