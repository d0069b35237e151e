"""Copy the results of the last run from metrics/ into the README's table, between its `results` marks.

No number in the README is typed by hand: run this after a run of the default profile, and commit both together.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from scripts.results import METRICS, comparisons
from vjepa.files import atomic_path
from vjepa.report.verdicts import Comparison, amount

README = Path("README.md")
MARKS = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
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


def with_results(readme: str, found: list[Comparison]) -> str:
    """The README's text with the table between its marks.

    Raises:
        ValueError: the marks are missing.
    """
    if not MARKS.search(readme):
        raise ValueError("the README has no <!-- results --> ... <!-- /results --> marks")
    return MARKS.sub(lambda match: match.group(1) + markdown_table(found) + match.group(2), readme)


def main() -> None:
    """Rewrite the README's table."""
    argparse.ArgumentParser(prog="python -m scripts.readme", description=__doc__).parse_args()
    wanted = with_results(README.read_text(), comparisons(METRICS))
    with atomic_path(README) as temporary:
        temporary.write_text(wanted)


if __name__ == "__main__":
    main()
