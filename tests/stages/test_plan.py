"""The closed loop moves the simulator by the model's own time step, on scenes that no training data use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stages.plan import control_steps, run
from stages.runner import read_params
from vjepa.errors import UserError


@pytest.mark.parametrize(("time_step_s", "steps"), [(0.125, 10), (0.25, 20), (0.0125, 1)])
def test_an_action_takes_the_models_time_step(time_step_s: float, steps: int) -> None:
    assert control_steps(time_step_s) == steps


@pytest.mark.parametrize("time_step_s", [0.13, 0.001])
def test_a_time_step_that_the_simulator_cannot_make_is_refused(time_step_s: float) -> None:
    with pytest.raises(UserError, match=rf"time step of {time_step_s} s is no multiple of the simulator's 0\.0125 s"):
        control_steps(time_step_s)


def test_scenes_of_the_training_data_are_refused(repository: Path) -> None:
    params = read_params(repository / "params.yaml")
    with pytest.raises(UserError, match=r"plan\.first_seed must be 1000000 or more"):
        run(replace(params["plan"], first_seed=0), params["collect"], params["seed"])
