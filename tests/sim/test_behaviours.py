"""Episodes show what their behaviour promises, and are the same each time."""

from dataclasses import replace

import numpy as np
import pytest

from vjepa.config import CollectConfig, Variation
from vjepa.sim.behaviours import WORKSPACE_HIGH, WORKSPACE_LOW, record_episode

CONFIG = CollectConfig(
    tasks={"reach-v3": 4},
    frames=12,
    steps_per_frame=10,
    image_size=32,
    waypoint_share=1.0,
    expert_share=0.0,
    expert_noise=0.0,
    max_move=0.08,
    variation=Variation(light=0.2, colour=0.2, camera=0.0, distractor=0.0),
    workers=1,
)
EXPERT = replace(CONFIG, waypoint_share=0.0, expert_share=1.0)
RANDOM = replace(CONFIG, waypoint_share=0.0)


@pytest.mark.parametrize("config", [CONFIG, EXPERT, RANDOM], ids=["way-points", "expert", "random"])
def test_episode_depends_on_seed_and_index_alone(config):
    first = record_episode(config, "reach-v3", seed=0, index=1)
    other = record_episode(config, "reach-v3", seed=0, index=2)
    again = record_episode(config, "reach-v3", seed=0, index=1)
    for name in ("frames", "states", "success"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert np.abs(first.states - other.states).max() > 0.02
    assert first.frames.shape == (12, 32, 32, 3) and first.frames.dtype == np.uint8
    assert first.states.shape == (12, 7) and first.states.dtype == np.float32
    assert first.success.shape == (12,) and first.success.dtype == bool


def test_another_seed_gives_another_collection():
    one, other = (record_episode(RANDOM, "reach-v3", seed=seed, index=0) for seed in (0, 1))
    assert np.abs(one.states - other.states).max() > 0.02


@pytest.mark.parametrize("config", [CONFIG, RANDOM], ids=["way-points", "random"])
def test_exploration_stays_in_the_workspace_and_within_the_largest_move(config):
    states = [record_episode(config, "reach-v3", seed=0, index=index).states for index in range(6)]
    places = np.concatenate(states)[:, :3]
    assert (places > WORKSPACE_LOW - 0.02).all() and (places < WORKSPACE_HIGH + 0.02).all()
    assert max(np.abs(np.diff(s[:, :3], axis=0)).max() for s in states) < config.max_move + 0.01


def test_way_points_cover_the_workspace():
    places = np.concatenate([record_episode(CONFIG, "reach-v3", seed=0, index=index).states for index in range(12)])
    covered = np.ptp(places[:, :3], axis=0)
    assert (covered > 0.6 * (WORKSPACE_HIGH - WORKSPACE_LOW)).all()
    assert np.ptp(places[:, 6]) > 0.5, "the gripper is never used"


def test_expert_succeeds_and_noise_disturbs_it():
    calm = record_episode(EXPERT, "reach-v3", seed=0, index=0)
    noisy = record_episode(replace(EXPERT, expert_noise=0.3), "reach-v3", seed=0, index=0)
    assert calm.success[-1] and not calm.success[0]
    assert np.abs(calm.states - noisy.states).max() > 0.02
    assert np.abs(np.diff(noisy.states[:, :3], axis=0)).max() < EXPERT.max_move + 0.02
