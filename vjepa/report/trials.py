"""Trials of `make ablation`, one a line of docs/experiments.jsonl, and what several training seeds say together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from vjepa.errors import UserError
from vjepa.files import atomic_path
from vjepa.report.quantities import Quantity, unit
from vjepa.statistics import CONFIDENCE

RECORDS = Path("docs/experiments.jsonl")
TAIL = (1 + CONFIDENCE) / 2

Record = dict[str, Any]
"""Of a trial: `measure` (the file of conf/measure/), `arm`, `share` (of the episodes of post-training), `seed` and
`name`; `settings`, a digest of all but the seed, and `base`, of those that all arms share; `recorded` (day and time),
`code` (the commit) and `command`; `stages` (their seconds); `numbers`, by name `[value, low, high, n]`; `scenes`, by
benchmark and metric a value for each scene, and their seeds as `seed` (older trials lack them: they met the same)."""
KEYS = (
    "measure",
    "arm",
    "share",
    "seed",
    "name",
    "settings",
    "base",
    "recorded",
    "code",
    "command",
    "stages",
    "numbers",
    "scenes",
)


def read_records(path: Path = RECORDS) -> list[Record]:
    """The trials, one a line; none where there is no file.

    Raises:
        UserError: a line is no trial, or a trial stands there twice.
    """
    found: dict[str, Record] = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            trial = json.loads(line)
        except ValueError:
            trial = None
        if not isinstance(trial, dict) or (missing := [key for key in KEYS if key not in trial]):
            what = "no JSON object" if not isinstance(trial, dict) else f"a trial without {', '.join(missing)}"
            raise UserError(f"{path}, line {number}: {what}; take the file back from git, `make ablation` goes on")
        if trial["name"] in found:
            raise UserError(f"{path}, line {number}: {trial['name']} stands there twice; keep one of the lines")
        found[trial["name"]] = trial
    return list(found.values())


def write_records(records: Iterable[Record], path: Path = RECORDS) -> None:
    """One line a trial, in the order of ways of measuring, arms, shares, seeds and time."""
    ordered = sorted(records, key=lambda r: (r["measure"], r["arm"], -r["share"], r["seed"], r["recorded"], r["name"]))
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in ordered))


def half_width(over_seeds: np.ndarray, within: float) -> float:
    """Half of a mean's 95 % interval over seeds: Student's over seeds and the one over episodes, in quadrature.

    The episodes are the same for all seeds, so that more seeds make their part no smaller. One seed has it alone.

    Args:
        over_seeds: `[K]`, the number of each seed.
        within: half the width of its interval over episodes.
    """
    count = len(over_seeds)
    if count == 1:
        return within
    between = stats.t.ppf(TAIL, count - 1) * over_seeds.std(ddof=1) / np.sqrt(count)
    return float(np.hypot(between, within))


Measured = Sequence[float | None]
"""Value, low, high and n of a trial's number; low and high are None where it was not measured on a sample."""


def parted(found: Sequence[Measured]) -> tuple[np.ndarray, float, float]:
    """A number of each seed, `[K]`, and how far its interval over episodes reaches below and above it."""
    values = np.array([part[0] for part in found], float)
    lows, highs = (np.array([part[0] if part[i] is None else part[i] for part in found], float) for i in (1, 2))
    return values, float((values - lows).mean()), float((highs - values).mean())


def over_seeds(name: str, found: Sequence[Measured]) -> Quantity:
    """The mean of a number over training seeds with its interval over seeds and episodes.

    Of a number that was not measured on a sample it is over seeds alone, and with one seed there is none.
    """
    file, _, last = name.partition(".")
    values, below, above = parted(found)
    sampled = [part for part in found if part[1] is not None and part[3] is not None]
    center = float(values.mean())
    if not sampled and len(found) == 1:
        return Quantity(file, last, center)
    low, high = center - half_width(values, below), center + half_width(values, above)
    if sampled and min(part[1] or 0 for part in sampled) >= 0:  # of what can't be negative, or above 1 as a share
        low = max(low, 0.0)
    if unit(name) == "%" and sampled and max(part[2] or 0 for part in sampled) <= 1:
        high = min(high, 1.0)
    return Quantity(file, last, center, low, high, round(sampled[0][3] or 0) if sampled else None)


def seeds_apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Half of the 95 % interval, over seeds, of how far two arms' means are apart: Welch's, who lets them vary unalike.

    Args:
        mine: `[K]`, the number of each seed; of one seed nobody knows how seeds vary, and it adds nothing.
        theirs: `[L]`.
    """
    parts = [(values.var(ddof=1) / len(values), len(values) - 1) for values in (mine, theirs) if len(values) > 1]
    total = sum(part for part, _ in parts)
    if not total:
        return 0.0
    freedom = total**2 / sum(part**2 / count for part, count in parts)
    return float(stats.t.ppf(TAIL, freedom) * np.sqrt(total))


def difference(name: str, mine: Sequence[Measured], theirs: Sequence[Measured]) -> Quantity:
    """What one arm's mean has more than another's: `seeds_apart`, and both intervals over episodes, in quadrature."""
    file, _, last = name.partition(".")
    (values, below, above), (others, others_below, others_above) = parted(mine), parted(theirs)
    apart, seeds = float(values.mean() - others.mean()), seeds_apart(values, others)
    low, high = np.hypot([below, above], [others_above, others_below])
    return Quantity(file, last, apart, apart - float(np.hypot(seeds, low)), apart + float(np.hypot(seeds, high)))


def paired_difference(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """What one arm has more than another in the same scenes: the mean of the differences and its 95 % interval.

    Args:
        mine: `[K, E]`, seeds by scenes, of which there are two or more.
        theirs: `[L, E]`, the same scenes.
    """
    by_scene = mine.mean(0) - theirs.mean(0)
    center = float(by_scene.mean())
    within = stats.t.ppf(TAIL, len(by_scene) - 1) * by_scene.std(ddof=1) / np.sqrt(len(by_scene))
    half = float(np.hypot(within, seeds_apart(mine.mean(1), theirs.mean(1))))
    return center, center - half, center + half
