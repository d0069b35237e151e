"""A killed run goes on as if it never was; a run with other settings starts anew; a failed write damages nothing."""

import itertools
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.refusals import each_refused
from tests.training.engines import ENGINE
from vjepa.errors import UserError
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import Share, World
from vjepa.training.schedule import WarmupStableDecay, linear, parameter_groups, update_ema


class Regression(nn.Module):
    """A network with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        return (self.net(x) - x[:, :2]).square().mean()


class Toy:
    """A regression whose data depend on the step alone; it can be told to die before a step."""

    def __init__(self, folder: Path, identity: object = "a", dies_at: int = -1, passes: int = 1, **engine) -> None:
        torch.manual_seed(0)
        self.objective, self.average = Regression(), nn.Linear(3, 2)
        self.net, self.dies_at = self.objective.net, dies_at
        schedule = WarmupStableDecay(steps=20, warmup=3, cooldown=5, peak=0.1, final=0.001)
        self.run = Run(
            folder, self.objective, {"net": self.net, "average": self.average}, schedule, 0.1,
            Share(8, 0, 8, 8 // passes), replace(ENGINE, **engine), World(), identity, 2, 4,
        )  # fmt: skip

    def take_step(self, step: int, part: int) -> StepResult:
        if step == self.dies_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = self.run.objective(x.chunk(self.run.passes)[part])
        return StepResult(loss, lambda: {"twice": 2.0 * step})

    def after_step(self, step: int) -> None:
        update_ema(self.average, self.net, 0.9)

    def judge(self, step, numbers) -> None:
        pass

    def train(self) -> "Toy":
        self.run.train("toy", self)
        return self


@pytest.mark.parametrize("dies_at", [3, 4, 11, 19])
def test_a_killed_run_ends_where_a_straight_one_does(tmp_path, dies_at):
    straight = Toy(tmp_path / "straight").train()
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path / "killed", dies_at=dies_at).train()
    resumed = Toy(tmp_path / "killed").train()
    assert resumed.run.log == straight.run.log
    assert_equal(resumed, straight)


def test_a_resumed_run_does_not_repeat_steps_before_its_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, dies_at=11).train()
    again = Toy(tmp_path, dies_at=5).train()  # step 5 lies before the checkpoint of step 8 and is not taken again
    assert again.run.step == 20


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, dies_at=11).train()
    other = Toy(tmp_path, identity="b")
    said: list[str] = []
    assert other.run.checkpoints.load(said.append) is None
    assert "are of other settings or data; starting anew" in said[0]
    with pytest.raises(KeyboardInterrupt):  # its first checkpoint takes the place of those that are further on
        Toy(tmp_path, identity="b", dies_at=6).train()
    assert (
        Toy(tmp_path, identity="b").run.checkpoints.load(said.append).step == 4 and len(list(tmp_path.iterdir())) == 1
    )
    assert "resumed at step 4" in said[1]


def test_a_checkpoint_cut_in_half_costs_the_steps_since_the_one_before(tmp_path, capsys):
    straight = Toy(tmp_path / "straight").train()
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path / "cut", dies_at=11).train()
    first, second = sorted((tmp_path / "cut").iterdir())
    assert first.name.startswith("step-00000004-") and second.name.startswith("step-00000008-")
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    resumed = Toy(tmp_path / "cut").train()
    said = capsys.readouterr().out
    assert f"{second.name} is damaged and not used" in said and "resumed at step 4" in said
    assert resumed.run.log == straight.run.log
    assert_equal(resumed, straight)


def test_where_all_checkpoints_are_damaged_nothing_is_started_anew_without_being_told_to(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, dies_at=11).train()
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged; delete them to start anew"):
        Toy(tmp_path).train()


def test_a_run_that_is_asked_to_end_saves_its_step_and_goes_on_there(tmp_path):
    """SIGTERM, as a cluster sends before it takes the machine away."""
    straight, toy = Toy(tmp_path / "straight").train(), Toy(tmp_path / "asked")

    take_step = toy.take_step

    def asked_at_six(step, part):
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(step, part)

    toy.take_step = asked_at_six

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match=r"was asked to end at step 7 of 20 and saved its state: start it again"):
        toy.train()
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = Toy(tmp_path / "asked", dies_at=6).train()  # step 6 is not taken again
    assert resumed.run.log == straight.run.log
    assert_equal(resumed, straight)


@pytest.mark.parametrize("call", ["replace", "fsync", "unlink"])
def test_whichever_call_of_the_writer_is_refused_the_old_or_the_new_checkpoint_loads(call, tmp_path, monkeypatch):
    straight = Toy(tmp_path / "straight").train()
    folders = (tmp_path / str(turn) for turn in itertools.count())
    refused = 0

    def run():
        nonlocal folder
        folder = next(folders)
        Toy(folder).train()

    folder = tmp_path
    for error in each_refused(monkeypatch, os, call, run):
        refused += error is not None
        steps = [torch.load(path, weights_only=True)["step"] for path in folder.glob("step-*.pt")]
        assert all(step % 4 == 0 for step in steps) and not list(folder.glob("*.tmp"))
        resumed = Toy(folder).train()
        assert resumed.run.log == straight.run.log
        assert_equal(resumed, straight)
    assert refused >= 3


def assert_equal(first, second):
    for mine, theirs in ((first.net, second.net), (first.average, second.average)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(tmp_path):
    toy = Toy(tmp_path)
    toy.take_step = lambda step, part: StepResult(toy.net.weight.sum() * float("nan"), dict)
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        toy.train()


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path):
    """The operating system itself refuses to write past a limit, as a full disk does."""
    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, dies_at=11).train()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    code = (
        "import resource, sys; sys.path[:0] = sys.argv[2:4]\n"
        "from pathlib import Path; from test_loop import Toy; from vjepa.errors import UserError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {limit}))\n"
        "try:\n    Toy(Path(sys.argv[1])).train()\n"
        "except UserError as error:\n    print('clear:', error)\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(tmp_path), str(here), str(here.parents[1])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "clear: can't write" in printed and ".pt: disk full? " in printed
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_schedule_warms_up_stays_and_decays():
    schedule = WarmupStableDecay(steps=100, warmup=10, cooldown=20, peak=1.0, final=0.1)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert set(rates[9:80]) == {1.0}
    assert rates[99] == pytest.approx(0.1) and all(a > b for a, b in pairwise(rates[80:]))


def test_phases_longer_than_the_run_are_refused():
    with pytest.raises(ValueError, match="exceed 10 steps"):
        WarmupStableDecay(steps=10, warmup=6, cooldown=6, peak=1.0, final=0.1)


def test_linear_reaches_both_ends():
    assert linear(0.9, 1.0, 0, 5) == 0.9 and linear(0.9, 1.0, 4, 5) == 1.0


def test_biases_and_vectors_are_not_decayed():
    groups = parameter_groups([nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))], 0.5)
    assert [p.ndim for p in groups[0]["params"]] == [2] and groups[0]["weight_decay"] == 0.5
    assert len(groups[1]["params"]) == 3 and groups[1]["weight_decay"] == 0.0
