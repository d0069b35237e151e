"""A run is followed: what its log has is in DVCLive and TensorBoard once and whole, and can be read in the terminal."""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from dvc.repo import Repo
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.pretraining.test_watch import training as pretraining
from tests.training.test_loop import Toy
from vjepa.errors import UserError
from vjepa.training import display, pace
from vjepa.training.display import curve
from vjepa.training.loggers import cut
from vjepa.training.pace import Pace
from vjepa.training.parallel import World

MEASURED = {"clips_per_second", "waiting_share"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """DVCLive looks for a repository from the current folder on."""
    monkeypatch.setenv("DVC_STUDIO_OFFLINE", "")  # a logger sets it: it is put back
    monkeypatch.chdir(tmp_path)


def killed_and_resumed(folder: Path, logger: str) -> Toy:
    """Killed at step 11, after rows up to step 10 and a checkpoint of step 8."""
    with pytest.raises(KeyboardInterrupt):
        Toy(folder, dies_at=11, loggers=[logger]).train()
    return Toy(folder, loggers=[logger]).train()


def live_rows(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What DVCLive's tables say, by number."""
    found = {}
    for path in (folder / "live" / "plots" / "metrics").glob("*.tsv"):
        table = pd.read_csv(path, sep="\t")
        found[path.stem] = list(zip(table["step"], table[path.stem], strict=True))
    return found


def logged(toy: Toy) -> dict[str, list[tuple[int, float]]]:
    """The same of a run's log."""
    names = {name for row in toy.run.log for name in row} - {"step"}
    return {name: [(row["step"], row[name]) for row in toy.run.log if name in row] for name in names}


def events_in(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def test_dvclive_has_the_rows_of_the_log_once_after_a_kill_and_the_log_has_no_times(tmp_path):
    straight = Toy(tmp_path / "straight").train()
    resumed = killed_and_resumed(tmp_path / "killed", "dvclive")
    assert resumed.run.log == straight.run.log
    found = live_rows(tmp_path / "killed")
    assert {name: found[name] for name in found.keys() - MEASURED} == logged(straight)
    for name in MEASURED:
        assert [step for step, _ in found[name]] == [row["step"] for row in straight.run.log]


def test_a_run_that_starts_anew_leaves_nothing_of_the_old_one_in_dvclive(tmp_path):
    Toy(tmp_path, loggers=["dvclive"]).train().run.finish(tmp_path / "log.csv")
    again = Toy(tmp_path, identity="b", loggers=["dvclive"]).train()
    found = live_rows(tmp_path)
    assert {name: found[name] for name in found.keys() - MEASURED} == logged(again)


def test_what_a_kill_left_half_written_is_dropped(tmp_path):
    table = tmp_path / "loss.tsv"
    table.write_text("step\tloss\n0\t0.5\n2\t0.4\n4\t0.3\n6\t0.")
    cut(table, 9)
    assert table.read_text() == "step\tloss\n0\t0.5\n2\t0.4\n4\t0.3\n"
    cut(table, 4)
    assert table.read_text() == "step\tloss\n0\t0.5\n2\t0.4\n"
    cut(table, 0)
    assert not table.exists()
    table.touch()
    cut(table, 9)
    assert not table.exists()


def test_a_half_written_summary_stops_no_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, dies_at=11, loggers=["dvclive"]).train()
    (tmp_path / "live" / "metrics.json").write_text('{"loss": 0.')
    assert Toy(tmp_path, loggers=["dvclive"]).train().run.step == 20


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dvclive.Live.make_summary", refuse)
    with pytest.raises(UserError, match=r"can't write what follows the run into .*: No space left on device"):
        Toy(tmp_path, loggers=["dvclive"]).train()


def test_dvclive_changes_nothing_in_the_repository_and_calls_nobody(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("remote", "add", "origin", "https://example.com/a/a.git")
    Repo.init().close()
    Path("dvc.yaml").write_text("stages: {}\n")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "a")
    refs = git("for-each-ref")
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "a")  # with one DVCLive would report to Studio
    called: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: called.append(where))
    Toy(tmp_path / "runs", loggers=["dvclive"]).train()
    assert git("status", "--porcelain").split() == ["??", "runs/"] and git("for-each-ref") == refs
    assert called == []


def test_tensorboard_reads_the_rows_of_the_log_once_after_a_kill(tmp_path):
    resumed = killed_and_resumed(tmp_path, "tensorboard")
    assert_in_tensorboard(resumed, tmp_path)


def test_a_run_that_starts_anew_shows_nothing_of_the_old_one_in_tensorboard(tmp_path):
    Toy(tmp_path, loggers=["tensorboard"]).train().run.finish(tmp_path / "log.csv")
    assert_in_tensorboard(Toy(tmp_path, identity="b", loggers=["tensorboard"]).train(), tmp_path)


def assert_in_tensorboard(toy, folder):
    events, expected = events_in(folder), logged(toy)
    assert set(events.Tags()["scalars"]) == expected.keys() | MEASURED
    for name, rows in expected.items():
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [step for step, _ in rows]
        assert [scalar.value for scalar in scalars] == pytest.approx([value for _, value in rows])


def test_a_row_is_in_tensorboards_file_before_the_next_step(tmp_path):
    toy, seen = Toy(tmp_path, loggers=["tensorboard"]), []
    take_step = toy.take_step

    def look_and_take(step, part):
        if step > 0:
            seen.append(events_in(tmp_path).Scalars("loss")[-1].step)
        return take_step(step, part)

    toy.take_step = look_and_take
    toy.train()
    assert seen == [2 * ((step - 1) // 2) for step in range(1, 20)]


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=re.escape("pip install '.[tensorboard]'")):
        Toy(tmp_path, loggers=["tensorboard"]).train()


def test_without_a_terminal_a_run_says_its_numbers_in_a_few_lines(tmp_path, capsys):
    toy = Toy(tmp_path)
    toy.run.log_every = 1
    toy.train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == display.LINES + 1
    assert re.fullmatch(
        r"toy: step 4 of 20.*: loss [\d.]+, learning rate 0.1, gradient norm [\d.]+, update norm [\d.]+, "
        r"twice 8, hill -2, clips per second [\d.e+]+, waiting share 0",
        lines[1],
    )
    assert re.fullmatch(r"toy: ended: steps 20, clips per second [\d.e+]+, waiting share 0", lines[-1])


def test_in_a_terminal_the_last_numbers_stand_below_the_bar(tmp_path, monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80)
    monkeypatch.setattr(display, "get_console", lambda: console)
    toy = Toy(tmp_path).train()
    shown = console.file.getvalue()
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown[shown.rindex("20/20") :])
    assert re.search(rf"loss +{toy.run.log[-1]['loss']:.4g} +[▁-█]+", last)
    assert {"gradient norm", "update norm", "twice", "clips per second", "waiting share"} <= set(
        re.findall(r"^([a-z ]+?)  ", last, re.MULTILINE)
    )


def test_only_the_process_that_leads_shows_and_keeps_anything(tmp_path, capsys):
    toy = Toy(tmp_path, loggers=["dvclive"])
    toy.run.world = World(rank=1)
    toy.train()
    assert capsys.readouterr().out == "" and not (tmp_path / "live").exists()


def test_the_pace_tells_waiting_from_work(monkeypatch):
    clock = itertools.count()  # a second passes whenever someone looks
    monkeypatch.setattr(pace.time, "perf_counter", lambda: float(next(clock)))
    measured = Pace(clips=6)  # 0 s
    with measured.waiting():  # from 1 to 2 s
        pass
    measured.step()
    assert measured.lately() == {"clips_per_second": 2.0, "waiting_share": pytest.approx(1 / 3)}  # 3 s
    measured.step()
    assert measured.lately() == {"clips_per_second": 6.0, "waiting_share": 0.0}  # 4 s
    assert measured.overall() == {"steps": 2, "clips_per_second": 12 / 5, "waiting_share": 1 / 5}


def test_pretraining_counts_the_reading_of_its_clips_as_waiting(tmp_path, capsys):
    pretraining(tmp_path, ema=0.99, steps=25).train()
    share = re.search(r"ended: .*, waiting share ([\d.e-]+)", capsys.readouterr().out)
    assert share and 0 < float(share[1]) < 1


def test_a_curve_goes_from_its_lowest_to_its_highest_and_is_never_too_wide():
    assert curve([1.0, 2.0, float("nan"), 8.0]) == "▁▂█"
    assert curve([3.0, 3.0]) == "▁▁" and curve([]) == ""
    wide = curve([float(i) for i in range(1000)])
    assert len(wide) == display.CURVE and wide == "".join(sorted(wide))
