"""Write docs/experiments.md and its picture from the trials that `make ablation` recorded in docs/experiments.jsonl.

Each arm is one file of conf/arm/, whose comment says what it tries and, once that is known, what came of it. Of an
arm's training seeds the mean stands in the tables, with an interval over seeds and episodes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from scripts.compose import CONF
from scripts.trials import RECORDS, Record, over_seeds, paired_difference, read_records
from vjepa.errors import UserError
from vjepa.files import atomic_path
from vjepa.report.figure import ACCENT, INK, MUTED
from vjepa.report.quantities import Quantity, baseline_suffix, better, label, spaced, unit
from vjepa.report.verdicts import amount, judge

ARMS, MEASURES = CONF / "arm", CONF / "measure"
PAGE, PICTURE = Path("docs/experiments.md"), Path("docs/experiments.png")
RIVAL = "untrained"
REPORTED = "ablation"
"""The file of conf/measure/ whose trials speak for a recipe; those of all others come after them."""
TABLES = {
    "Closed loop": ("plan", ("success",)),
    "Closed loop, at any step": ("plan", ("success_ever",)),
    "Closed loop, distance to the goal at the end": ("plan", ("final_distance_cm",)),
    "World model": ("", ("latent_error_share", "true_action_rank", "direction_error_deg")),
    "Probes": ("probe", ("hand_error_cm", "motion_accuracy", "task_accuracy")),
}
"""Title -> the metrics file (empty: any) and the last parts of the numbers that are its columns."""
DRAWN = (("posttrain", ("latent_error_share",)), ("probe", ("hand_error_cm", "motion_accuracy", "task_accuracy")))
"""As `TABLES`: what the picture shows beside success in closed loop."""
PANELS = 4
FORETELL = (
    "pretrain.loss", "pretrain.feature_deviation", "pretrain.effective_rank", "pretrain.state_readout",
    "pretrain.distance_agreement", "probe.hand_error_cm", "posttrain.latent_error_share",
    "plan.offline.true_action_rank", "plan.offline.direction_error_deg",
)  # fmt: skip
"""Numbers that are known before the closed loop, the cheapest first."""
INTRODUCTION = f"""# Experiments

Made by `python -m scripts.experiments` from [`experiments.jsonl`](experiments.jsonl), which `make ablation` writes; no
number here is typed by hand. Every arm has the same data, post-training, planner and held-out scenes and differs in
what its file in `conf/arm/` says, and in the share of the robot episodes that post-training sees.

Numbers are means over training seeds with 95 % intervals: Student's over seeds and the one over episodes, in
quadrature. With three seeds such an interval is wide. **+** and **-** mark what differs from the arm `{RIVAL}` with the
same share of episodes, for the better or the worse: in closed loop where the interval of the difference, taken scene by
scene, leaves out 0, elsewhere where the intervals lie apart.
"""
BEFORE_FORETELLING = """### What foretells the closed loop

Rank correlation over all trials between a number that is known early and the mean success of all closed-loop
benchmarks at the last step; 1 would mean that it puts the trials in the same order. Signs are turned so that more is
better.
"""


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

    def measured(self, name: str) -> Quantity | None:
        """A number over the seeds; None where a trial lacks it or it has no interval."""
        found = [trial["numbers"].get(name) for trial in self.trials]
        return over_seeds(name, found) if all(values and values[1] is not None for values in found) else None

    def in_scenes(self, name: str) -> np.ndarray | None:
        """A number of the closed loop for each seed and scene, `[K, E]`; None if it is none."""
        _, benchmark, metric = [*name.split("."), "", ""][:3]
        found = [trial["scenes"].get(benchmark, {}).get(metric) for trial in self.trials]
        return None if None in found else np.array(found, float)

    def mark(self, name: str, rival: Row) -> str:
        """Whether a number is better (+) or worse (-) than the rival's, or can't be told apart (nothing)."""
        mine, theirs = self.measured(name), rival.measured(name)
        if mine is None or theirs is None:
            return ""
        scenes, of_rival = self.in_scenes(name), rival.in_scenes(name)
        if scenes is None or of_rival is None:
            return {"beats": " **+**", "loses": " **-**"}.get(str(judge(mine, theirs)), "")
        _, low, high = paired_difference(scenes, of_rival)
        if low <= 0 <= high:
            return ""
        return " **+**" if (low > 0) == (better(name) == "higher") else " **-**"


def rows_of(records: Iterable[Record]) -> list[Row]:
    """By arm and share; where an arm's own settings changed, the later ones follow as another row."""
    found: dict[tuple[str, float, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record["arm"], record["share"], record["settings"]].append(record)
    return [Row(*key, tuple(trials)) for key, trials in sorted(found.items(), key=lambda kind: -kind[0][1])]


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


def table(title: str, rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """A Markdown table with a line for each arm."""
    rivals = {row.share: row for row in rows if row.arm == RIVAL}
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
            mark = row.mark(name, rival) if rival else ""
            cells.append("" if quantity is None else amount(quantity, unit(name)) + mark)
        lines.append(f"| {row.name} | {len(row.trials)} | " + " | ".join(cells) + " |")
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
            f"{trial['code']} | {trial['recorded']} | `{trial['command']}` |"
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


def section(records: Sequence[Record]) -> list[str]:
    """Everything about trials that share a profile."""
    rows = rows_of(records)
    lines: list[str] = []
    for title, (file, lasts) in TABLES.items():
        if names := columns(records, file, lasts):
            lines += table(title, rows, names)
    return [
        *lines,
        BEFORE_FORETELLING,
        *foretelling(records),
        "### Every trial",
        "",
        "Minutes are of one thread with another trial beside it. Stages that DVC took from its cache cost nothing.",
        "",
        *trial_rows(records),
    ]


def sections(records: Iterable[Record]) -> list[list[Record]]:
    """The trials that share a way of measuring and a profile; what is reported first, then the newest profile."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record["measure"], record["base"]].append(record)
    newest_first = sorted(found.values(), key=lambda part: max(record["recorded"] for record in part), reverse=True)
    return sorted(newest_first, key=lambda part: (part[0]["measure"] != REPORTED, part[0]["measure"]))


def page(records: Sequence[Record]) -> str:
    """The whole page: of each way of measuring the newest profile first, then what was measured before it changed."""
    arms = dict.fromkeys(record["arm"] for record in records)
    lines = [INTRODUCTION, "## Arms", "", *(f"- `{arm}`: {said_in(ARMS / f'{arm}.yaml')}" for arm in arms), ""]
    titled: set[str] = set()
    for i, found in enumerate(sections(records)):
        measure, days = found[0]["measure"], sorted({record["recorded"] for record in found})
        title = "Results" if measure == REPORTED else f"Measured as `{measure}`"
        title += ", before the profile changed" if measure in titled else ""
        lines += [f"## {title}, {' to '.join(dict.fromkeys((days[0], days[-1])))}", ""]
        lines += [] if measure in titled else [said_in(MEASURES / f"{measure}.yaml"), ""]
        lines += [] if i else [f"![Each arm's numbers with their intervals]({PICTURE.name})", ""]
        lines += section(found)
        titled.add(measure)
    return "\n".join(lines)


def picture(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """A panel for each number: the mean of each arm with its interval, and each seed as a small dot."""
    lines = math.ceil(len(names) / PANELS)
    with mpl.rc_context({"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8}):
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
            words = heading(name) if percent else f"{heading(name)}, {unit(name)}"
            panel.set_title(fill(words, 34), loc="left", fontsize=8, color=INK)
            panel.set_yticks(range(len(rows)), [row.name for row in rows])
            panel.set_xlim(0, 1 if percent else None)
            if percent:
                panel.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
            panel.grid(axis="x", linewidth=0.5, alpha=0.5)
            panel.spines[["top", "right", "left"]].set_visible(False)
            panel.tick_params(length=0)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def write_page(records: Sequence[Record]) -> None:
    """Write docs/experiments.md and the picture of the newest trials.

    Raises:
        UserError: no trial is recorded.
    """
    if not records:
        raise UserError(f"no trial is recorded in {RECORDS}: `make ablation` makes some")
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(records))
    newest = sections(records)[0]
    names = [name for file, lasts in (("plan", ("success",)), *DRAWN) for name in columns(newest, file, lasts)]
    with atomic_path(PICTURE) as temporary:
        picture(rows_of(newest), names).savefig(temporary, format="png")


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
