"""The cooldown takes longer and larger clips than the steps before it, and fewer of them in a pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pretraining.test_loss import assert_same_networks
from tests.probing.moving_square import moving_squares
from tests.training.engines import ENGINE
from tests.training.killed import train_until_killed
from vjepa.config import CollapseConfig, EncoderConfig, MaskConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.errors import DataError, UserError
from vjepa.pretraining.phases import phases_of
from vjepa.pretraining.pretrain import Pretraining
from vjepa.training.parallel import World

ENCODER = EncoderConfig(16, 4, 2, 24, 2, 2, 2.0, True, [], False)
CONFIG = PretrainConfig(
    start=None, predict="latents", episodes_share=1.0,
    frames=2, image_size=8, cooldown_frames=6, stride=1, still_share=0.0, dimmest=1.0,
    crop_scale=[0.3, 1.0], crop_aspect=[0.75, 1.35], flip=True, shard_window=0, workers=0, kept_mb=0, batch_size=4,
    mask_batch=4, cooldown_mask_batch=2, cooldown_micro_batch=2, steps=6, warmup=1, cooldown=3,
    start_learning_rate=1e-3, learning_rate=1e-2, final_learning_rate=1e-4, weight_decay=0.04, ema=[0.8, 0.9],
    predictor_width=16, predictor_depth=1, predictor_heads=2, predictor_mlp_ratio=2.0,
    masks=[MaskConfig(1, 0.3, [0.75, 1.5])], context_weight=0.5, context_head=False,
    collapse=CollapseConfig(10_000, 0.0, 0.0, 1.0), readout_every=4, log_every=1, checkpoint_every=4,
    keep="last", engine=ENGINE,
)  # fmt: skip


def training(folder: Path, **changes: object) -> Pretraining:
    episodes = LoadedEpisodes(moving_squares(8))
    return Pretraining(episodes, ENCODER, replace(CONFIG, **changes), 0, folder, "data")  # type: ignore[arg-type]


def test_the_cooldown_has_the_encoders_pixels_and_more_frames(tmp_path: Path) -> None:
    batches = training(tmp_path).batches
    early, late = batches.of(2), batches.of(3)
    assert early[0].shape == (4, 3, 2, 8, 8) and late[0].shape == (2, 3, 6, 16, 16)
    for (_, _, masks), tokens in ((early, 1 * 2 * 2), (late, 3 * 4 * 4)):
        ids = torch.cat([part.flatten() for pair in masks for part in pair])
        assert tokens / 2 <= int(ids.max()) < tokens


def test_its_clips_are_the_shards_pixels_and_those_before_it_are_scaled_down(tmp_path: Path) -> None:
    run = training(tmp_path, crop_scale=[1.0, 1.0], crop_aspect=[1.0, 1.0], flip=False)
    for step, shrunk in ((2, 2), (3, 1)):
        batch = run.batches.loader.batch(step)
        clips = batch.frames[0]
        frames = moving_squares(8)[int(batch.episodes[0])].frames[int(batch.starts[0]) :][: len(clips)]
        wanted = frames.reshape(len(clips), 16 // shrunk, shrunk, 16 // shrunk, shrunk, 3).mean((2, 4))
        assert np.abs(clips - wanted).max() <= (0 if shrunk == 1 else 80)
        assert np.abs(clips - wanted).mean() <= (0 if shrunk == 1 else 8)


def test_a_run_killed_on_either_side_of_the_border_ends_like_a_straight_one(tmp_path: Path) -> None:
    straight = training(tmp_path / "straight")
    straight.train()
    for at, workers in ((3, 1), (5, 0)):
        killed, resumed = (training(tmp_path / str(at), workers=n, checkpoint_every=at) for n in (0, workers))
        train_until_killed(killed.run, killed, at=at)
        resumed.train()
        assert_same_networks(resumed, straight)


def test_passes_of_the_cooldown_alone_do_not_change_what_is_learned(tmp_path: Path) -> None:
    few, many = (training(tmp_path / str(n), cooldown_micro_batch=n) for n in (2, 1))
    assert [many.run.share(step).passes for step in (2, 3)] == [1, 4]
    few.train()
    many.train()
    for mine, theirs in zip(few.target_encoder.parameters(), many.target_encoder.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("cooldown", [0, 6])
def test_a_phase_without_steps_is_left_out(cooldown: int, tmp_path: Path) -> None:
    run = training(tmp_path, warmup=0, cooldown=cooldown)
    assert [len(run.batches.phases), run.batches.of(0)[0].shape[2]] == [1, 6 if cooldown else 2]


def test_episodes_that_are_too_short_for_the_cooldown_are_found_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the 40 frames"):
        training(tmp_path, cooldown_frames=40)


def test_a_pass_of_the_cooldown_that_does_not_fit_its_masks_is_refused() -> None:
    config = replace(CONFIG, cooldown_mask_batch=4, cooldown_micro_batch=3)
    with pytest.raises(UserError, match=r"passes of 3 clips .* the 4 whose masks have one size"):
        phases_of(ENCODER, config, World())
