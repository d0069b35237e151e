"""The estimate is what a real step takes, tensor by tensor; `benchmarks/memory.py` has the process's memory."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vjepa.estimate
from tests.posttraining.test_posttrain import CONFIG as POSTTRAIN
from tests.pretraining.test_phases import CONFIG, ENCODER
from tests.training.engines import ENGINE
from vjepa.config import EncoderConfig, MaskConfig, PretrainConfig
from vjepa.estimate import estimate_posttraining, estimate_pretraining
from vjepa.pretraining.masks import sample_masks
from vjepa.training.parallel import World

ROOT = Path(__file__).resolve().parents[1]
ALONE = World(0, 1, torch.device("cpu"))
MIDDLE = EncoderConfig(64, 8, 2, 256, 4, 4, 4.0, True, [], False)
MASKS = [MaskConfig(8, 0.15, [0.75, 1.5]), MaskConfig(2, 0.7, [0.75, 1.5])]


def middle(**engine: Any) -> PretrainConfig:
    return replace(
        CONFIG, frames=8, image_size=64, warmup=0, cooldown=0, steps=2, batch_size=8, mask_batch=8,
        predictor_width=128, predictor_depth=3, predictor_heads=4, masks=MASKS, engine=replace(ENGINE, **engine),
    )  # fmt: skip


@pytest.mark.parametrize("engine", [{}, {"recompute": True}, {"precision": "bf16"}, {"micro_batch": 2}])
def test_a_pass_without_numbers_counts_what_a_real_one_does(
    engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, engine=replace(ENGINE, **engine), cooldown_mask_batch=4, cooldown_micro_batch=0)
    without = [phase.measured for phase in estimate_pretraining(ENCODER, config, ALONE)]
    monkeypatch.setattr(vjepa.estimate, "FakeTensorMode", lambda **_: nullcontext())
    # real masks are all token 0, which costs what any others do
    real = [phase.measured for phase in estimate_pretraining(ENCODER, config, ALONE)]
    assert [one.flops for one in without] == [one.flops for one in real]
    assert [one.activations for one in without] == pytest.approx([one.activations for one in real], rel=0.02)


def test_recomputation_and_smaller_passes_save_activations_and_cost_as_expected() -> None:
    whole, again, parts = (
        estimate_pretraining(MIDDLE, middle(**engine), ALONE)[0]
        for engine in ({}, {"recompute": True}, {"micro_batch": 2})
    )
    assert (
        again.measured.activations < 0.4 * whole.measured.activations
        and parts.measured.activations < 0.35 * whole.measured.activations
    )
    assert 1.1 < again.flops / whole.flops < 1.4, "blocks with a gradient run forward twice"
    assert parts.flops == pytest.approx(whole.flops, rel=0.01)
    assert whole.weights == again.weights == parts.weights


def test_the_work_of_a_block_is_that_of_the_formula() -> None:
    """What another block adds: 2 operations a weight and token, thrice where it learns, and attention."""
    four, five = (
        estimate_pretraining(replace(MIDDLE, depth=depth), middle(), ALONE)[0].measured.flops for depth in (4, 5)
    )
    weights, every = 12 * 256**2, 4 * 8 * 8
    rng = np.random.default_rng(0)
    drawn = [[sample_masks((4, 8, 8), mask, 8, rng)[0].shape[1] for mask in MASKS] for _ in range(16)]
    seen = max(drawn, key=sum)
    teacher = 2 * weights * every + 4 * every**2 * 256
    student = sum(6 * weights * n + 14 * n**2 * 256 for n in seen)  # attention's backward pass makes its products again
    assert five - four == pytest.approx(8 * (teacher + student), rel=0.01)


def test_fsdp_parts_weights_and_ddp_does_not() -> None:
    two = World(0, 2, torch.device("cpu"))
    spread, copied = (
        estimate_pretraining(MIDDLE, middle(strategy=strategy, micro_batch=4), two)[0] for strategy in ("fsdp", "ddp")
    )
    assert spread.moments * 2 == copied.moments and spread.gradients * 2 == copied.gradients
    assert copied.weights / 2 < spread.weights < copied.weights
    assert spread.measured.activations == copied.measured.activations


def test_posttraining_holds_the_frozen_encoder_beside_the_predictor() -> None:
    estimate = estimate_posttraining(ENCODER, POSTTRAIN, ALONE)
    encoder = sum(p.numel() for p in vjepa.estimate.build_encoder(ENCODER).parameters())
    assert estimate.weights == 4 * (estimate.learned + encoder)
    assert estimate.tokens == 4 * 4 and estimate.flops > 0
