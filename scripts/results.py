"""What a run of the chain gave, as tables: measured quantities beside their baselines, each stage's time and memory."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vjepa.report.quantities import quantities
from vjepa.report.verdicts import Comparison, amount, compare

METRICS = Path("metrics")
REPORT = Path("report/index.html")
STYLES = {"beats": "green", "unclear": "yellow", "loses": "red", None: ""}


def comparisons(metrics: Path) -> list[Comparison]:
    """Everything in the folder of metrics files that was measured on independent items, file by file."""
    files = sorted(path for path in metrics.glob("*.json") if path.name != "timings.json")
    by_file = [compare(list(quantities(path.stem, json.loads(path.read_text())))) for path in files]
    return [comparison for file in by_file for comparison in file if comparison.measured.n is not None]


def results_table(found: list[Comparison]) -> Table:
    """Results beside their baselines; colours say whether the 95 % intervals are apart."""
    title = "Measured, beside its baselines, with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("stage", "what", "result", "n", "beside it"):
        table.add_column(column, justify="right" if column == "n" else "left")
    previous = ""
    for comparison in found:
        measured = comparison.measured
        beside = Text("\n").join(
            Text(amount(b.quantity, comparison.unit), STYLES[b.verdict]).append(f"  {b.words}", "default")
            for b in comparison.baselines
        )
        stage = measured.file if measured.file != previous else ""
        result = Text(amount(measured, comparison.unit))
        table.add_row(stage, comparison.title, result, str(measured.n), beside)
        previous = measured.file
    return table


def timings_table(timings: dict[str, dict[str, float]]) -> Table:
    """Seconds and peak memory of each stage when it last ran, and their sum."""
    table = Table(box=box.SIMPLE_HEAD, title="Stages, when they last ran here", title_justify="left")
    for column in ("stage", "seconds", "peak memory, GB"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, timing in timings.items():
        table.add_row(stage, f"{timing['seconds']:.0f}", f"{timing['peak_memory_gb']:.1f}")
    table.add_section()
    seconds = sum(timing["seconds"] for timing in timings.values())
    peak = max(timing["peak_memory_gb"] for timing in timings.values())
    table.add_row("all", f"{seconds:.0f}", f"{peak:.1f}")
    return table


def main() -> None:
    """Print the tables and where the report is."""
    argparse.ArgumentParser(prog="python -m scripts.results", description=__doc__).parse_args()
    console = Console()
    if not console.is_terminal:
        console.width = 160  # into a file or a log: don't fold the rows
    console.print(results_table(comparisons(METRICS)))
    timings = METRICS / "timings.json"
    if timings.exists():
        console.print(timings_table(json.loads(timings.read_text())))
    console.print(f"Report with pictures: {REPORT.absolute() if REPORT.exists() else 'not made yet'}", soft_wrap=True)


if __name__ == "__main__":
    main()
