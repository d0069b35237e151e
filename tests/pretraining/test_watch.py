"""What tells a collapse: the numbers, their limits, and a run without what prevents it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import vjepa.pretraining.loss
from tests.probing.moving_square import moving_squares
from tests.training.engines import ENGINE
from vjepa.config import CollapseConfig, EncoderConfig, MaskConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.errors import UserError
from vjepa.pretraining.pretrain import Pretraining
from vjepa.pretraining.watch import (
    clip_similarity,
    distance_agreement,
    effective_rank,
    feature_deviation,
    state_readout,
)

LIMITS = CollapseConfig(after=20, min_feature_deviation=0.05, min_effective_rank=1.5, max_clip_similarity=0.999)


def training(folder: Path, ema: float, steps: int = 120, workers: int = 0, predict: str = "latents") -> Pretraining:
    config = PretrainConfig(
        start=None, predict=predict, episodes_share=1.0,
        frames=4, image_size=16, cooldown_frames=4, stride=1, still_share=0.0, dimmest=1.0,
        crop_scale=[1.0, 1.0], crop_aspect=[1.0, 1.0], flip=False, shard_window=0, workers=workers, kept_mb=0,
        batch_size=8, mask_batch=8, cooldown_mask_batch=8, cooldown_micro_batch=0, steps=steps, warmup=5, cooldown=20,
        start_learning_rate=0.0, learning_rate=3e-3, final_learning_rate=1e-5, weight_decay=0.04, ema=[ema, ema],
        predictor_width=16, predictor_depth=1, predictor_heads=2, predictor_mlp_ratio=4.0,
        masks=[MaskConfig(2, 0.3, [0.75, 1.5])], context_weight=0.0, context_head=False, collapse=LIMITS,
        readout_every=20, log_every=5, checkpoint_every=20, keep="last", engine=ENGINE,
    )  # fmt: skip
    encoder = EncoderConfig(16, 4, 2, 32, 2, 2, 4.0, True, [], False)
    return Pretraining(LoadedEpisodes(moving_squares(24)), encoder, config, 0, folder, "data")


def test_the_numbers_tell_collapsed_features_from_varied_ones() -> None:
    torch.manual_seed(0)
    varied = torch.randn(4, 50, 16)
    collapsed = torch.randn(1, 1, 16) + 1e-4 * varied
    assert feature_deviation(varied) > 0.9 and feature_deviation(collapsed) < 1e-3
    line = torch.randn(4, 50, 1) * torch.randn(16)
    assert effective_rank(varied) > 14 and effective_rank(line) == pytest.approx(1.0, abs=0.05)
    place_alone = torch.randn(1, 50, 16).expand(4, -1, -1)  # tokens differ, clips do not
    assert abs(clip_similarity(varied)) < 0.1 and clip_similarity(place_alone) == pytest.approx(1.0)


def test_clip_similarity_is_the_mean_cosine_of_all_pairs() -> None:
    features = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1))
    pairs = [(0, 1), (0, 2), (1, 2)]
    cosines = [torch.cosine_similarity(features[i], features[j], dim=-1).mean() for i, j in pairs]
    assert clip_similarity(features) == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-6)


def test_the_read_out_is_one_where_features_hold_the_state_and_none_where_they_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(300, 3, generator=generator)
    states[:, 2] = 5.0  # never varies
    linear = states @ torch.randn(3, 8, generator=generator) + 0.01 * torch.randn(300, 8, generator=generator)
    assert state_readout(linear, states) > 0.95
    assert state_readout(torch.randn(300, 8, generator=generator), states) < 0.1


def test_distances_agree_where_near_states_have_near_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(150, 2, generator=generator)
    away = torch.cdist(states, torch.randn(40, 2, generator=generator))
    near = torch.exp(-away.square()).unflatten(1, (5, 8))[:, :4]  # each feature answers to a place of its own
    noise = torch.randn(150, 4, 8, generator=generator)

    def agreement(latents: torch.Tensor, states: torch.Tensor = states) -> float:
        return distance_agreement(latents, states, (2, 2))

    assert agreement(near) > 0.7
    assert abs(agreement(noise)) < 0.1
    constant = torch.cat([states, torch.full((150, 1), 3.0)], 1)
    assert agreement(near, constant) == pytest.approx(agreement(near))
    assert agreement(near + 5 * noise) < agreement(near)


def test_distances_are_taken_between_what_a_quadrant_shows_on_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(100, 2, generator=generator)
    quadrants = torch.exp(-torch.cdist(states, torch.randn(32, 2, generator=generator)).square()).unflatten(1, (4, 8))
    fine = quadrants.unflatten(1, (2, 2)).repeat_interleave(2, 1).repeat_interleave(2, 2)  # [100, 4, 4, 8]
    jitter = 5 * torch.randn(100, 2, 2, 2, 8, generator=generator)
    fine[:, :, 0::2] += jitter.flatten(1, 2)  # neighbours differ, their mean doesn't
    fine[:, :, 1::2] -= jitter.flatten(1, 2)
    agreement = distance_agreement(fine.flatten(1, 2), states, (4, 4))
    assert agreement == pytest.approx(distance_agreement(quadrants, states, (2, 2)), abs=1e-3)


def test_a_run_whose_teacher_does_not_lag_and_whose_targets_learn_is_stopped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMA momentum 0 and no stop-gradient: predicting oneself is easiest where there is nothing to predict."""

    def learning_targets(encoder: torch.nn.Module, video: torch.Tensor) -> torch.Tensor:
        features = shared.context_encoder.forward_levels(video)
        return torch.nn.functional.layer_norm(features, features.shape[-1:])

    shared = training(tmp_path / "collapsed", ema=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(vjepa.pretraining.loss, "target_features", learning_targets)
        with pytest.raises(UserError, match=r"the features have collapsed at step \d+: \w+ [\d.e-]+ is (below|above)"):
            shared.train()
    assert shared.run.step < 120 and shared.run.checkpoints.files()


def test_the_same_run_with_both_is_not_stopped_and_its_log_says_what_was_watched(tmp_path: Path) -> None:
    healthy = training(tmp_path / "healthy", ema=0.99)
    healthy.train()
    log = healthy.run.log
    assert healthy.run.step == 120 and [row["step"] for row in log] == [*range(0, 120, 5), 119]
    assert all(row["gradient_norm"] > 0 and row["update_norm"] > 0 for row in log)
    read = [row for row in log if "state_readout" in row]
    assert [row["step"] for row in read] == list(range(0, 120, 20))
    assert all(-1 <= row["distance_agreement"] <= 1 for row in read)
    assert np.isfinite([row["state_readout"] for row in read]).all()
