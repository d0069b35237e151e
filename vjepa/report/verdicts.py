"""What may be said of each number: beside its baselines, by their intervals, in plain sentences.

The rule is deliberately simple and strict: two 95 % intervals that do not touch are told apart, anything else is not.
All sentences here come from the metrics; none is written by hand for a particular run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vjepa.report.quantities import (
    BASELINES,
    CHANCE,
    REFERENCES,
    Quantity,
    Unit,
    baseline_suffix,
    better,
    interval,
    label,
    unit,
    with_unit,
)

Verdict = Literal["beats", "unclear", "loses"]

PHRASES: dict[Verdict, str] = {
    "beats": "beats its baseline: intervals apart",
    "unclear": "not distinguishable: intervals overlap",
    "loses": "loses: intervals apart",
}
SMALL_SAMPLE = 20
"""Fewer independent items than this are called too few: Wilson's interval of a rate is then up to 40 points wide."""


@dataclass(frozen=True)
class Baseline:
    """What stands beside a measured quantity; `verdict` is that quantity's, None if there is nothing to win or lose."""

    quantity: Quantity
    words: str
    suffix: str
    verdict: Verdict | None


@dataclass(frozen=True)
class Comparison:
    """A measured quantity beside its baselines."""

    measured: Quantity
    baselines: tuple[Baseline, ...]

    @property
    def unit(self) -> Unit:
        """The unit of the measured quantity and of its baselines."""
        return unit(self.measured.name)

    @property
    def title(self) -> str:
        """What is measured, with the group it belongs to: `Reach: success at the last step`."""
        words = label(self.measured.name)
        return f"{self.measured.heading}: {words[0].lower()}{words[1:]}" if self.measured.group else words

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict among the baselines, None without one."""
        found = {baseline.verdict for baseline in self.baselines}
        order: tuple[Verdict, ...] = ("loses", "unclear", "beats")
        return next((verdict for verdict in order if verdict in found), None)

    @property
    def strongest(self) -> Baseline | None:
        """The baseline that comes nearest to the measured quantity or passes it by most."""
        sign = -1 if better(self.measured.name) == "lower" else 1
        rivals = [baseline for baseline in self.baselines if baseline.verdict]
        return max(rivals, key=lambda baseline: sign * baseline.quantity.value, default=None)

    def against(self, suffix: str) -> Baseline | None:
        """The baseline with this suffix, if it was measured."""
        return next((baseline for baseline in self.baselines if baseline.suffix == suffix), None)


def judge(measured: Quantity, baseline: Quantity) -> Verdict | None:
    """Whether `measured` is better than `baseline` beyond both intervals; None if no direction is better."""
    direction = better(measured.name)
    if direction is None:
        return None
    (low, high), (base_low, base_high) = measured.bounds, baseline.bounds
    above, below = low > base_high, high < base_low
    if not above and not below:
        return "unclear"
    return "beats" if above == (direction == "higher") else "loses"


def compare(quantities: Sequence[Quantity]) -> list[Comparison]:
    """Set each quantity of one metrics file beside its baselines, in the file's order."""
    by_name = {quantity.name: quantity for quantity in quantities}
    comparisons = []
    for name, measured in by_name.items():
        if baseline_suffix(name, set(by_name)):
            continue
        baselines = []
        for suffix, words in {**BASELINES, **REFERENCES}.items():
            if (beside := by_name.get(f"{name}_{suffix}")) is not None:
                verdict = judge(measured, beside) if suffix in BASELINES else None
                baselines.append(Baseline(beside, words, suffix, verdict))
        if measured.last in CHANCE:
            chance = Quantity(measured.file, f"{name}_chance", CHANCE[measured.last])
            baselines.append(Baseline(chance, "chance", "chance", judge(measured, chance)))
        comparisons.append(Comparison(measured, tuple(baselines)))
    return comparisons


def amount(quantity: Quantity, unit: Unit) -> str:
    """A quantity in a sentence: `88 % [76, 95]`."""
    return f"{with_unit(quantity.value, unit)} {interval(quantity, unit)}".rstrip()


def statement(comparison: Comparison) -> str:
    """One plain sentence: what beats, loses to, or can't be told from which baseline."""
    parts = []
    for verdict, words in (
        ("loses", "loses to {} (intervals apart)"),
        ("unclear", "is not distinguishable from {} (intervals overlap)"),
        ("beats", "beats {} (intervals apart)"),
    ):
        named = [
            f"{baseline.words} at {amount(baseline.quantity, comparison.unit)}"
            for baseline in comparison.baselines
            if baseline.verdict == verdict
        ]
        if named:
            parts.append(words.format(listed(named)))
    measured = comparison.measured
    count = f", n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{measured.n}" if measured.n is not None else ""
    return f"{amount(measured, comparison.unit)}{count}: {'; '.join(parts)}."


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def limits(comparisons: Iterable[Comparison], seed: int) -> list[str]:
    """What the numbers do not show, as sentences."""
    known = list(comparisons)
    said = [
        f"One training run (seed {seed}). The intervals say how far other held-out episodes of the same kind may "
        "differ, not how far another training run may."
    ]
    said += [*planning_limits(known), *understanding_limits(known)]
    small = [c.measured for c in known if c.baselines and c.measured.n is not None and c.measured.n < SMALL_SAMPLE]
    if small:
        fewest = min(small, key=lambda quantity: quantity.n or 0)
        said.append(
            f"{len(small)} of the compared quantities rest on fewer than {SMALL_SAMPLE} independent items "
            f"(fewest: {fewest.file}, {fewest.name}, n = {fewest.n}): too few to tell much."
        )
    return said


def planning_limits(comparisons: Sequence[Comparison]) -> list[str]:
    """Whether pretraining may be said to help planning, and which benchmarks are not solved."""
    closed = [c for c in comparisons if c.measured.last in ("success", "success_ever")]
    if not closed:
        return ["No closed-loop benchmark was measured: nothing here says that the planner reaches a goal."]
    said = []
    arms = [(c, baseline) for c in closed if (baseline := c.against("untrained"))]
    if not arms:
        said.append(
            "That pretraining helps planning is not shown: no world model on an encoder with random weights, given the "
            "same post-training, stands beside the planner."
        )
    else:
        won = [c.title for c, baseline in arms if baseline.verdict == "beats"]
        rest = [c.title for c, baseline in arms if baseline.verdict != "beats"]
        if won:
            said.append(f"Planning on the pretrained encoder beats the one with random weights in: {'; '.join(won)}.")
        if rest:
            said.append(f"That pretraining helps planning is not shown in: {'; '.join(rest)}.")
    failed = [c for c in closed if any(b.verdict != "beats" for b in c.baselines if b.suffix in ("random", "still"))]
    if failed:
        named = "; ".join(f"{c.title} ({with_unit(c.measured.value, c.unit)})" for c in failed)
        said.append(f"Not shown to be better than random actions or staying still: {named}.")
    said.append(
        "Closed loop means a simulated arm, not a real one. The numbers are not comparable with published Meta-World "
        "figures: tasks, hidden target, horizon and success rule differ."
    )
    return said


def understanding_limits(comparisons: Sequence[Comparison]) -> list[str]:
    """Where the encoder's training or the video itself is not shown to matter."""
    said = []
    for file, suffix, words in (
        ("probe", "untrained", "That pretraining helps the probes is not shown for: {}."),
        ("align", "blind", "That the language model uses the video is not shown for: {}."),
        ("align", "untrained", "That pretraining helps the answers is not shown for: {}."),
    ):
        ours = [c for c in comparisons if c.measured.file == file]
        weak = [c.title for c in ours if (b := c.against(suffix)) and b.verdict != "beats"]
        if weak:
            said.append(words.format("; ".join(weak)))
    return said
