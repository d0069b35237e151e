"""What more training, a larger encoder and more robot episodes buy, as the trials of `make ablation` tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from vjepa.report.experiments import FONT, RECIPE, RIVAL, Row, measured_as
from vjepa.report.figure import ACCENT, INK, MUTED
from vjepa.report.quantities import unit

LADDERS = {
    "Episodes seen in pretraining": ("pretrain.episodes", ("videos_4", "videos_20", RECIPE)),
    "Clips seen in pretraining": ("pretrain.clips_seen", ("short_pretraining", RECIPE, "long_pretraining")),
    "Parameters that are pretrained": ("pretrain.parameters", ("small_encoder", RECIPE, "large_encoder")),
}
"""Title -> the number that grows, and the arms that change nothing else."""
EPISODES = "Robot episodes of post-training"
BOUGHT = (
    "plan.reach.success",
    "plan.reach_other_light.success",
    "posttrain.latent_error_share",
    "probe.hand_error_cm",
    "pretrain.state_readout",
    "pretrain.distance_agreement",
)
BEFORE_POSTTRAINING = ("probe.", "pretrain.")
"""Where numbers begin so that no share of the robot episodes changes them."""
LEAST = 3
"""Points that a curve has at least."""


@dataclass(frozen=True)
class Curve:
    """The rows of one recipe with ever more of something: how much, and what came of it."""

    arm: str
    points: tuple[tuple[float, Row], ...]


def curves(rows: Sequence[Row]) -> dict[str, list[Curve]]:
    """By title what grew, and with it each recipe that was tried with three amounts of it or more."""
    newest = {(row.arm, row.share): row for row in rows}
    found: dict[str, list[Curve]] = {}
    for title, (number, arms) in LADDERS.items():
        steps = [newest[arm, 1.0] for arm in arms if (arm, 1.0) in newest]
        sizes = [(quantity.value, row) for row in steps if (quantity := row.measured(number))]
        found[title] = [Curve(RECIPE, tuple(sizes))]
    arms_tried = dict.fromkeys(arm for arm, _ in newest)
    found[EPISODES] = [
        Curve(arm, tuple(sorted(((row.share, row) for row in newest.values() if row.arm == arm), key=lambda p: p[0])))
        for arm in arms_tried
    ]
    long = {title: [curve for curve in part if len(curve.points) >= LEAST] for title, part in found.items()}
    return {title: part for title, part in long.items() if part}


def scaling_picture(found: dict[str, list[Curve]]) -> Figure:
    """A line of panels for each thing that grew, a panel for each number, with intervals as bars."""
    rows = [row for part in found.values() for curve in part for _, row in curve.points]
    names = [name for name in BOUGHT if any(row.measured(name) for row in rows)]
    with mpl.rc_context(FONT):
        figure = Figure(figsize=(2.4 * len(names), 2.3 * len(found)), dpi=150, layout="constrained")
        panels = figure.subplots(len(found), len(names), squeeze=False)
        for line, (title, part) in zip(panels, found.items(), strict=True):
            for panel, name in zip(line, names, strict=True):
                if title == EPISODES and name.startswith(BEFORE_POSTTRAINING):
                    panel.set_axis_off()
                    continue
                for curve in part:
                    measured = [(x, q) for x, row in curve.points if (q := row.measured(name))]
                    xs, values = [x for x, _ in measured], [q.value for _, q in measured]
                    bars = [[q.value - q.bounds[0] for _, q in measured], [q.bounds[1] - q.value for _, q in measured]]
                    colour = {RECIPE: ACCENT, RIVAL: MUTED}.get(curve.arm, INK)
                    panel.errorbar(xs, values, bars, color=colour, marker="o", markersize=4, capsize=2, label=curve.arm)
                panel.set_title(fill(measured_as(name), 30), loc="left", fontsize=8, color=INK)
                panel.set_xscale("log")
                amounts = sorted({x for curve in part for x, _ in curve.points})
                panel.set_xticks(amounts)
                panel.xaxis.set_major_formatter(
                    PercentFormatter(1, decimals=0, symbol=" %")
                    if title == EPISODES
                    else StrMethodFormatter("{x:,.0f}")
                )
                panel.xaxis.set_minor_formatter(NullFormatter())
                if unit(name) == "%":
                    panel.set_ylim(bottom=0)
                    panel.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
                panel.set_xlabel(title)
                panel.grid(linewidth=0.5, alpha=0.5)
                panel.spines[["top", "right"]].set_visible(False)
            if len(part) > 1:
                figure.legend(handles=line[0].containers, loc="outside lower right", ncols=len(part), frameon=False)
    return figure
