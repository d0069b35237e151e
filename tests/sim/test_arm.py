"""The simulated arm keeps its promises to whoever records or plans with it."""

import os
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from vjepa.config import Variation
from vjepa.errors import UserError
from vjepa.sim import SimulatedArm, expert_goal, graphics, make_env
from vjepa.sim.look import draw_distractor

STILL = Variation(light=0.0, colour=0.0, camera=0.0, distractor=0.0)
VARIED = Variation(light=0.3, colour=0.3, camera=0.02, distractor=0.0)


def arm(task: str = "reach-v3", seed: int = 3, variation: Variation = STILL) -> SimulatedArm:
    return make_env(task, seed, 64, variation, 10)


def displacement(x: float = 0, y: float = 0, z: float = 0, closing: float = 0) -> np.ndarray:
    return np.array([x, y, z, 0, 0, 0, closing], np.float32)


def finger_row(image: np.ndarray) -> float:
    """Mean row of the cyan finger's pixels; rows count from the top."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return float(np.nonzero((green - red > 60) & (blue - red > 60))[0].mean())


def test_arm_follows_gymnasiums_interface():
    with arm() as env:
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("task", ["reach-v3", "drawer-close-v3", "coffee-button-v3", "door-close-v3"])
def test_reset_restores_the_scene_exactly_whatever_happened_before(task):
    with arm(task, seed=3, variation=VARIED) as env:
        first, _ = env.reset()
        after_first = [env.step(displacement(0.05, 0.08, -0.05))[0] for _ in range(3)]
        env.reset(seed=4)
        env.step_expert(np.zeros(3), 0.08)
        again, _ = env.reset(seed=3)
        after_again = [env.step(displacement(0.05, 0.08, -0.05))[0] for _ in range(3)]
    for one, other in zip([first, *after_first], [again, *after_again], strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["state"], other["state"])


def test_seeds_place_the_objects_differently():
    with arm("drawer-close-v3", seed=1) as one, arm("drawer-close-v3", seed=2) as other:
        assert np.abs(one.reset()[0]["image"].astype(int) - other.reset()[0]["image"]).max() > 50


def test_hand_moves_by_the_commanded_displacement_and_comes_to_rest():
    with arm() as env:
        seen, _ = env.reset()
        misses, speeds = [], []
        for move in ((0.08, 0.08, 0.05), (-0.08, 0.03, -0.08), (0.0, -0.08, 0.08), (0.05, 0.0, 0.0)):
            before = seen["state"][:3]
            seen, *_ = env.step(displacement(*move))
            misses.append(np.linalg.norm(seen["state"][:3] - before - move))
            speeds.append(np.linalg.norm(env.scene.velocity()))
    assert max(misses) < 0.006, "more than 6 mm off"
    assert np.mean(speeds) < 0.1, "faster than 10 cm/s on average at the end of a step"


def test_displacements_are_limited_to_what_the_hand_can_follow():
    with arm() as env:
        seen, _ = env.reset()
        moved, *_ = env.step(displacement(x=0.5))
    assert moved["state"][0] - seen["state"][0] == pytest.approx(0.08, abs=0.006)


def test_gripper_closes_and_opens_on_command():
    with arm() as env:
        seen, _ = env.reset()
        assert seen["state"][6] == pytest.approx(0, abs=0.02)
        closed = [env.step(displacement(closing=1.0))[0] for _ in range(3)][-1]["state"][6]
        opened = [env.step(displacement(closing=-1.0))[0] for _ in range(3)][-1]["state"][6]
    assert closed > 0.9 and opened < 0.1


def test_orientation_is_near_zero_with_the_fingers_down():
    with arm() as env:
        states = [env.reset()[0]["state"]] + [env.step(displacement(0.05, 0.05, 0.05))[0]["state"] for _ in range(3)]
    assert np.abs(np.array(states)[:, 3:6]).max() < 0.2


def test_picture_is_upright():
    with arm() as env:
        seen, _ = env.reset()
        raised, *_ = env.step(displacement(z=0.08))
    assert finger_row(raised["image"]) < finger_row(seen["image"]) - 2


def test_target_is_hidden():
    with arm() as env:
        seen, _ = env.reset()
        model, data = env.scene._model, env.scene._data
        model.site("goal").pos[:] = (0.0, 0.7, 0.2)  # in the middle of the picture
        mujoco.mj_forward(model, data)
        np.testing.assert_array_equal(env.observe()["image"], seen["image"])


@pytest.mark.parametrize("varied", ["light", "colour", "camera"])
def test_each_variation_changes_the_picture_from_seed_to_seed(varied):
    def corner(variation: Variation, seed: int) -> np.ndarray:
        with arm(seed=seed, variation=variation) as env:
            return env.reset()[0]["image"][40:, 20:40].astype(int)  # the table, no objects

    strengths = {"light": 0.0, "colour": 0.0, "camera": 0.0, "distractor": 0.0}
    assert np.abs(corner(Variation(**strengths), 1) - corner(Variation(**strengths), 2)).max() <= 1
    strengths[varied] = 0.05 if varied == "camera" else 0.8
    assert np.abs(corner(Variation(**strengths), 1) - corner(Variation(**strengths), 2)).mean() > 5


def test_a_distractor_is_seen_and_touches_nothing():
    plain, full = replace(VARIED, distractor=0.0), replace(VARIED, distractor=1.0)
    places = []
    for seed in range(6):
        with arm(seed=seed, variation=plain) as env, arm(seed=seed, variation=full) as other:
            seen, _ = env.reset()
            with_it, _ = other.reset()
            changed = (seen["image"] != with_it["image"]).any(-1)
            places.append(np.argwhere(changed).mean(0) if changed.any() else None)
            assert changed.mean() < 0.2, "the rest of the scene is the same"
            action = np.array([0.05, -0.05, -0.05, 0, 0, 0, 0], np.float32)
            for _ in range(3):
                moved, *_ = env.step(action)
                moved_too, *_ = other.step(action)
            np.testing.assert_array_equal(moved["state"], moved_too["state"])
    found = [place for place in places if place is not None]
    assert len(found) >= 5, "it lies in view, save where the arm hides it"
    assert np.std(found, axis=0).min() > 3, "each scene has its own"


def test_only_some_scenes_have_a_distractor():
    drawn = [draw_distractor(replace(VARIED, distractor=0.5), np.random.default_rng(seed)) for seed in range(200)]
    assert 70 < sum(distractor is not None for distractor in drawn) < 130
    assert {distractor.box for distractor in drawn if distractor is not None} == {True, False}


@pytest.mark.parametrize(
    "task", ["reach-v3", "reach-wall-v3", "coffee-button-v3", "handle-press-v3", "faucet-close-v3"]
)
def test_expert_goal_is_a_success_and_leaves_the_environment_alone(task):
    with arm(task, seed=1_000_001) as env:
        env.reset()
        before = env.step(displacement(0.03, 0.03, 0.0))[0]
        goal = expert_goal(env)
        assert goal.success
        assert np.linalg.norm(goal.state[:3] - before["state"][:3]) > 0.05
        assert goal.image.shape == (64, 64, 3)
        np.testing.assert_array_equal(env.observe()["image"], before["image"])
        np.testing.assert_array_equal(env.observe()["state"], before["state"])


def test_the_goal_of_a_reach_task_is_in_the_middle_of_what_counts_as_success():
    with arm(seed=1_000_003) as env:
        goal = expert_goal(env)
        for offset in np.vstack([np.eye(3), -np.eye(3)]) * 0.03:
            seen, _ = env.reset()
            for _ in range(8):
                seen, _, _, _, info = env.step(displacement(*(goal.state[:3] + offset - seen["state"][:3])))
            assert info["success"], offset


def test_going_straight_to_the_experts_goal_solves_reach():
    with arm(seed=1_000_002) as env:
        goal = expert_goal(env)
        seen, info = env.reset()
        assert not info["success"]
        for _ in range(8):
            seen, _, _, _, info = env.step(displacement(*(goal.state - seen["state"])[:3]))
        assert info["success"]


def test_unknown_task_is_an_error_that_names_similar_ones():
    with pytest.raises(UserError, match=r"no task 'reach-v2'.*reach-v3"):
        arm("reach-v2")


def test_missing_opengl_is_an_error_with_the_command_that_installs_it(monkeypatch):
    def fail(*_: object) -> None:
        raise ImportError("Cannot initialize a EGL device display")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    with pytest.raises(UserError, match=r"EGL device display.*apt-get install -y libegl1"):
        make_env("reach-v3", 0, 48, STILL, 10)


@pytest.mark.parametrize(("installed", "chosen"), [({"EGL", "OSMesa"}, "egl"), ({"OSMesa"}, "osmesa")])
def test_first_offscreen_library_found_is_used(monkeypatch, installed, chosen):
    reloaded = []
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name if name in installed else None)
    monkeypatch.setattr("importlib.reload", reloaded.append)
    graphics.choose_library()
    assert os.environ["MUJOCO_GL"] == chosen and reloaded == [mujoco.gl_context]


def test_no_offscreen_library_is_an_error_with_the_command_that_installs_one(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(UserError, match=r"EGL or OSMesa.*apt-get install -y libegl1"):
        graphics.choose_library()


def test_thinned_meshes_look_the_same_with_a_third_of_the_triangles(monkeypatch):
    with arm() as env:
        thinned, faces = env.reset()[0]["image"].astype(int), env.scene._model.mesh_facenum.sum()
    monkeypatch.setattr(graphics, "thin_meshes", lambda model, cell: None)
    monkeypatch.setattr("vjepa.sim.arm._idle", [])
    with arm() as env:
        full, all_faces = env.reset()[0]["image"].astype(int), env.scene._model.mesh_facenum.sum()
    assert faces < all_faces / 3
    assert np.abs(thinned - full).mean() < 2
