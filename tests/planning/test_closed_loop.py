from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_world import DotEnvironment, draw, write_toy_bundle

from vjepa.planning import (
    CrossEntropyPlanner,
    Scene,
    WorldModel,
    plan_episode,
    planning_policy,
    run_episode,
    still_policy,
)
from vjepa.planning.benchmark import EpisodeJob, Trial, closed_loop_values, in_other_light, outcomes, play, recordings

PLANNER = CrossEntropyPlanner(horizon=1, samples=48, iterations=4, elites=6, sigma=0.05, max_move=0.075)
START, GOAL = np.array([-0.1, 0.08]), np.array([0.09, -0.07])


def open_scene(job: EpisodeJob) -> Scene:
    env = DotEnvironment(START, GOAL)
    return Scene(env, draw(GOAL), np.array([*GOAL, 0.0], np.float32), goal_success=True)


def job(**changes: object) -> EpisodeJob:
    values = {"benchmark": "dots", "task": "dot", "seed": 7, "about_hand": True, "goal_light": (1.0, 0.0)}
    return EpisodeJob(**{**values, "keep_frames": False, **changes})  # type: ignore[arg-type]


def test_planning_again_after_every_action_ends_at_the_goal(toy_model: WorldModel) -> None:
    recording = plan_episode(DotEnvironment(START, GOAL), draw(GOAL), toy_model, PLANNER, actions=6, seed=0)
    assert recording.frames.shape == (7, 32, 32, 3)
    assert recording.states.shape == (7, 3)
    distances = np.linalg.norm(recording.states[:, :2] - GOAL, axis=1)
    assert distances[-1] < 0.01
    assert (np.diff(distances[:4]) < 0).all()
    assert recording.success[-1] and not recording.success[0]


def test_every_action_is_searched_with_samples_of_its_own(toy_model: WorldModel) -> None:
    act = planning_policy(toy_model, PLANNER, draw(GOAL), seed=5)
    state = np.array([*START, 0.0], np.float32)
    first, again, next_step = (act(draw(START), state, step) for step in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != next_step).any()


def test_an_environment_that_ends_the_episode_is_left_alone(toy_model: WorldModel) -> None:
    recording = run_episode(DotEnvironment(START, GOAL, last_step=2), still_policy(toy_model), actions=5)
    assert len(recording.frames) == 3 and len(recording.success) == len(recording.seconds) == 2


def test_only_the_planner_gets_to_the_goal_and_all_arms_start_alike(toy_model: WorldModel) -> None:
    trial = play(toy_model, job(), open_scene, PLANNER, actions=6)
    start = np.linalg.norm(START - GOAL)
    assert {arm: distances[0] for arm, distances in trial.distances_m.items()} == pytest.approx(
        {"": start, "_random": start, "_still": start}
    )
    assert trial.distances_m[""][-1] < 0.01
    assert trial.distances_m["_still"][-1] == pytest.approx(start)
    assert trial.reached("") and not trial.reached("_still") and not trial.reached("_random")


def test_a_second_world_model_meets_the_same_scene(toy_model: WorldModel, toy_folder: Path, tmp_path: Path) -> None:
    """Its arm is planned with the other bundle alone: one whose latents do not change leads nowhere."""
    blind = write_toy_bundle(tmp_path / "blind", action_gain=0.0)
    alike = play(toy_model, job(), open_scene, PLANNER, actions=6, untrained=toy_folder)
    np.testing.assert_array_equal(alike.distances_m["_untrained"], alike.distances_m[""])
    trial = play(toy_model, job(), open_scene, PLANNER, actions=6, untrained=blind)
    assert list(trial.distances_m) == ["", "_untrained", "_random", "_still"]
    assert trial.reached("") and not trial.reached("_untrained")
    assert closed_loop_values([trial])["success_untrained"].tolist() == [False]


def test_a_scene_is_closed_even_when_an_arm_fails(toy_model: WorldModel) -> None:
    env = DotEnvironment(START, GOAL)
    env.observe = lambda: {"image": draw(START), "state": np.zeros(2, np.float32)}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"expected a state of x, y, gripper, not of shape \(2,\)"):
        play(toy_model, job(), lambda job: Scene(env, draw(GOAL), np.zeros(3), True), PLANNER, actions=1)
    assert env.closed


def test_the_goal_image_is_shown_in_the_light_asked_for(toy_model: WorldModel) -> None:
    image = np.array([[[0, 100, 255]]], np.uint8)
    np.testing.assert_array_equal(in_other_light(image, 0.75, 12), [[[12, 87, 203]]])
    np.testing.assert_array_equal(in_other_light(image, 2, -20), [[[0, 180, 255]]])
    trial = play(toy_model, job(goal_light=(0.5, 10.0)), open_scene, PLANNER, actions=1)
    np.testing.assert_array_equal(trial.goal_image, in_other_light(draw(GOAL), 0.5, 10))


def trial_of(far: list[float], success: list[bool], about_hand: bool, frames: int | None = None) -> Trial:
    image = np.zeros((2, 2, 3), np.uint8)
    shown = None if frames is None else np.arange(frames, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    arms = ("", "_random", "_still")
    return Trial(
        job(about_hand=about_hand),
        dict.fromkeys(arms, np.array(far)),
        dict.fromkeys(arms, np.array(success)),
        goal_success=False,
        seconds=np.ones(len(success)),
        goal_image=image,
        frames=shown,
    )


def test_reaching_counts_by_the_hand_at_the_last_step_and_other_tasks_by_the_flag() -> None:
    passed_through = trial_of([0.3, 0.01, 0.06], [True, False], about_hand=True)
    ended_there = trial_of([0.3, 0.2, 0.04], [False, False], about_hand=True)
    values = closed_loop_values([passed_through, ended_there])
    assert values["success"].tolist() == values["success_still"].tolist() == [False, True]
    assert values["success_ever"].tolist() == [True, False]
    np.testing.assert_allclose(values["final_distance_cm"], [6, 4])
    assert values["success_expert"].tolist() == [False, False]
    pressed = trial_of([0.3, 0.3, 0.3], [False, True], about_hand=False)
    assert closed_loop_values([pressed])["success"].tolist() == [True]
    rows = outcomes([passed_through, pressed])
    assert [(row["arm"], row["success"], row["success_ever"]) for row in rows] == [
        *((arm, False, True) for arm in ("planner", "random", "still")),
        *((arm, True, True) for arm in ("planner", "random", "still")),
    ]
    assert {row["seed"] for row in rows} == {passed_through.job.seed} and rows[0]["final_distance_cm"] == 6


def test_recordings_of_unequal_length_repeat_their_last_frame() -> None:
    short, long = trial_of([0.2, 0.1], [True], True, frames=2), trial_of([0.3, 0.2, 0.1], [True, True], True, frames=3)
    without = trial_of([0.3, 0.2, 0.1], [True, True], True)
    kept = recordings([short, without, long])
    assert kept["frames"][:, :, 0, 0, 0].tolist() == [[0, 1, 1], [0, 1, 2]]
    np.testing.assert_allclose(kept["distances_m"], [[0.2, 0.1, 0.1], [0.3, 0.2, 0.1]])
    assert kept["names"].tolist() == ["dots", "dots"] and kept["success"].tolist() == [False, False]
    assert kept["goals"].shape == (2, 2, 2, 3)
