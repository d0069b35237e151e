from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_offline import PLANNER, step_of

from vjepa.errors import UserError
from vjepa.planning import WorldModel, evaluate_step
from vjepa.planning.parallel import run_jobs


def test_processes_find_what_one_process_finds_in_the_order_of_the_jobs(
    toy_model: WorldModel, toy_folder: Path
) -> None:
    steps = [step_of(move) for move in ([0.05, 0.0], [0.0, 0.05], [-0.03, 0.03], [0.02, 0.06])]
    look = partial(evaluate_step, planner=PLANNER, random_actions=20, seed=1)
    assert list(run_jobs(look, steps, toy_folder, workers=2)) == [look(toy_model, step) for step in steps]


def test_a_bundle_that_a_process_refuses_is_reported_to_the_caller(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    (folder / "encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(UserError, match=r"encoder\.onnx is not what bundle\.json lists"):
        list(run_jobs(np.add, [1], folder, workers=1))
