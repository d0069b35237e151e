from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from scripts.results import comparisons, main, results_table


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the metrics and timings of a run."""
    accuracy = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50}
    majority = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 50}
    metrics = {
        "probe": {
            "task_accuracy": accuracy,
            "task_accuracy_majority": majority,
        },
        "export": {"encoder_max_abs_error": 0.00001},
    }
    (tmp_path / "metrics").mkdir()
    for stage, values in metrics.items():
        (tmp_path / "metrics" / f"{stage}.json").write_text(json.dumps(values))
    timings = {"probe": {"seconds": 61.2, "peak_memory_gb": 1.5}, "export": {"seconds": 20.0, "peak_memory_gb": 2.25}}
    (tmp_path / "metrics" / "timings.json").write_text(json.dumps(timings))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_baseline_stands_beside_its_quantity_not_on_a_row_of_its_own(run: Path) -> None:
    (found,) = comparisons(run / "metrics")
    assert found.measured.name == "task_accuracy"
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(results_table([found]))
    row = next(line for line in console.export_text().splitlines() if "probe" in line)
    assert "80\N{NO-BREAK SPACE}% [70, 90]" in row and "50" in row
    assert "20\N{NO-BREAK SPACE}% [10, 30]" in row and "most frequent class" in row


def test_the_program_ends_with_times_their_sum_and_the_report(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report").mkdir()
    (run / "report" / "index.html").touch()
    monkeypatch.setattr("sys.argv", ["results"])
    main()
    said = capsys.readouterr().out
    (total,) = (line.split() for line in said.splitlines() if line.split()[:1] == ["all"])
    assert total == ["all", "81", "2.2"]
    assert said.rstrip().endswith(str(run / "report" / "index.html"))
