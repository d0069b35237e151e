from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_world import draw

from vjepa.errors import UserError
from vjepa.planning import Bundle, CrossEntropyPlanner, OfflineStep, WorldModel, evaluate_step
from vjepa.planning.offline import angles_deg, choose_steps, energy_landscape

PLANNER = CrossEntropyPlanner(horizon=2, samples=48, iterations=5, elites=6, sigma=0.05, max_move=0.075)


def step_of(move: list[float], key: str = "episode", number: int = 0) -> OfflineStep:
    start = np.array([0.01, -0.02])
    state = np.array([*start, 0.3], np.float32)
    return OfflineStep(key, number, draw(start), state, draw(start + move), np.array([*move, 0.1], np.float32))


def test_a_true_world_model_ranks_the_true_action_first_and_plans_it(toy_model: WorldModel) -> None:
    outcome = evaluate_step(toy_model, step_of([0.04, -0.05]), PLANNER, random_actions=99, seed=0)
    assert outcome.true_action_rank <= 0.01
    assert outcome.direction_error_deg < 5
    assert 60 < outcome.direction_error_deg_random < 120
    assert outcome.action_error_cm < 0.4
    assert outcome.action_error_cm_still == pytest.approx(100 * np.hypot(0.04, 0.05), rel=1e-5)


@pytest.mark.parametrize("derived", [True, False])
def test_actions_that_are_no_lengths_are_searched_in_the_range_of_the_data(
    make_toy_folder: Callable[..., Path], derived: bool
) -> None:
    """The same world, but its actions are said to be angles, whose range is no cube around 0."""
    folder = make_toy_folder()
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["action"] |= {"units": ["rad", "rad", "1"], "derived": derived}
    manifest["action"] |= {"low": [-0.02, -0.09, 0], "high": [0.1, 0.01, 1]}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    model = WorldModel(Bundle.open(folder, threads=1))
    planner = replace(PLANNER, sigma=0.6, max_move=1.0)
    outcome = evaluate_step(model, step_of([0.04, -0.05]), planner, random_actions=99, seed=0)
    assert outcome.true_action_rank <= 0.01 and outcome.direction_error_deg < 10
    assert outcome.action_error_cm is None and outcome.action_error_cm_still is None
    np.testing.assert_allclose(model.actions_of(model.proposal_of(np.array([0.1, -0.09, 1]))), [0.1, -0.09, 0])
    moved = model.move(np.zeros((1, 3)), np.ones((1, 3)))
    assert (moved == (1 if derived else 0)).all(), "what a command does to the state is not known"
    steps = [step_of([0.04 + 0.001 * i, -0.04], key=str(i)) for i in range(21)]
    assert {int(step.key) for step in choose_steps(steps, model, count=100, seed=0)} == set(range(10, 21))


def test_every_step_has_random_actions_of_its_own(toy_model: WorldModel) -> None:
    steps = [step_of([0.04, -0.05], key, number) for key, number in (("a", 0), ("a", 0), ("a", 1), ("b", 0))]
    random = [evaluate_step(toy_model, step, PLANNER, 9, seed=0).direction_error_deg_random for step in steps]
    assert random[0] == random[1] and len(set(random)) == 3


def test_a_model_that_ignores_actions_ranks_at_chance(make_toy_folder: Callable[..., Path]) -> None:
    model = WorldModel(Bundle.open(make_toy_folder(action_gain=0.0), threads=1))
    assert evaluate_step(model, step_of([0.04, -0.05]), PLANNER, 99, seed=0).true_action_rank == 0.5


def test_a_model_that_takes_actions_for_their_opposite_ranks_last(make_toy_folder: Callable[..., Path]) -> None:
    model = WorldModel(Bundle.open(make_toy_folder(action_gain=-1.0), threads=1))
    outcome = evaluate_step(model, step_of([0.06, -0.06]), PLANNER, 99, seed=0)
    assert outcome.true_action_rank > 0.9
    assert outcome.direction_error_deg > 170


def test_angles_are_between_0_and_180_and_no_move_counts_as_90() -> None:
    moves = np.array([[2.0, 0], [0, 1], [-3, 0], [0, 0]])
    np.testing.assert_allclose(angles_deg(moves, np.array([1.0, 0])), [0, 90, 180, 90])


def test_only_steps_with_a_clear_motion_are_asked_about(toy_model: WorldModel) -> None:
    steps = [step_of([0.001 * i, 0.0], key=str(i)) for i in range(40)]
    chosen = choose_steps(steps, toy_model, count=100, seed=0)
    assert sorted(int(step.key) for step in chosen) == list(range(20, 40))
    few = choose_steps(steps, toy_model, count=5, seed=0)
    assert [step.key for step in few] == [step.key for step in chosen[:5]]
    with pytest.raises(UserError, match=r"no held-out step moves the hand by 0\.02 m"):
        choose_steps(steps[:10], toy_model, count=5, seed=0)


def test_the_landscape_is_lowest_at_the_true_action_of_the_longest_step_inside_the_box(toy_model: WorldModel) -> None:
    steps = [step_of([0.02, 0.0], "short"), step_of([0.0375, -0.06], "long"), step_of([0.09, 0.0], "outside")]
    landscape = energy_landscape(toy_model, steps, max_move=0.075)
    assert landscape["key"] == "long"
    row, column = np.unravel_index(landscape["energy"].argmin(), landscape["energy"].shape)
    offsets = landscape["offsets_m"]
    np.testing.assert_allclose([offsets[row], offsets[column]], [0.0375, -0.06], atol=0.004)
