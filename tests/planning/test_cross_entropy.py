from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_world import draw

from vjepa.errors import UserError
from vjepa.planning import Bundle, CrossEntropyPlanner, WorldModel, energy

PLANNER = CrossEntropyPlanner(horizon=1, samples=64, iterations=6, elites=8, sigma=0.05, max_move=0.075)
START, MOVE = np.array([-0.03, 0.02]), np.array([0.05, -0.06])
STATE = np.array([*START, 0.0], np.float32)


def goal_of(model: WorldModel, position: np.ndarray) -> np.ndarray:
    return model.encode(draw(position)[None])[0]


def test_the_planner_finds_the_action_that_leads_to_the_goal(toy_model: WorldModel) -> None:
    plan = PLANNER.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + MOVE), seed=0)
    np.testing.assert_allclose(plan.action[:2], MOVE, atol=0.003)
    assert plan.action[2] == 0, "a column that is not planned stays zero"
    assert plan.energy < 0.1 * plan.start_energy


def test_the_energy_is_zero_at_the_goal_and_grows_with_distance(toy_model: WorldModel) -> None:
    goal = goal_of(toy_model, START)
    energies = [energy(goal_of(toy_model, START + far)[None], goal)[0] for far in (0, 0.01, 0.02, 0.04)]
    assert energies[0] == 0
    assert energies == sorted(set(energies))


def test_the_energy_is_the_mean_absolute_difference() -> None:
    predicted = np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(energy(predicted, np.array([[0.0, 0.0], [0.0, 1.0]])), [9 / 4, 0])


def test_the_same_seed_gives_the_same_plan_and_another_seed_another(toy_model: WorldModel) -> None:
    goal = goal_of(toy_model, START + MOVE)
    first, again, other = (PLANNER.plan(toy_model, draw(START), STATE, goal, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.actions, again.actions)
    np.testing.assert_array_equal(first.trace.energies, again.trace.energies)
    assert (first.trace.energies != other.trace.energies).any()


def test_a_goal_out_of_reach_is_approached_as_far_as_an_action_may_go(toy_model: WorldModel) -> None:
    plan = PLANNER.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + np.array([0.12, -0.12])), seed=0)
    assert np.abs(plan.action).max() <= np.float32(PLANNER.max_move)
    np.testing.assert_allclose(plan.action[:2], [0.075, -0.075], atol=0.01)


def test_a_longer_horizon_spreads_a_move_that_one_action_can_not_make(toy_model: WorldModel) -> None:
    planner = replace(PLANNER, horizon=2, samples=256, elites=20, iterations=10)
    plan = planner.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + 0.11), seed=0)
    assert plan.actions.shape == (2, 3)
    np.testing.assert_allclose(plan.actions.sum(0)[:2], 0.11, atol=0.01)


def test_a_longer_horizon_does_not_put_off_what_the_first_action_can_do(toy_model: WorldModel) -> None:
    planner = replace(PLANNER, horizon=2, samples=256, elites=20, iterations=10)
    plan = planner.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + MOVE), seed=0)
    np.testing.assert_allclose(plan.action[:2], MOVE, atol=0.01)
    np.testing.assert_allclose(plan.actions[1, :2], 0, atol=0.01)


def test_a_straight_move_looks_past_a_place_that_only_looks_like_the_goal(toy_model: WorldModel) -> None:
    """Latents that have a hollow next to the start: one action ahead it is the best there is."""
    goal, hollow = START + np.array([0.1, 0.1]), START + np.array([-0.06, 0.02])

    class Deceived(WorldModel):
        def rollout(self, latents: np.ndarray, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
            ends = state[:2] + actions[..., :2].cumsum(axis=1)
            far = np.linalg.norm(ends - goal, axis=-1)
            deceived = np.where(np.linalg.norm(ends - hollow, axis=-1) < 0.03, 0.02 + 0 * far, far)
            return np.broadcast_to(deceived[..., None, None], (*deceived.shape, 2, 2))

    model, nothing = Deceived(toy_model.bundle), np.zeros((2, 2))
    deceived = replace(PLANNER, samples=256).plan(model, draw(START), STATE, nothing, seed=0)
    assert np.linalg.norm(START + deceived.action[:2] - hollow) < 0.03
    plan = replace(PLANNER, straight=2, straight_samples=256).plan(model, draw(START), STATE, nothing, seed=0)
    assert plan.actions.shape == (2, 3)
    np.testing.assert_allclose(plan.actions[:, :2], 0.05, atol=0.005)
    np.testing.assert_allclose(plan.energy, 0, atol=0.01)


def test_a_goal_within_one_action_is_searched_as_without_straight_moves(toy_model: WorldModel) -> None:
    goal = goal_of(toy_model, START + MOVE / 2)
    plan = replace(PLANNER, straight=3).plan(toy_model, draw(START), STATE, goal, seed=0)
    assert plan.actions.shape == (1, 3) and plan.trace.energies.shape == (6, 64)
    np.testing.assert_allclose(plan.action[:2], MOVE / 2, atol=0.003)


def test_a_straight_move_is_made_of_the_fewest_equal_actions_within_bounds(toy_model: WorldModel) -> None:
    planner = replace(PLANNER, straight=3, straight_samples=256)
    plan = planner.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + np.array([0.12, -0.12])), seed=0)
    assert plan.actions.shape == (2, 3) and (plan.actions[0] == plan.actions[1]).all()
    assert plan.trace.energies.shape == (6, 256) and plan.trace.means.shape == (6, 1, 2)
    np.testing.assert_allclose(plan.actions.sum(0)[:2], [0.12, -0.12], atol=0.01)


def test_the_search_narrows_and_its_energy_falls(toy_model: WorldModel) -> None:
    trace = PLANNER.plan(toy_model, draw(START), STATE, goal_of(toy_model, START + MOVE), seed=0).trace
    assert trace.energies.shape == (6, 64)
    assert trace.means.shape == trace.deviations.shape == (6, 1, 2)
    assert trace.energies[-1].mean() < 0.2 * trace.energies[0].mean()
    assert trace.deviations[-1].max() < 0.2 * trace.deviations[0].min()


def test_elites_stay_in_the_search_until_better_ones_are_found(toy_model: WorldModel) -> None:
    planner = replace(PLANNER, samples=8, elites=8, iterations=2)
    goal = goal_of(toy_model, START + MOVE)
    plan = planner.plan(toy_model, draw(START), STATE, goal, seed=0)
    rng = np.random.default_rng(0)
    first = rng.normal(np.zeros((1, 2)), planner.sigma, (8, 1, 2)).clip(-0.075, 0.075)
    second = rng.normal(first.mean(0), first.std(0), (8, 1, 2)).clip(-0.075, 0.075)
    best = np.concatenate([first, second])[np.argsort(plan.trace.energies.ravel())[:8]]
    np.testing.assert_allclose(plan.trace.means[1], best.mean(0))
    assert len(np.intersect1d(best, first)) > 0


def test_a_rollout_predicts_from_its_own_predictions_and_moved_states(make_toy_folder: Callable[..., Path]) -> None:
    gain = 0.5
    model = WorldModel(Bundle.open(make_toy_folder(state_gain=gain), threads=1))
    actions = np.array([[[0.01, 0.02, 0], [0.03, -0.01, 0], [-0.02, 0.04, 0]]], np.float32)
    found = model.rollout(goal_of(model, START), STATE, actions)
    unmoved = model.rollout(goal_of(model, START), STATE, 0 * actions)
    place, state = START.copy(), START.copy()
    for step, action in enumerate(actions[0, :, :2]):
        place, state = place + action + gain * state, state + action
        np.testing.assert_allclose(found[0, step], goal_of(model, place), atol=0.02)
    assert np.abs(found - unmoved).max() > 0.1


def test_the_gripper_stays_between_open_and_closed(toy_model: WorldModel) -> None:
    moved = toy_model.move(np.array([[0, 0, 0.8], [0, 0, 0.2]]), np.array([[0.1, 0, 0.5], [0, 0.1, -0.5]]))
    np.testing.assert_allclose(moved, [[0.1, 0, 1.0], [0, 0.1, 0.0]])


def test_a_history_longer_than_the_context_is_cut_to_its_last_steps(toy_model: WorldModel) -> None:
    class Predictor:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert {name: value.shape[:2] for name, value in inputs.items()} == dict.fromkeys(inputs, (1, 2))
            return [inputs["latents"]]

    latents, actions = np.arange(20.0).reshape(1, 5, 2, 2), np.zeros((1, 5, 3))
    model = WorldModel(replace(toy_model.bundle, predictor=Predictor()))
    np.testing.assert_array_equal(model.step(latents, actions, actions), latents[:, 3:])


def test_frames_of_any_size_are_resized_and_others_refused(toy_model: WorldModel) -> None:
    small, wide = draw(START, 32), np.pad(draw(START, 64), [(0, 0), (20, 20), (0, 0)])
    np.testing.assert_allclose(toy_model.encode(wide[None]), toy_model.encode(small[None]), atol=0.05)
    with pytest.raises(ValueError, match=r"uint8 \[B, H, W, 3\], not float32"):
        toy_model.encode(small[None].astype(np.float32))


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("elites", 65, "elites .65. can't be more than its samples .64."),
        ("iterations", 0, "iterations must be above 0"),
    ],
)
def test_settings_that_can_not_search_are_refused(setting: str, value: int, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        replace(PLANNER, **{setting: value})


def test_an_action_that_is_repeated_is_one_step_where_the_predictor_knows_steps_so_long(
    make_toy_folder: Callable[..., Path],
) -> None:
    """In the toy world states push as well, so that one long step and two short ones end in different places."""
    model = WorldModel(Bundle.open(make_toy_folder(state_gain=0.5, max_stride=2), threads=1))
    latents, action = goal_of(model, START), np.array([[0.02, -0.01, 0], [0.01, 0.03, 0]], np.float32)
    twice, thrice = (model.repeat(latents, STATE, action, times) for times in (2, 3))
    together = model.rollout(latents, STATE, 2 * action[:, None])[:, 0]
    one_by_one = [model.rollout(latents, STATE, np.repeat(action[:, None], times, 1))[:, -1] for times in (2, 3)]
    np.testing.assert_array_equal(twice, together)
    np.testing.assert_array_equal(thrice, one_by_one[1])
    assert np.abs(twice - one_by_one[0]).max() > 0.01
