"""What the trials of `make ablation` say of each arm, for docs/experiments.md and the report: rows and a picture."""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vjepa.report.figure import ACCENT, INK, MUTED
from vjepa.report.quantities import Quantity, better, label, spaced, unit
from vjepa.report.trials import Measured, Record, difference, over_seeds, paired_difference
from vjepa.report.verdicts import Verdict, amount

RECIPE, RIVAL = "default", "untrained"
RIVALS = (RIVAL, "pixels")
"""What the recipe has to beat."""
REPORTED = "ablation"
"""The file of conf/measure/ whose trials speak for a recipe; those of all others come after them."""
TABLES = {
    "Closed loop": ("plan", ("success",)),
    "Closed loop, at any step": ("plan", ("success_ever",)),
    "Closed loop, distance to the goal at the end": ("plan", ("final_distance_cm",)),
    "World model": ("", ("latent_error_share", "true_action_rank", "direction_error_deg")),
    "Read-outs of pretraining": ("pretrain", ("distance_agreement", "state_readout", "effective_rank")),
    "Probes": ("probe", ("hand_error_cm", "motion_accuracy", "task_accuracy")),
}
"""Title -> the metrics file (empty: any) and the last parts of the numbers that are its columns."""
DRAWN = (("posttrain", ("latent_error_share",)), ("probe", ("hand_error_cm", "motion_accuracy", "task_accuracy")))
"""As `TABLES`: what the picture shows beside success in closed loop."""
PANELS = 4
"""Beside each other in the picture."""
FONT: dict[Any, Any] = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8}
"""Of the pictures, as matplotlib's settings."""


@dataclass(frozen=True)
class Row:
    """The trials of one arm with one share of the episodes, that differ in their seed alone."""

    arm: str
    share: float
    settings: str
    trials: tuple[Record, ...]

    @property
    def name(self) -> str:
        """As the tables call it."""
        return self.arm if self.share == 1 else f"{self.arm}, {100 * self.share:g} % of the episodes"

    def found(self, name: str) -> list[Measured] | None:
        """A number of each seed; None where a trial lacks it."""
        found = [trial["numbers"].get(name) for trial in self.trials]
        return found if all(found) else None

    def measured(self, name: str) -> Quantity | None:
        """A number over the seeds; None where a trial lacks it."""
        found = self.found(name)
        return over_seeds(name, found) if found else None

    def in_scenes(self, name: str) -> pd.DataFrame:
        """A number of the closed loop: a row for each trial, a column for each scene, by its seed, that all met."""
        _, benchmark, metric = [*name.split("."), "", ""][:3]
        found = [trial["scenes"].get(benchmark, {}) for trial in self.trials]
        values = [pd.Series(scenes.get(metric, []), scenes.get("seed"), float) for scenes in found]
        return pd.DataFrame(values).dropna(axis="columns")

    def more_than(self, rival: Row, name: str) -> Quantity | None:
        """What a number has more than the rival's; None where one of them lacks it or knows no interval.

        In closed loop the scenes are the same, so that differences are taken scene by scene; elsewhere, and where all
        scenes differ alike and so tell nothing of others, the intervals of both are put in quadrature.
        """
        mine, theirs = self.found(name), rival.found(name)
        known = [part for part in (self.measured(name), rival.measured(name)) if part and part.low is not None]
        if mine is None or theirs is None or len(known) < 2:
            return None
        scenes, of_rival = self.in_scenes(name), rival.in_scenes(name)
        shared = not scenes.empty and scenes.columns.equals(of_rival.columns)
        if not shared or np.ptp(scenes.mean() - of_rival.mean()) == 0:
            return difference(name, mine, theirs)
        file, _, last = name.partition(".")
        return Quantity(file, last, *paired_difference(scenes.to_numpy(), of_rival.to_numpy()))

    def against(self, rival: Row, name: str) -> Verdict | None:
        """Whether a number is better than the rival's; None where that can't be said or no direction is better.

        Of one training seed it can't be said: its interval knows nothing of how seeds differ.
        """
        more, direction = self.more_than(rival, name), better(name)
        if more is None or direction is None or min(len(self.trials), len(rival.trials)) < 2:
            return None
        low, high = more.bounds
        if low <= 0 <= high:
            return "unclear"
        return "beats" if (low > 0) == (direction == "higher") else "loses"


def rows_of(records: Iterable[Record]) -> list[Row]:
    """By share and arm; where an arm's own settings changed, the later ones follow as another row."""
    found: dict[tuple[str, float, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record["arm"], record["share"], record["settings"]].append(record)
    rows = [Row(*key, tuple(trials)) for key, trials in found.items()]
    return sorted(rows, key=lambda row: (-row.share, row.arm, max(trial["recorded"] for trial in row.trials)))


def columns(records: Sequence[Record], file: str, lasts: Sequence[str]) -> list[str]:
    """The numbers that a table shows."""
    names = list(dict.fromkeys(name for record in records for name in record["numbers"]))
    return [name for last in lasts for name in names if name.rpartition(".")[2] == last and name.startswith(file)]


def heading(name: str) -> str:
    """Of a column: the benchmark, or what is measured."""
    parts = name.split(".")
    return spaced(parts[1]) if len(parts) == 3 and parts[1] != "offline" else label(name)


def measured_as(name: str) -> str:
    """Of a panel: what is measured and in which unit; percents stand at the axis."""
    return heading(name) if unit(name) in ("%", "") else f"{heading(name)}, {unit(name)}"


def sections(records: Iterable[Record]) -> list[list[Record]]:
    """The trials that share a way of measuring and a profile; what is reported first, then the newest profile."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record["measure"], record["base"]].append(record)
    newest_first = sorted(found.values(), key=lambda part: max(record["recorded"] for record in part), reverse=True)
    return sorted(newest_first, key=lambda part: (part[0]["measure"] != REPORTED, part[0]["measure"]))


def picture(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """A panel for each number: the mean of each arm with its interval, and each seed as a small dot."""
    lines = math.ceil(len(names) / PANELS)
    with mpl.rc_context(FONT):
        figure = Figure(figsize=(3 * PANELS, lines * (0.8 + 0.24 * len(rows))), dpi=150, layout="constrained")
        panels = figure.subplots(lines, PANELS, sharey=True, squeeze=False).ravel()
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        for panel, name in zip(panels, names, strict=False):
            percent = unit(name) == "%"
            for y, row in enumerate(rows):
                quantity = row.measured(name)
                if quantity is None:
                    continue
                colour = ACCENT if row.arm != RIVAL else MUTED
                panel.plot(quantity.bounds, (y, y), color=colour, linewidth=1.6, clip_on=False)
                panel.plot(quantity.value, y, "o", color=colour, markersize=5, clip_on=False)
                seeds = [trial["numbers"][name][0] for trial in row.trials]
                panel.plot(seeds, [y + 0.25] * len(seeds), "o", color=colour, markersize=2, alpha=0.6, clip_on=False)
            panel.set_title(fill(measured_as(name), 34), loc="left", fontsize=8, color=INK)
            panel.set_yticks(range(len(rows)), [row.name for row in rows])
            panel.set_xlim(0, 1 if percent else None)
            if percent:
                panel.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
            panel.grid(axis="x", linewidth=0.5, alpha=0.5)
            panel.spines[["top", "right", "left"]].set_visible(False)
            panel.tick_params(length=0)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def rivals_of(rows: Sequence[Row], arm: str = RIVAL) -> dict[float, Row]:
    """The arm that others are held against, by its share of the episodes; of several settings the latest."""
    return {row.share: row for row in rows if row.arm == arm}


def drawn(records: Sequence[Record]) -> list[str]:
    """The numbers that the picture shows."""
    return [name for file, lasts in (("plan", ("success",)), *DRAWN) for name in columns(records, file, lasts)]


def day_of(record: Record) -> str:
    """When it was recorded."""
    return str(record["recorded"])[:10]


def days_of(records: Sequence[Record]) -> str:
    """When they were recorded: a day, or the first and the last."""
    days = sorted({day_of(record) for record in records})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def png(figure: Figure) -> bytes:
    """A figure as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def newest_trials(records: Sequence[Record]) -> dict[str, Any]:
    """What the report says of the newest reported trials: nothing where there are none."""
    reported = [part for part in sections(records) if part[0]["measure"] == REPORTED]
    if not reported:
        return {}
    found = reported[0]
    rows, names = rows_of(found), drawn(found)
    rivals = rivals_of(rows)

    def cell(row: Row, name: str) -> dict[str, Any]:
        quantity, rival = row.measured(name), rivals.get(row.share) if row.arm != RIVAL else None
        return {
            "words": "" if quantity is None else amount(quantity, unit(name)),
            "verdict": row.against(rival, name) if rival else None,
        }

    return {
        "trials": len(found),
        "days": days_of(found),
        "arms": [{"name": row.name, "seeds": len(row.trials)} for row in rows],
        "lines": [{"title": heading(name), "cells": [cell(row, name) for row in rows]} for name in names],
        "picture": "data:image/png;base64," + base64.b64encode(png(picture(rows, names))).decode(),
    }
