"""Write docs/experiments.md and its picture from the trials that `make ablation` recorded in docs/experiments.jsonl.

Each arm is one file of conf/arm/, whose comment says what it tries and, once that is known, what came of it. Of an
arm's training seeds the mean stands in the tables, with an interval over seeds and episodes.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scripts.compose import CONF
from vjepa.files import atomic_path
from vjepa.report.quantities import Quantity, baseline_suffix, better, label, spaced, unit
from vjepa.report.verdicts import amount, judge

ARMS = CONF / "arm"
RECORDS, PAGE = Path("docs/experiments.jsonl"), Path("docs/experiments.md")
RIVAL = "untrained"
TABLES = {
    "Closed loop": ("plan", ("success",)),
    "Closed loop, at any step": ("plan", ("success_ever",)),
    "Closed loop, distance to the goal at the end": ("plan", ("final_distance_cm",)),
    "World model": ("", ("latent_error_share", "true_action_rank", "direction_error_deg")),
    "Probes": ("probe", ("hand_error_cm", "motion_accuracy", "task_accuracy")),
}
"""Title -> the metrics file (empty: any) and the last parts of the numbers that are its columns."""
FORETELL = (
    "pretrain.loss", "pretrain.feature_deviation", "pretrain.effective_rank", "pretrain.state_readout",
    "pretrain.distance_agreement", "probe.hand_error_cm", "posttrain.latent_error_share",
    "plan.offline.true_action_rank", "plan.offline.direction_error_deg",
)  # fmt: skip
"""Numbers that are known before the closed loop, the cheapest first."""
DRAWS = 4000
INTRODUCTION = f"""# Experiments

Made by `python -m scripts.experiments` from [`experiments.jsonl`](experiments.jsonl), which `make ablation` writes; no
number here is typed by hand. Every arm has the same data, post-training, planner and held-out scenes and differs in
what its file in `conf/arm/` says. Numbers are means over training seeds with 95 % intervals over seeds and episodes;
**+** and **-** mark those whose interval lies apart from that of the arm `{RIVAL}`, on the better or the worse side.
With three seeds these intervals are rather too short.
"""
BEFORE_FORETELLING = """## What foretells the closed loop

Rank correlation over all trials between a number that is known early and the mean success of all closed-loop
benchmarks at the last step; 1 would mean that it puts the trials in the same order. Signs are turned so that more is
better.
"""

Record = dict[str, Any]


def read_records(path: Path = RECORDS) -> list[Record]:
    """The trials, one a line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_records(records: Iterable[Record], path: Path = RECORDS) -> None:
    """One line a trial, in the order of arms and seeds."""
    ordered = sorted(records, key=lambda record: (record["arm"], record["seed"], record["name"]))
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in ordered))


def over_seeds(name: str, found: Sequence[Sequence[float]]) -> Quantity:
    """The mean of a number over training seeds, with a 95 % interval over seeds and episodes.

    Seeds are resampled, and each one's number within its own interval over episodes. Three seeds say little of how much
    seeds differ: the interval is then rather too short.

    Args:
        name: of the number.
        found: value, low, high and n of each seed.
    """
    values, lows, highs = (np.array([part[i] for part in found], float) for i in range(3))
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(DRAWS, len(values)))
    noise = rng.normal(size=drawn.shape)
    spread = np.where(noise > 0, (highs - values)[drawn], (values - lows)[drawn]) / stats.norm.ppf(0.975)
    low, high = np.quantile((values[drawn] + noise * spread).mean(1), [0.025, 0.975])
    file, _, last = name.partition(".")
    n = round(sum(part[3] for part in found))
    return Quantity(file, last, float(values.mean()), float(low), float(high), n)


def by_arm(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The trials of each arm, also those that were run before its settings changed: each row says its code."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record["arm"]].append(record)
    return dict(found)


def measured(trials: Sequence[Record], name: str) -> Quantity | None:
    """A number of an arm; None where a trial lacks it or it has no interval."""
    found = [trial["numbers"].get(name) for trial in trials]
    return over_seeds(name, found) if all(values and values[1] is not None for values in found) else None


def columns(records: Sequence[Record], file: str, lasts: Sequence[str]) -> list[str]:
    """The numbers that a table shows: no baselines, which are arms of their own."""
    names = list(dict.fromkeys(name for record in records for name in record["numbers"]))
    return [
        name
        for last in lasts
        for name in names
        if name.rpartition(".")[2] == last and name.startswith(file) and not baseline_suffix(name, set(names))
    ]


def heading(name: str) -> str:
    """Of a column: the benchmark, or what is measured."""
    parts = name.split(".")
    return spaced(parts[1]) if len(parts) == 3 and parts[1] != "offline" else label(name)


def cell(quantity: Quantity | None, rival: Quantity | None) -> str:
    """A number with its interval and whether it is told apart from the untrained arm's: better (+) or worse (-)."""
    if quantity is None:
        return ""
    verdict = judge(quantity, rival) if rival is not None else None
    mark = {"beats": " **+**", "loses": " **-**"}.get(str(verdict), "")
    return amount(quantity, unit(quantity.name)) + mark


def table(title: str, arms: Mapping[str, list[Record]], names: Sequence[str]) -> list[str]:
    """A Markdown table with a row for each arm."""
    lines = [
        f"### {title}",
        "",
        "| arm | seeds | " + " | ".join(map(heading, names)) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for arm, trials in arms.items():
        rivals = arms.get(RIVAL, []) if arm != RIVAL else []
        cells = [cell(measured(trials, name), measured(rivals, name) if rivals else None) for name in names]
        lines.append(f"| {arm} | {len(trials)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def said_of(arm: str) -> str:
    """The comment of an arm's file."""
    path = ARMS / f"{arm}.yaml"
    lines = path.read_text().splitlines() if path.exists() else ["# (no longer in conf/arm)"]
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("# ") and "@package" not in line)


def trial_rows(arms: Mapping[str, list[Record]]) -> list[str]:
    """Every trial with its cost and the command that reruns it."""
    lines = ["| arm | seed | minutes | of which pretraining | code | command |", "|---|---|---|---|---|---|"]
    for arm, trials in arms.items():
        for trial in trials:
            seconds = {stage: timing["seconds"] for stage, timing in trial["stages"].items()}
            total, pretrain = sum(seconds.values()) / 60, seconds.get("pretrain", 0) / 60
            lines.append(
                f"| {arm} | {trial['seed']} | {total:.1f} | {pretrain:.1f} | {trial['code']} | `{trial['command']}` |"
            )
    return [*lines, ""]


def foretelling(records: Sequence[Record]) -> list[str]:
    """How well numbers that are known early agree with the closed loop over all trials: Spearman's rank correlation."""
    goals = columns(records, "plan", ("success",))
    success = [float(np.mean([record["numbers"][name][0] for name in goals])) for record in records]
    lines = ["| number | trials | agreement with closed-loop success |", "|---|---|---|"]
    for name in FORETELL:
        pairs = [
            (record["numbers"][name][0], value)
            for record, value in zip(records, success, strict=True)
            if record["numbers"].get(name)
        ]
        if len(pairs) < 4 or len({value for value, _ in pairs}) < 2:
            continue
        sign = -1 if better(name) == "lower" or name.endswith("loss") else 1
        agreement = sign * float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
        lines.append(f"| {label(name)} (`{name}`) | {len(pairs)} | {agreement:+.2f} |")
    return [*lines, ""]


def page(records: Sequence[Record]) -> str:
    """The whole page."""
    arms = by_arm(records)
    lines = [INTRODUCTION, "## Arms", "", *(f"- `{arm}`: {said_of(arm)}" for arm in arms), "", "## Results", ""]
    for title, (file, lasts) in TABLES.items():
        if names := columns(records, file, lasts):
            lines += table(title, arms, names)
    lines += [
        BEFORE_FORETELLING,
        *foretelling(records),
        "## Every trial",
        "",
        "Minutes are of one thread with another trial beside it. Stages that DVC took from its cache cost nothing.",
        "",
        *trial_rows(arms),
    ]
    return "\n".join(lines)


def write_page(records: Sequence[Record]) -> None:
    """Write docs/experiments.md."""
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(records))


def main() -> None:
    """Make the page again."""
    argparse.ArgumentParser(
        prog="python -m scripts.experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    write_page(read_records())


if __name__ == "__main__":
    main()
