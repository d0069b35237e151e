"""The page's numbers, tables and curves, as plain values for the template.

A section without material returns nothing, and the template says so in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from vjepa.config import CollapseConfig
from vjepa.report import charts
from vjepa.report.inputs import STAGES, Inputs
from vjepa.report.quantities import Quantity, interval, label, number, plain, spaced, unit, with_unit
from vjepa.report.verdicts import PHRASES, Comparison, statement

Values = dict[str, Any]
HEADLINES = ("success", "direction_error_deg", "latent_l1", "task_accuracy", "hand_error_cm", "answer_accuracy")


def headline_tiles(comparisons: Sequence[Comparison]) -> list[Values]:
    """One tile for each of the chain's main quantities; the first benchmark stands for planning."""
    tiles = []
    for last in HEADLINES:
        found = next((c for c in comparisons if c.measured.last == last and c.strongest), None)
        if found is None or (against := found.strongest) is None:
            continue
        tiles.append(
            {
                "title": found.title,
                "value": with_unit(found.measured.value, found.unit),
                "interval": interval(found.measured, found.unit),
                "n": found.measured.n,
                "baseline": f"{against.words}, {with_unit(against.quantity.value, found.unit)}",
                "verdict": against.verdict,
            }
        )
    return tiles


def statements(comparisons: Sequence[Comparison]) -> list[Values]:
    """The sentences that the metrics allow, one for each quantity with a baseline to judge it by."""
    return [
        {"verdict": c.verdict, "title": c.title, "text": statement(c)} for c in comparisons if c.verdict is not None
    ]


def panels(comparisons: Sequence[Comparison], stage: str) -> list[Values]:
    """Dot-and-whisker tables of a stage's quantities that have an interval or a baseline.

    Those of a group share a panel; those at the top of the file have nothing in common and get one each.
    """
    found: dict[str, Values] = {}
    for comparison in comparisons:
        measured = comparison.measured
        if measured.file == stage and (comparison.baselines or measured.low is not None):
            panel = found.setdefault(measured.group or measured.name, {"title": measured.heading, "tables": []})
            panel["tables"].append(whisker_table(comparison))
    return list(found.values())


def whisker_table(comparison: Comparison) -> Values:
    """Rows of one dot-and-whisker table on a common axis from zero; positions are percent of the axis."""
    shown = [comparison.measured, *(baseline.quantity for baseline in comparison.baselines)]
    end = 1.0 if comparison.unit == "%" else charts.scale_end(max(quantity.bounds[1] for quantity in shown))
    words = [("this run", None), *((baseline.words, baseline.verdict) for baseline in comparison.baselines)]

    def row(quantity: Quantity, words: str, verdict: str | None) -> Values:
        low, high = (round(100 * min(max(bound / end, 0), 1), 2) for bound in quantity.bounds)
        return {
            "words": words,
            "verdict": verdict,
            "phrase": PHRASES[verdict] if verdict else "",  # type: ignore[index]
            "value": with_unit(quantity.value, comparison.unit),
            "interval": interval(quantity, comparison.unit),
            "n": "" if quantity.n is None else f"{quantity.n:,}",
            "at": round(100 * min(max(quantity.value / end, 0), 1), 2),
            "low": low,
            "high": high,
        }

    return {
        "title": label(comparison.measured.name),
        "rows": [row(quantity, *said) for quantity, said in zip(shown, words, strict=True)],
        "ticks": [(share, f"{end * share / 100 * (100 if comparison.unit == '%' else 1):g}") for share in (0, 50, 100)],
        "unit": comparison.unit,
    }


def curves(inputs: Inputs, collapse: CollapseConfig) -> dict[str, list[Values]]:
    """Training curves by stage: caption and SVG, with the limits at which a run has collapsed."""
    limits = {
        "feature_deviation": collapse.min_feature_deviation,
        "effective_rank": collapse.min_effective_rank,
        "clip_similarity": collapse.max_clip_similarity,
    }
    wanted = {
        "pretrain": (
            ("Loss", ["loss"]),
            ("Feature deviation", ["feature_deviation"]),
            ("Effective rank", ["effective_rank"]),
            ("Similarity of different clips", ["clip_similarity"]),
            ("Linear read-out of the state (R²)", ["state_readout"]),
            ("Agreement of distances between latents and between states", ["distance_agreement"]),
            ("Length of the gradient", ["gradient_norm"]),
        ),
        "posttrain": (("Loss", ["loss"]), ("Its two parts", ["teacher_forcing", "rollout"])),
    }
    drawn: dict[str, list[Values]] = {}
    for stage, figures in wanted.items():
        curve = inputs.curves[stage].dropna(axis="columns", how="all")
        drawn[stage] = []
        for title, names in figures:
            lines = {spaced(name).lower(): curve[name].to_list() for name in names if name in curve}
            if lines and len(curve) > 1:
                known = {words: [v for v in values if math.isfinite(v)] for words, values in lines.items()}
                ends = ", ".join(f"{words} from {number(v[0])} to {number(v[-1])}" for words, v in known.items())
                limit = limits.get(names[0])
                ends += "" if limit is None else f"; limit {number(limit)}"
                alt = f"{title} of {stage} over {int(curve['step'].iloc[-1])} steps: {ends}"
                svg = charts.line_chart(f"{stage}-{names[0]}", alt, curve["step"].to_list(), lines, limit)
                drawn[stage].append({"title": title, "ends": ends, "svg": Markup(svg)})
    return drawn


def timing_rows(timings: dict[str, dict[str, float]]) -> list[Values]:
    """Seconds and peak memory of the stages that ran, in the chain's order."""
    ran = [stage for stage in STAGES if stage in timings]
    longest = max((timings[stage]["seconds"] for stage in ran), default=1) or 1
    return [
        {
            "stage": stage,
            "seconds": f"{timings[stage]['seconds']:,.0f}",
            "memory": f"{timings[stage]['peak_memory_gb']:.1f}",
            "share": round(100 * timings[stage]["seconds"] / longest, 1),
        }
        for stage in ran
    ]


def every_number(found: Sequence[Quantity]) -> list[Values]:
    """All quantities of all metrics files, as the appendix lists them."""
    return [
        {
            "file": f"{q.file}.json",
            "name": q.name,
            "value": plain(q),
            "interval": interval(q, unit(q.name)),
            "n": "" if q.n is None else f"{q.n:,}",
        }
        for q in found
    ]
