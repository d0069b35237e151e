"""V-JEPA 2-AC's objective and its held-out error beside the baselines."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.engines import ENGINE
from tests.training.killed import train_until_killed
from vjepa.config import PosttrainConfig
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.posttraining.loss import rollout_loss, teacher_forcing_loss
from vjepa.posttraining.posttrain import Posttraining, evaluate, windows_of_other_episodes
from vjepa.posttraining.world_model import WorldModel, load_world_model, save_world_model


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def model(encoder):
    model = WorldModel(encoder, pool=2, actions=7, states=7, width=16, depth=1, heads=2, max_context=3)
    torch.nn.init.normal_(model.predictor.predictor_proj.weight, std=0.3)
    return model


def light_episodes(count):
    """A light that the action turns from red towards blue and back: x of the state is its colour."""
    rng = np.random.default_rng(0)
    episodes = []
    for i in range(count):
        colour = np.clip(np.cumsum(rng.uniform(-0.5, 0.5, 12)) + 0.5, 0, 1)
        frames = np.zeros((12, 16, 16, 3), np.uint8)
        frames[..., 0] = (255 * colour)[:, None, None]
        frames[..., 2] = (255 * (1 - colour))[:, None, None]
        states = np.zeros((12, 7), np.float32)
        states[:, 0] = colour
        episodes.append(Episode(f"light-{i}", "turn", frames, np.arange(12) / 8, states, POSES.actions_between(states)))
    return episodes


CONFIG = PosttrainConfig(
    untrained=False, episodes_share=1.0, pool=2, width=32, depth=2, heads=2, frames=4, strides=[1],
    rollout=2, batch_size=16,
    steps=200, warmup=10, cooldown=100, start_learning_rate=0.0, learning_rate=3e-3, final_learning_rate=1e-5,
    weight_decay=0.01, log_every=10, checkpoint_every=100, engine=ENGINE,
)  # fmt: skip


def test_a_trained_model_beats_copying_and_misled_actions(encoder, tmp_path):
    training = Posttraining(encoder, light_episodes(60), CONFIG, 0, tmp_path, "data")
    training.train()
    errors = evaluate(training.model.eval(), light_episodes(70)[60:], frames=4, seed=0)
    assert errors["latent_l1"]["high"] < errors["latent_l1_copy_last"]["low"]
    assert errors["latent_l1"]["high"] < errors["latent_l1_shuffled_actions"]["low"]
    assert {e["n"] for e in errors.values()} == {10}
    share = errors["latent_error_share"]
    assert share["value"] == pytest.approx(errors["latent_l1"]["value"] / errors["latent_l1_copy_last"]["value"])
    assert share["low"] < share["value"] < share["high"] < 1


def test_where_nothing_moves_no_share_of_a_perfect_copy_is_given(encoder, tmp_path):
    still = [replace(episode, frames=np.repeat(episode.frames[:1], 12, 0)) for episode in light_episodes(4)]
    training = Posttraining(encoder, light_episodes(4), CONFIG, 0, tmp_path, "data")
    errors = evaluate(training.model.eval(), still, frames=4, seed=0)
    assert errors["latent_l1_copy_last"]["value"] == 0
    assert "latent_error_share" not in errors


def test_a_killed_posttraining_ends_with_the_predictor_of_a_straight_one(encoder, tmp_path):
    config = replace(CONFIG, steps=6, warmup=1, cooldown=2, checkpoint_every=3)
    straight, killed, resumed = (
        Posttraining(encoder, light_episodes(4), config, 0, tmp_path / name, "data")
        for name in ("straight", "killed", "killed")
    )
    straight.train()
    train_until_killed(killed.run, killed, at=4)
    resumed.train()
    mine, theirs = resumed.model.state_dict(), straight.model.state_dict()
    assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == []


def test_misled_windows_get_the_actions_of_another_episode():
    episodes = np.repeat([3, 0, 1, 2], [3, 1, 3, 2])
    others = windows_of_other_episodes(episodes, np.random.default_rng(0))
    assert sorted(others) == list(range(9)) and (episodes[others] != episodes).all()


def test_only_the_predictor_learns(encoder, tmp_path):
    before = {name: t.clone() for name, t in encoder.state_dict().items()}
    training = Posttraining(encoder, light_episodes(4), CONFIG, 0, tmp_path, "data")
    training.run.advance(training)
    assert all(torch.equal(before[name], t) for name, t in encoder.state_dict().items())


def test_teacher_forcing_compares_each_prediction_with_the_next_frame(model):
    latents, actions, states = torch.randn(2, 4, 4, 24), torch.randn(2, 3, 7), torch.randn(2, 4, 7)
    loss, predicted = teacher_forcing_loss(model.predict, latents, actions, states)
    steps = [model.step(latents[:, : t + 1], actions[:, : t + 1], states[:, : t + 1]) for t in range(3)]
    assert torch.allclose(predicted, torch.stack(steps, dim=1), atol=1e-5)
    assert torch.allclose(loss, torch.stack([(s - latents[:, t + 1]).abs().mean() for t, s in enumerate(steps)]).mean())


def test_the_rollout_feeds_the_first_prediction_back_and_uses_true_states(model):
    latents, actions, states = torch.randn(2, 4, 4, 24), torch.randn(2, 3, 7), torch.randn(2, 4, 7)
    first = model.step(latents[:, :1], actions[:, :1], states[:, :1])
    second = model.step(torch.stack([latents[:, 0], first], dim=1), actions[:, :2], states[:, :2])
    expected = ((first - latents[:, 1]).abs().mean() + (second - latents[:, 2]).abs().mean()) / 2
    assert torch.allclose(rollout_loss(model.predict, latents, actions, states, first, 2), expected)


def test_a_model_without_use_for_actions_is_not_hurt_by_shuffling_them(model):
    torch.nn.init.zeros_(model.predictor.action_encoder.weight)
    errors = evaluate(model.eval(), light_episodes(6), frames=4, seed=0)
    assert errors["latent_l1"]["value"] == pytest.approx(errors["latent_l1_shuffled_actions"]["value"])


def test_latents_are_centred_and_scaled_over_the_training_frames(encoder, tmp_path):
    training = Posttraining(encoder, light_episodes(6), CONFIG, 0, tmp_path, "data")
    frames = torch.from_numpy(np.concatenate([e.frames for e in light_episodes(6)]))
    latents = training.model.encode(frames)
    assert latents.mean(0).abs().max() < 1e-3
    assert latents.std((0, 1)).median() == pytest.approx(1.0, abs=0.05)


def test_a_saved_world_model_predicts_the_same(model, encoder, tmp_path):
    model.latent_mean.normal_()
    save_world_model(tmp_path / "world_model", model)
    loaded = load_world_model(tmp_path / "world_model", encoder)
    inputs = torch.randn(2, 3, 4, 24), torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    assert torch.equal(loaded.predict(*inputs), model.eval().predict(*inputs))


def test_a_world_model_of_another_encoder_is_refused(model, tmp_path):
    save_world_model(tmp_path / "world_model", model)
    wider = VisionTransformer(image_size=16, patch=4, tubelet=2, width=48, depth=1, heads=2, mlp_ratio=2.0)
    with pytest.raises(UserError, match="does not fit the encoder"):
        load_world_model(tmp_path / "world_model", wider)
