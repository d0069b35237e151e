"""Copy the results of the last run and of the benchmarks into the README, between its `results` and `benchmarks` marks.

No number in the README is typed by hand: run this after a run of the default profile or a benchmark, and commit what
changed together.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.results import METRICS, comparisons
from vjepa.files import atomic_path
from vjepa.report.verdicts import Comparison, amount

README = Path("README.md")
BENCHMARKS = Path("benchmarks/results.json")
VERDICTS = {"beats": "beats", "unclear": "not told apart from", "loses": "**loses to**", None: "beside"}


def markdown_table(found: list[Comparison]) -> str:
    """Every result beside its baselines, one row each, with what the intervals say."""
    if not found:
        return "No run of the default profile is recorded in this commit; `make repro` makes one and prints it.\n"
    lines = ["| stage | what | result | n | baselines |", "|---|---|---|---|---|"]
    for comparison in found:
        beside = "<br>".join(
            f"{VERDICTS[baseline.verdict]} {baseline.words}: {amount(baseline.quantity, comparison.unit)}"
            for baseline in comparison.baselines
        )
        measured = comparison.measured
        result = amount(measured, comparison.unit)
        lines.append(f"| {measured.file} | {comparison.title} | {result} | {measured.n} | {beside} |")
    return "\n".join(lines) + "\n"


def benchmark_list(results: Mapping[str, Any]) -> str:
    """What each benchmark says of itself, and where it ran."""
    if not results:
        return "No benchmark is recorded in this commit; `make bench` runs them.\n"
    entries = []
    for name, result in results.items():
        machine = result["machine"]
        where = f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, {machine['date']}"
        entries.append(f"`{name}` ({where}). {result['summary']}\n")
    return "\n".join(entries)


def filled(readme: str, mark: str, content: str) -> str:
    """The README's text with something between its marks.

    Raises:
        ValueError: the marks are missing.
    """
    marks = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    if not marks.search(readme):
        raise ValueError(f"the README has no <!-- {mark} --> ... <!-- /{mark} --> marks")
    return marks.sub(lambda match: match.group(1) + content + match.group(2), readme)


def up_to_date(readme: str, folder: Path) -> str:
    """The README's text with what a checkout holds of results and benchmarks."""
    benchmarks = folder / BENCHMARKS
    recorded = json.loads(benchmarks.read_text()) if benchmarks.exists() else {}
    readme = filled(readme, "results", markdown_table(comparisons(folder / METRICS)))
    return filled(readme, "benchmarks", benchmark_list(recorded))


def main() -> None:
    """Rewrite both parts of the README."""
    argparse.ArgumentParser(prog="python -m scripts.readme", description=__doc__).parse_args()
    wanted = up_to_date(README.read_text(), Path())
    with atomic_path(README) as temporary:
        temporary.write_text(wanted)


if __name__ == "__main__":
    main()
