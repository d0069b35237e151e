"""Write docs/experiments.md and its picture from the trials that `make ablation` recorded in docs/experiments.jsonl.

Each arm is one file of conf/arm/, whose comment says what it tries and, once that is known, what came of it. Of an
arm's training seeds the mean stands in the tables, with an interval over seeds and episodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from scripts.compose import CONF, digest, settings_of
from vjepa.errors import UserError
from vjepa.files import atomic_path
from vjepa.report.experiments import (
    RECIPE,
    REPORTED,
    RIVAL,
    RIVALS,
    TABLES,
    Row,
    columns,
    day_of,
    days_of,
    drawn,
    heading,
    picture,
    png,
    rivals_of,
    rows_of,
    sections,
)
from vjepa.report.quantities import better, label, unit
from vjepa.report.scaling import curves, scaling_picture
from vjepa.report.trials import RECORDS, Record, read_records
from vjepa.report.verdicts import Verdict, amount

ARMS, MEASURES = CONF / "arm", CONF / "measure"
TARGETS = {"readout": ("pretrain",)}
"""The stages that a way of measuring ends with, where it is not all of them."""
WHOLE = ("probe", "plan")
PAGE, PICTURE = Path("docs/experiments.md"), Path("docs/experiments.png")
FORETELL = (
    "pretrain.feature_deviation", "pretrain.effective_rank", "pretrain.state_readout",
    "pretrain.distance_agreement", "probe.hand_error_cm", "posttrain.latent_error_share",
    "plan.offline.true_action_rank", "plan.offline.direction_error_deg",
)  # fmt: skip
"""Numbers that are known before the closed loop, the cheapest first."""
INTRODUCTION = f"""# Experiments

Made by `python -m scripts.experiments` from [`experiments.jsonl`](experiments.jsonl), which `make ablation` writes; no
number here is typed by hand. But for what its file in `conf/arm/` changes, every arm has the same data, post-training,
planner and held-out scenes; a share is that of the robot episodes that post-training sees. Closed loop is success at
the last step, unless a table says otherwise.

Numbers are means over training seeds with 95 % intervals: Student's over seeds and the one over episodes, in
quadrature. With three seeds such an interval is wide; with one it is over episodes alone and knows nothing of other
seeds, so that nothing is marked. **+** and **-** mark what differs from the arm `{RIVAL}` with the same share of
episodes, for the better or the worse: where the interval of the difference leaves out 0. It is Welch's over seeds, and
over episodes taken scene by scene in closed loop, from the intervals of both elsewhere, in quadrature.
"""
MARKS: dict[Verdict | None, str] = {"beats": " **+**", "loses": " **-**"}
BEFORE_FORETELLING = """### What foretells the closed loop

Rank correlation, over the trials with all robot episodes, between a number that is known early and the mean success of
all closed-loop benchmarks at the last step; 1 would mean that it puts the trials in the same order. Signs are turned so
that more is better. By chance: how often orders that have nothing to do with each other agree or disagree as much.
"""


def table(title: str, rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """A Markdown table with a line for each arm."""
    rivals = rivals_of(rows)
    lines = [
        f"### {title}",
        "",
        "| arm | seeds | " + " | ".join(map(heading, names)) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for row in rows:
        rival = rivals.get(row.share) if row.arm != RIVAL else None
        cells = []
        for name in names:
            quantity = row.measured(name)
            mark = MARKS.get(row.against(rival, name), "") if rival else ""
            cells.append("" if quantity is None else amount(quantity, unit(name)) + mark)
        lines.append(f"| {row.name} | {len(row.trials)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def differences(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """What the recipe has more than each of its rivals, as a Markdown table with a line for each number."""
    recipes = rivals_of(rows, RECIPE)
    pairs = [
        (recipes[share], rival) for arm in RIVALS for share, rival in rivals_of(rows, arm).items() if share in recipes
    ]
    if not pairs or not names:
        return []
    lines = [
        f"### What `{RECIPE}` has more",
        "",
        "Differences of shares are in percentage points.",
        "",
        "| number | than " + " | than ".join(rival.name for _, rival in pairs) + " |",
        "|---" * (len(pairs) + 1) + "|",
    ]
    for name in names:
        cells = []
        for recipe, rival in pairs:
            more = recipe.more_than(rival, name)
            mark = MARKS.get(recipe.against(rival, name), "")
            cells.append("" if more is None else amount(more, unit(name)) + mark)
        lines.append(f"| {heading(name)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def said_in(path: Path) -> str:
    """The comment of a file of settings."""
    lines = path.read_text().splitlines() if path.exists() else [f"# (no longer in {path.parent})"]
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("# ") and "@package" not in line)


def trial_rows(records: Sequence[Record]) -> list[str]:
    """Every trial with its cost and the command that reruns it."""
    lines = [
        "| arm | episodes | seed | minutes | of which pretraining | code | recorded | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for trial in records:
        seconds = {stage: timing["seconds"] for stage, timing in trial["stages"].items()}
        total, pretrain = sum(seconds.values()) / 60, seconds.get("pretrain", 0) / 60
        lines.append(
            f"| {trial['arm']} | {100 * trial['share']:g} % | {trial['seed']} | {total:.1f} | {pretrain:.1f} | "
            f"{trial['code']} | {day_of(trial)} | `{trial['command']}` |"
        )
    return [*lines, ""]


def foretelling(records: Sequence[Record]) -> list[str]:
    """How well numbers that are known early agree with the closed loop over all trials: Spearman's rank correlation."""
    goals = columns(records, "plan", ("success",))
    if not goals:
        return []
    whole = [r for r in records if r["share"] == 1 and all(name in r["numbers"] for name in goals)]
    success = {r["name"]: float(np.mean([r["numbers"][name][0] for name in goals])) for r in whole}
    header = "| number | trials | agreement with closed-loop success | by chance |"
    lines = [BEFORE_FORETELLING, header, "|---|---|---|---|"]
    for name in FORETELL:
        pairs = [(r["numbers"][name][0], success[r["name"]]) for r in whole if r["numbers"].get(name)]
        if len(pairs) < 4 or min(len(set(values)) for values in zip(*pairs, strict=True)) < 2:
            continue
        agreement, chance = agreeing(*zip(*pairs, strict=True))
        agreement *= -1 if better(name) == "lower" else 1
        lines.append(f"| {label(name)} (`{name}`) | {len(pairs)} | {agreement:+.2f} | {100 * chance:.2g} % |")
    return [*lines, ""]


def agreeing(early: Sequence[float], late: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation, and how often as much comes of a random order: of all orders where they are few."""
    ours, theirs = (stats.zscore(stats.rankdata(values)) for values in (early, late))

    def correlation(order: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(order * theirs, axis=axis)

    found = stats.permutation_test((ours,), correlation, permutation_type="pairings", vectorized=True, rng=0)
    return float(found.statistic), float(found.pvalue)


def scaling_path(measure: str) -> Path:
    """Where the picture of what more buys is written, of one way of measuring."""
    return PAGE.with_name("scaling.png" if measure == REPORTED else f"scaling_{measure}.png")


def scaled(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Of each way of measuring the newest trials that tell what more of something buys, where some do."""
    telling: dict[str, list[Record]] = {}
    for part in sections(records):
        if curves(rows_of(part)):
            telling.setdefault(part[0]["measure"], part)
    return telling


def section(records: Sequence[Record]) -> list[str]:
    """Everything about trials that share a profile."""
    rows = rows_of(records)
    lines: list[str] = []
    for title, (file, lasts) in TABLES.items():
        if names := columns(records, file, lasts):
            lines += table(title, rows, names)
    lines += differences(rows, drawn(records))
    return [
        *lines,
        *foretelling(records),
        "### Every trial",
        "",
        "Minutes are of one thread with another trial beside it. Stages that DVC took from its cache cost nothing. To",
        "rerun a row as it was, `git checkout` its code first: settings and code may have changed since.",
        "",
        *trial_rows(records),
    ]


def page(records: Sequence[Record], bases: Mapping[str, str]) -> str:
    """The whole page: of each way of measuring the newest profile first, then what was measured before it changed.

    Args:
        records: all trials.
        bases: what is shared by the arms of each way of measuring as the settings are now; see `Record`.
    """
    arms = dict.fromkeys(record["arm"] for record in records)
    lines = [INTRODUCTION, "## Arms", "", *(f"- `{arm}`: {said_in(ARMS / f'{arm}.yaml')}" for arm in arms), ""]
    titled: set[str] = set()
    telling = scaled(records)
    for i, found in enumerate(sections(records)):
        measure = found[0]["measure"]
        title = "Results" if measure == REPORTED else f"Measured as `{measure}`"
        title += ", before the profile changed" if found[0]["base"] != bases.get(measure) else ""
        lines += [f"## {title}, {days_of(found)}", ""]
        lines += [] if measure in titled else [said_in(MEASURES / f"{measure}.yaml"), ""]
        lines += [] if i or measure != REPORTED else [f"![Each arm's numbers with their intervals]({PICTURE.name})", ""]
        if found == telling.get(measure):
            alt = "Numbers against what grew, with their intervals"
            lines += ["### What more buys", "", f"![{alt}]({scaling_path(measure).name})", ""]
        lines += section(found)
        titled.add(measure)
    return "\n".join(lines)


def targets_of(measure: str) -> tuple[str, ...]:
    """The stages that a way of measuring ends with."""
    return TARGETS.get(measure, WHOLE)


def write_page(records: Sequence[Record]) -> None:
    """Write docs/experiments.md, the picture of the newest trials, and those of what more buys where trials tell it.

    Raises:
        UserError: no trial is recorded, or the settings can't be composed.
    """
    if not records:
        raise UserError(f"no trial is recorded in {RECORDS}: `make ablation` makes some")
    measures = sorted(path.stem for path in MEASURES.glob("*.yaml"))
    bases = {measure: digest([f"+measure={measure}"], settings_of(targets_of(measure))) for measure in measures}
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(records, bases))
    newest = sections(records)[0]
    if newest[0]["measure"] == REPORTED:
        with atomic_path(PICTURE) as temporary:
            temporary.write_bytes(png(picture(rows_of(newest), drawn(newest))))
    for measure, telling in scaled(records).items():
        with atomic_path(scaling_path(measure)) as temporary:
            temporary.write_bytes(png(scaling_picture(curves(rows_of(telling)))))


def main() -> None:
    """Make the page again."""
    argparse.ArgumentParser(
        prog="python -m scripts.experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        write_page(read_records())
    except UserError as error:
        sys.exit(f"experiments: {error}")


if __name__ == "__main__":
    main()
