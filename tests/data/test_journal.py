"""A curation that is killed continues, and one that is run again examines what is new: the shards are the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_lerobot import CONFIG, SOURCE, recording, truncate, write_lerobot

from stages import curate as stage
from vjepa.config import CurateConfig
from vjepa.data import code_version, curation, fanout
from vjepa.data.curation import Curated, curate
from vjepa.data.examination import Outcome
from vjepa.errors import DataError


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def records(folder: Path) -> dict[Path, int]:
    """What the journal holds, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("runs/curate/??/[!.]*")}


def run_stage(folder: Path) -> None:
    """The stage in one process, with a moment's rest after each episode, to be killed between any two."""
    os.chdir(folder)
    examine = fanout.examine

    def rested(*arguments: Any) -> Outcome:
        time.sleep(0.02)
        return examine(*arguments)

    fanout.examine = rested
    stage.os.cpu_count = lambda: 1  # type: ignore[attr-defined]
    stage.run(SOURCE, CONFIG)


def test_killed_at_ten_random_moments_it_ends_with_the_shards_of_an_undisturbed_run(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, undisturbed = tmp_path / "work", tmp_path / "undisturbed"
    write_lerobot(work / "data/raw", [recording(seed) for seed in range(40)])
    truncate(next(work.rglob("part-00-03.mp4")))
    shutil.copytree(work, undisturbed)
    # A server that has imported all this once forks each run from itself: starting is a matter of milliseconds.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (repository, Path(__file__).parent))))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["test_journal"])
    for _ in range(2):  # the first one waits for the imports
        shutil.rmtree(undisturbed / "runs", ignore_errors=True)
        started = time.monotonic()
        (whole := server.Process(target=run_stage, args=(undisturbed,))).start()
        whole.join()
        lasted = time.monotonic() - started
        assert whole.exitcode == 0
    chance, killed, reused, ended = random.Random(7), 0, 0, False
    while not ended:
        known = records(work)
        (process := server.Process(target=run_stage, args=(work,))).start()
        process.join(chance.uniform(0, 0.7) * lasted if killed < 10 else None)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        unchanged = len(known.items() & records(work).items())
        assert unchanged >= len(known) - 2  # the two that can't be read are tried again
        reused += unchanged
        killed += process.exitcode != 0
        ended = process.exitcode == 0 and killed == 10
        if process.exitcode == 0 and not ended:  # it had come to its end before its moment: begin again
            shutil.rmtree(work / "runs")
            shutil.rmtree(work / "data/shards")
    assert reused > 0
    assert contents(work / "data/shards") == contents(undisturbed / "data/shards")
    assert contents(work / "metrics")[Path("curate.json")] == contents(undisturbed / "metrics")[Path("curate.json")]


def examined(
    raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch, config: CurateConfig = CONFIG
) -> tuple[list[int], Curated]:
    """Which episodes a curation examines, and what it gives; `out` is written anew."""
    seen: list[int] = []
    examine = fanout.examine

    def watched(dataset: Any, entry: Any, config: CurateConfig) -> Outcome:
        seen.append(entry.index)
        return examine(dataset, entry, config)

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(fanout, "examine", watched)
        return seen, curate(raw, out, SOURCE, config, out.parent / "journal")


def test_only_what_is_new_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = [recording(seed) for seed in range(8)]
    raw, out, later = tmp_path / "raw", tmp_path / "shards", tmp_path / "later"
    write_lerobot(raw, recordings[:6])
    assert examined(raw, out, monkeypatch)[0] == [0, 1, 2, 3, 4, 5]
    assert examined(raw, out, monkeypatch)[0] == []
    # As someone adds episodes: new files beside the old ones, and the file that describes all of them written anew.
    write_lerobot(later, recordings)
    for file in later.rglob("*"):
        target = raw / file.relative_to(later)
        if file.is_file() and (not target.exists() or file.name == "info.json"):
            shutil.copy(file, target)
    seen, done = examined(raw, out, monkeypatch)
    assert (seen, done.remembered) == ([6, 7], 6)
    after = contents(out)
    shutil.rmtree(tmp_path / "journal")
    assert examined(raw, out, monkeypatch)[0] == list(range(8))
    assert contents(out) == after


def test_what_shapes_an_episode_is_examined_anew_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(4)]), tmp_path / "shards"
    examined(raw, out, monkeypatch)
    for changes in ({"test_share": 0.5}, {"episodes_per_shard": 2}, {"duplicate_distance": -1}, {"balance": "task"}):
        assert examined(raw, out, monkeypatch, replace(CONFIG, **changes))[0] == []
    for changes in ({"fps": 10.0}, {"min_motion": 0.03}, {"max_scene_change": 30.0}):
        assert examined(raw, out, monkeypatch, replace(CONFIG, **changes))[0] == [0, 1, 2, 3]
        assert examined(raw, out, monkeypatch)[0] == [0, 1, 2, 3]  # the others were forgotten: the folder does not grow
    video = sorted(raw.rglob("*.mp4"))[1]
    os.utime(video, ns=(1, 1))
    assert examined(raw, out, monkeypatch)[0] == [2, 3]
    monkeypatch.setattr("vjepa.data.journal.code_version", lambda: "other code")
    assert examined(raw, out, monkeypatch)[0] == [0, 1, 2, 3]


def test_the_code_that_examines_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(code_version.ROOT / "vjepa", tmp_path / "vjepa", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_version, "ROOT", tmp_path)
    before = code_version.code_version.__wrapped__()
    for name, counts in (("data/curation", False), ("data/droid", True), ("imaging", True), ("nn/rope", False)):
        file = tmp_path / f"vjepa/{name}.py"
        text = file.read_text()
        file.write_text(text + "# more\n")
        assert (code_version.code_version.__wrapped__() != before) == counts
        file.write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"),
        lambda file: file.write_bytes(file.read_bytes().replace(b"lasting", b"lusting", 1)),
        lambda file: file.write_bytes(b"x" + file.read_bytes()[1:]),
    ],
)
def test_a_damaged_record_is_examined_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any) -> None:
    raw, out = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(4)]), tmp_path / "shards"
    examined(raw, out, monkeypatch)
    before = contents(out)
    damage(sorted((tmp_path / "journal").glob("??/*"))[0])
    assert len(examined(raw, out, monkeypatch)[0]) == 1
    assert contents(out) == before


def test_raw_data_that_change_under_a_curation_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at first is light; where the rest is damaged then, only the same raw data can give it again."""
    raw, out = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(4)]), tmp_path / "shards"
    assign_splits = curation.assign_splits

    def meanwhile(*arguments: Any) -> int:
        for file in (tmp_path / "journal").glob("??/*"):
            file.write_bytes(file.read_bytes()[:-1] + b"x")
        os.utime(sorted(raw.rglob("*.mp4"))[1], ns=(1, 1))
        return assign_splits(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(curation, "assign_splits", meanwhile)
        with pytest.raises(DataError, match=r"raw was changed while it was curated \(episode 2\): run it again"):
            examined(raw, out, monkeypatch)
    assert examined(raw, out, monkeypatch)[0] == [2, 3]


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may have been on a disk that was away; and its time stamp may be as before when it is back."""
    raw, out = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(4)]), tmp_path / "shards"
    video = sorted(raw.rglob("*.mp4"))[1]
    truncate(video)
    _, done = examined(raw, out, monkeypatch)
    assert done.counts["quarantined"]["unreadable"] == 2
    assert examined(raw, out, monkeypatch)[0] == [2, 3]
