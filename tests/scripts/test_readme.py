"""The README's results are the metrics of the committed run, not typed by hand."""

import json
import subprocess
from pathlib import Path

import pytest

from scripts.readme import benchmark_list, filled, markdown_table, up_to_date
from scripts.results import comparisons

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_committed_metrics():
    status = subprocess.run(
        ["git", "status", "--porcelain", "README.md", "metrics", "benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if status.returncode or status.stdout:
        pytest.skip("metrics or README differ from the commit: run python -m scripts.readme before committing them")
    text = (ROOT / "README.md").read_text()
    assert up_to_date(text, ROOT) == text


def test_the_table_states_value_interval_n_and_baseline(tmp_path):
    estimate = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
    metrics = {"reach": {"success": estimate, "success_random": {"value": 0.1, "low": 0.02, "high": 0.2, "n": 50}}}
    (tmp_path / "plan.json").write_text(json.dumps(metrics))
    text = filled("a\n<!-- results -->\nold\n<!-- /results -->\nb\n", "results", markdown_table(comparisons(tmp_path)))
    row = next(line for line in text.splitlines() if "plan" in line)
    words = row.replace("\N{NO-BREAK SPACE}", " ")
    assert "80 % [70, 90]" in words and "| 50 |" in words and "beats random actions: 10 %" in words
    assert "old" not in text and text.startswith("a\n") and text.endswith("b\n")


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="marks"):
        filled("nothing here", "results", "")


def test_a_benchmark_says_where_it_ran():
    machine = {"processor": "P", "cores": 2, "torch": "2", "date": "2026-01-02"}
    said = benchmark_list({"step": {"summary": "Twice as fast.", "machine": machine}})
    assert said == "`step` (P, 2 cores, torch 2, 2026-01-02). Twice as fast.\n"
