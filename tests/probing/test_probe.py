"""Probes find what is planted in the features, and are scored on held-out episodes only."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.probing.moving_square import moving_square, moving_squares
from tests.training.killed import train_until_killed
from vjepa.config import ProbeConfig
from vjepa.data.motion import tabulate
from vjepa.errors import DataError
from vjepa.nn.encoder import VisionTransformer, pool_tokens
from vjepa.probing.features import Labels, encode_clips
from vjepa.probing.folder import save_probes
from vjepa.probing.probe import baselines, predict, prepare, probe_encoder, spread_clips
from vjepa.probing.training import ProbeTraining

CONFIG = ProbeConfig(
    frames=4, stride=1, dimmest=1.0, pool=1, depth=1, heads=2, batch_size=16, steps=100, learning_rate=5e-3,
    weight_decay=0.01, clips_per_episode=2, min_move=0.05,
)  # fmt: skip


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0).eval()


class PixelsAndPlaces(torch.nn.Module):
    """Tokens that hold the colour of a patch of 4 x 4 pixels and where it is: an encoder from which all can be read."""

    grid, tubelet = (4, 4), 2

    def forward(self, video):
        patches = torch.nn.functional.avg_pool3d(video, (2, 4, 4)).flatten(2).transpose(1, 2)
        return torch.cat([patches, torch.eye(patches.shape[1]).expand(len(video), -1, -1)], -1)[..., :34]


@pytest.fixture(scope="module")
def data():
    return prepare(moving_squares(40), moving_squares(24, seed=1), CONFIG, seed=0)


def planted(count, classes):
    """Noise, and in one token of each clip the direction of its class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=count)
    features = rng.normal(size=(count, 6, 16))
    features[np.arange(count), rng.integers(6, size=count), labels] += 8
    return torch.from_numpy(features).half(), labels


def training(features, labels, folder, config=CONFIG, seed=0):
    """Of a probe on the planted features that are labelled."""
    known = Labels(np.arange(len(labels)), labels)
    return ProbeTraining(features, (6, 1, 1), known, 3, config, seed, folder, "planted")


def test_a_probe_learns_a_planted_signal(tmp_path):
    features, labels = planted(300, classes=3)
    probe = training(features, labels[:200], tmp_path).fit("probe")
    found = predict(probe, features, np.arange(200, 300)).argmax(1)
    assert (found == labels[200:]).mean() > 0.9


def test_a_probe_finds_nothing_where_nothing_is_planted(tmp_path):
    features, labels = planted(300, classes=3)
    probe = training(torch.randn_like(features.float()).half(), labels[:200], tmp_path).fit("probe")
    found = predict(probe, features, np.arange(200, 300)).argmax(1)
    assert (found == labels[200:]).mean() < 0.6


def test_the_same_seed_gives_the_same_probe_whether_it_was_killed_or_not(tmp_path, capsys):
    features, labels = planted(64, classes=3)
    first = training(features, labels, tmp_path / "first", seed=5).fit("probe")
    killed = training(features, labels, tmp_path / "second", seed=5)
    train_until_killed(killed.run, killed, 57)
    capsys.readouterr()
    second = training(features, labels, tmp_path / "second", seed=5).fit("probe")
    assert "resumed at step 50" in capsys.readouterr().out
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_probes_read_task_motion_and_hand_better_than_the_baselines(data, tmp_path):
    config = dataclasses.replace(CONFIG, steps=800)
    _, metrics = probe_encoder(PixelsAndPlaces(), data, config, 0, "toy", tmp_path, "data")
    guesses = baselines(data)
    assert metrics["task_accuracy"]["low"] > guesses["task_accuracy_majority"]["high"]
    assert metrics["motion_accuracy"]["low"] > guesses["motion_accuracy_majority"]["high"]
    assert metrics["hand_error_cm"]["high"] < guesses["hand_error_cm_mean_guess"]["low"]
    assert {estimate["n"] for estimate in (metrics | guesses).values()} == {24}


def test_the_encoder_does_not_learn(encoder, data, tmp_path):
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    probe_encoder(encoder, data, dataclasses.replace(CONFIG, steps=2), 0, "toy", tmp_path, "data")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_baselines_guess_from_training_and_are_scored_on_held_out_labels():
    left, right = (-0.06, 0, 0), (0.06, 0, 0)
    train = [moving_square(i, left if i < 3 else right) for i in range(4)]
    held_out = [moving_square(i, left if i < 1 else right) for i in range(4)]
    guesses = baselines(prepare(train, held_out, CONFIG, seed=0))
    assert guesses["motion_accuracy_majority"]["value"] == pytest.approx(0.25)  # "left", though held-out ones go right


def test_the_mean_guess_is_the_mean_of_training_positions():
    data = prepare(moving_squares(8), moving_squares(4, seed=1), CONFIG, seed=0)
    mean = data.train.labels["hand"].values.mean(0)
    expected = 100 * np.linalg.norm(data.test.labels["hand"].values - mean, axis=1).mean()
    assert baselines(data)["hand_error_cm_mean_guess"]["value"] == pytest.approx(expected)


def test_clips_are_encoded_in_the_order_of_their_labels(encoder, data):
    split = data.test
    features = encode_clips(encoder, split.sampler, split.clips, CONFIG, 0, "toy")
    last = encode_clips(encoder, split.sampler, split.clips.rows(np.array([len(split.clips) - 1])), CONFIG, 0, "toy")
    assert features.dtype == torch.float16
    torch.testing.assert_close(features[-1], last[0], atol=2e-3, rtol=1e-2)


def test_tokens_are_averaged_over_squares_of_their_frame():
    tokens = torch.arange(2 * 2 * 4 * 4, dtype=torch.float32).reshape(2, 32, 1)
    pooled = pool_tokens(tokens, (4, 4), 2)
    by_hand = [tokens[1, 16 + torch.tensor(ids)].mean().item() for ids in ([0, 1, 4, 5], [2, 3, 6, 7])]
    assert pooled.shape == (2, 8, 1) and pooled[1, 4:6, 0].tolist() == by_hand
    assert torch.equal(pool_tokens(tokens, (4, 4), 1), tokens)


def test_every_encoder_is_shown_the_same_light(encoder, data):
    dim = dataclasses.replace(CONFIG, dimmest=0.4)
    first, again, bright = (
        encode_clips(encoder, data.test.sampler, data.test.clips, config, 0, "toy") for config in (dim, dim, CONFIG)
    )
    assert torch.equal(first, again) and not torch.allclose(first, bright, atol=1e-3)


def test_clips_are_spread_over_all_episodes(data):
    every = tabulate(data.train.sampler)
    _, counts = np.unique(spread_clips(every, 3, seed=1).episodes, return_counts=True)
    assert counts.tolist() == [3] * 40
    _, counts = np.unique(spread_clips(every, 99, seed=1).episodes, return_counts=True)
    assert counts.tolist() == [5] * 40  # all that there are


def test_clips_without_motion_are_named_when_there_is_nothing_else():
    still = [moving_square(i, (0.001, 0, 0)) for i in range(4)]
    with pytest.raises(DataError, match="no held-out clip has a label for the motion probe"):
        prepare(moving_squares(4), still, CONFIG, seed=0)


def test_the_folder_says_what_the_outputs_mean(encoder, data, tmp_path):
    fitted, _ = probe_encoder(encoder, data, dataclasses.replace(CONFIG, steps=2), 0, "toy", tmp_path, "data")
    save_probes(tmp_path / "probes", fitted, data.tasks)
    config = json.loads((tmp_path / "probes" / "config.json").read_text())
    tensors = load_file(tmp_path / "probes" / "model.safetensors")
    assert config["task"]["classes"] == ["darken", "redden"]
    assert config["motion"]["classes"] == ["left", "right", "back", "forward", "down", "up"]
    for name in ("task", "motion", "hand"):
        torch.testing.assert_close(tensors[f"{name}.linear.weight"], fitted.probes[name].linear.weight.data)
