"""Windows of several strides: what is drawn, and that their actions lead from each of their frames to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.posttraining.test_posttrain import CONFIG, light_episodes
from vjepa.data.layout import POSES
from vjepa.errors import DataError, UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.posttraining.posttrain import Posttraining
from vjepa.posttraining.windows import LatentEpisodes, WindowDraws, actions_over
from vjepa.posttraining.world_model import WorldModel, load_world_model, save_world_model

LENGTHS = np.array([12, 5, 30, 13])


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
    return WorldModel(encoder.eval(), pool=2, actions=7, states=7, width=16, depth=1, heads=2, max_context=3)


def test_every_stride_is_drawn_and_no_window_leaves_its_episode() -> None:
    draws = WindowDraws(LENGTHS, 4, [1, 2, 4], seed=0)
    steps = [draws.draw(step, 32) for step in range(40)]
    chosen, starts, strides = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    assert np.bincount(strides, minlength=5)[[1, 2, 4]].min() > 350, "alike"
    assert (starts >= 0).all() and (starts + 3 * strides < LENGTHS[chosen]).all()
    ends = {stride: (starts + 3 * strides - LENGTHS[chosen])[strides == stride].max() for stride in (1, 2, 4)}
    assert set(ends.values()) == {-1}, "the last frame of an episode is seen"
    assert set(chosen[strides == 4]) == {2, 3} and set(chosen[strides == 1]) == {0, 1, 2, 3}


def test_a_steps_windows_hang_on_the_seed_and_the_step_alone() -> None:
    one, again, other = (WindowDraws(LENGTHS, 4, [1, 2], seed).draw(7, 16) for seed in (3, 3, 4))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_strides_that_no_episode_is_long_enough_for_are_named() -> None:
    with pytest.raises(DataError, match=r"31 frames.*posttrain.strides \[1, 10\] with posttrain.frames 4"):
        WindowDraws(LENGTHS, 4, [1, 10], seed=0)


def test_an_action_over_several_frames_leads_from_the_first_to_the_last() -> None:
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (11, 7)).astype(np.float32)
    for stride in (1, 2, 4):
        found = actions_over(states, stride, POSES.actions_between)
        assert found.shape == (11 - stride, 7)
        for t in range(11 - stride):
            assert np.array_equal(found[t], POSES.actions_between(states[[t, t + stride]])[0])
    assert actions_over(states[:3], 4, POSES.actions_between).shape == (0, 7), "an episode of fewer frames has none"


def test_the_parts_of_a_window_belong_together(model: WorldModel) -> None:
    episodes = light_episodes(3)
    latents = LatentEpisodes(model, episodes, "test", [1, 3], POSES.actions_between)
    tokens, actions, states = latents.windows(model, np.array([2, 0]), np.array([1, 5]), 4, np.array([3, 1]))
    for row, (episode, at) in enumerate([(2, [1, 4, 7, 10]), (0, [5, 6, 7, 8])]):
        assert np.array_equal(states[row], episodes[episode].states[at])
        assert torch.allclose(tokens[row], model.encode(torch.from_numpy(episodes[episode].frames[at])), atol=1e-5)
        assert np.allclose(actions[row], POSES.actions_between(episodes[episode].states[at]), atol=1e-6)


def test_a_world_model_says_how_long_the_steps_were_that_it_learned(model: WorldModel, tmp_path: Path) -> None:
    config = replace(CONFIG, strides=[1, 3])
    training = Posttraining(model.encoder, light_episodes(4), config, 0, tmp_path, "", None, POSES.actions_between)
    save_world_model(tmp_path / "model", training.trained())
    assert load_world_model(tmp_path / "model", model.encoder).max_stride == 3


def test_recorded_commands_are_not_joined(model: WorldModel) -> None:
    LatentEpisodes(model, light_episodes(1), "test", [1], None)
    with pytest.raises(UserError, match=r"posttrain.strides has \[2\].*set posttrain.strides to \[1\]"):
        LatentEpisodes(model, light_episodes(1), "test", [1, 2], None)
