from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_lerobot import CAMERA, CONFIG, SOURCE, recording, truncate, write_lerobot

from stages import curate
from vjepa.errors import DataError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder; one process, since starting more takes longer than the work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curate.os, "cpu_count", lambda: 1)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # the stage sets it; this way the next test finds it as it was
    return tmp_path


def test_the_stage_leaves_shards_and_counts_and_says_what_was_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(10)])
    truncate(folder / f"data/raw/films/{CAMERA}/part-00-01.mp4")
    curate.run(SOURCE, CONFIG)
    counts = json.loads(Path("metrics/curate.json").read_text())
    assert (counts["episodes_read"], counts["episodes_kept"], counts["quarantined"]["unreadable"]) == (10, 8, 2)
    assert sorted(file.name for file in Path("data/shards").iterdir() if file.is_file()) == [
        "manifest.parquet",
        "quarantine.json",
    ]
    assert "2 left out (see data/shards/quarantine.json)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("episodes", "message"),
    [(None, r"data/raw is missing: put a data set there"), (0, "data/raw holds no episodes")],
)
def test_no_data_is_one_clear_line_and_leaves_nothing(folder: Path, episodes: int | None, message: str) -> None:
    if episodes is not None:
        write_lerobot(folder / "data/raw", [])
    with pytest.raises(DataError, match=message):
        curate.run(SOURCE, CONFIG)
    assert not Path("data/shards").exists()


def test_a_failed_run_leaves_the_shards_of_the_one_before(folder: Path) -> None:
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(4)])
    curate.run(SOURCE, CONFIG)
    before = {file: file.read_bytes() for file in Path("data/shards").rglob("*") if file.is_file()}
    for film in Path("data/raw/films").rglob("*.mp4"):
        truncate(film)
    with pytest.raises(DataError, match="none of 4 episodes can be used"):
        curate.run(SOURCE, CONFIG)
    assert {file: file.read_bytes() for file in Path("data").rglob("shards/**/*") if file.is_file()} == before
