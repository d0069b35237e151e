from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_lerobot import CAMERA, CONFIG, SOURCE, recording, truncate, write_lerobot

import vjepa.data.shards
from stages import curate
from tests.refusals import each_refused
from vjepa.errors import DataError, UserError


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
        "layout.json",
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


def on_disk() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in Path("data/shards").rglob("*") if file.is_file()}


class Tar(io.FileIO):
    """A file that the shard writer opens, whose writes can be refused."""

    def write(self, data: Any) -> int:
        return super().write(data)


@pytest.mark.parametrize(
    ("owner", "call"),
    [
        (os, "replace"),
        (os, "fsync"),
        (Path, "write_text"),
        (Path, "write_bytes"),
        (pd.DataFrame, "to_parquet"),
        (Tar, "write"),
    ],
)
def test_whichever_call_that_writes_is_refused_the_old_or_the_new_shards_are_there(
    owner: Any, call: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(6)])
    curate.run(SOURCE, CONFIG)
    new = on_disk()
    shutil.rmtree("data")
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(4)])
    curate.run(SOURCE, CONFIG)
    old = on_disk()
    shutil.rmtree("data/raw")
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(6)])

    monkeypatch.setattr(vjepa.data.shards, "open", Tar, raising=False)

    def run() -> None:
        shutil.rmtree("runs", ignore_errors=True)  # so that every turn makes the same calls
        curate.run(SOURCE, CONFIG)

    refused = 0
    for error in each_refused(monkeypatch, owner, call, run):
        assert error is None or (isinstance(error, UserError) and "\n" not in str(error))
        refused += error is not None
        assert on_disk() in (old, new)
        assert {path.name for path in Path("data").iterdir()} <= {"raw", "shards", "summary.html"}
    assert refused >= 1 and on_disk() == new


def test_a_disk_that_is_full_at_any_size_leaves_the_old_shards(folder: Path, repository: Path) -> None:
    """The operating system itself refuses to write past a limit, as a full disk does."""
    write_lerobot(folder / "data/raw", [recording(seed) for seed in range(3)])
    curate.run(SOURCE, CONFIG)
    old = on_disk()
    code = (
        "import resource, sys; sys.path[:0] = [sys.argv[1] + '/tests/data', sys.argv[1]]\n"
        "from stages import curate; from tiny_lerobot import CONFIG, SOURCE; from vjepa.errors import UserError\n"
        "curate.os.cpu_count = lambda: 1\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try: curate.run(SOURCE, CONFIG)\n"
        "except UserError as error: print('clear:', error)"
    )
    for limit in (0, 1000, 12_000):
        command = [sys.executable, "-c", code, str(repository), str(limit)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.startswith("clear: can't write") and said.count("\n") == 1, said
        assert on_disk() == old
