"""A killed run goes on as if it never was; SIGTERM saves it; the schedule does what it says."""

import os
import signal
from itertools import pairwise

import pytest
from torch import nn

from tests.training.toy import Toy, assert_equal
from vjepa.errors import UserError
from vjepa.training.loop import StepResult
from vjepa.training.schedule import WarmupStableDecay, linear, parameter_groups


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


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(tmp_path):
    toy = Toy(tmp_path)
    toy.take_step = lambda step, part: StepResult(toy.net.weight.sum() * float("nan"), dict)
    with pytest.raises(UserError, match="the loss is nan at step 0"):
        toy.train()


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_reaches_neither_weights_nor_checkpoints(clip_norm, tmp_path):
    """The loss is a number, its slope is none: the root of 0."""
    toy = Toy(tmp_path, clip_norm=clip_norm)
    take_step = toy.take_step

    def steep_at_seven(step, part):
        result = take_step(step, part)
        if step == 7:
            result.loss = result.loss + (toy.net.weight * 0).sum().abs().sqrt()
        return result

    toy.take_step = steep_at_seven
    with pytest.raises(UserError, match="the length of the gradient is nan at step 7"):
        toy.train()
    assert [path.name[:13] for path in toy.run.checkpoints.files()] == ["step-00000004"]
    straight, resumed = (Toy(tmp_path / name, clip_norm=clip_norm).train() for name in ("straight", ""))
    assert_equal(resumed, straight)


def test_the_schedule_warms_up_stays_and_decays():
    schedule = WarmupStableDecay(steps=100, warmup=10, cooldown=20, peak=1.0, final=0.1)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert set(rates[9:80]) == {1.0}
    assert rates[99] == pytest.approx(0.1) and all(a > b for a, b in pairwise(rates[80:]))


def test_a_warmup_may_rise_from_a_rate_of_its_own():
    schedule = WarmupStableDecay(steps=100, warmup=10, cooldown=0, peak=1.0, final=0.1, start=0.5)
    assert [schedule.at(step) for step in (0, 4, 9)] == pytest.approx([0.55, 0.75, 1.0])


def test_phases_longer_than_the_run_are_refused():
    with pytest.raises(ValueError, match="exceed 10 steps"):
        WarmupStableDecay(steps=10, warmup=6, cooldown=6, peak=1.0, final=0.1)


def test_linear_reaches_both_ends():
    assert linear(0.9, 1.0, 0, 5) == 0.9 and linear(0.9, 1.0, 4, 5) == 1.0


def test_biases_and_vectors_are_not_decayed():
    groups = parameter_groups([nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))], 0.5)
    assert [p.ndim for p in groups[0]["params"]] == [2] and groups[0]["weight_decay"] == 0.5
    assert len(groups[1]["params"]) == 3 and groups[1]["weight_decay"] == 0.0
