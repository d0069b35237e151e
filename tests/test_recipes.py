"""The profiles of the paper's sizes against its figures (arXiv 2506.09985, and its published configurations)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scripts.compose import compose
from stages.runner import read_params
from vjepa.checkpoints.encoder import build_encoder
from vjepa.config import MaskConfig
from vjepa.nn.sizes import named_encoder, named_predictor
from vjepa.posttraining.world_model import WorldModel
from vjepa.pretraining.masks import sample_masks
from vjepa.pretraining.phases import Phase, phases_of
from vjepa.pretraining.pretrain import new_predictor
from vjepa.training.parallel import World
from vjepa.training.schedule import WarmupStableDecay

CONF = Path(__file__).resolve().parents[1] / "conf"
AS_ROBOT = ["encoder.image_size=256", "curate.image_size=256", "pretrain.start=models/vitg.pt"]
WITHOUT_STEPS = ["pretrain.steps=0", "pretrain.warmup=0", "pretrain.cooldown=0"]
CPU = torch.device("cpu")


def params(folder: Path, *overrides: str) -> dict[str, Any]:
    compose(folder / "params.yaml", overrides, CONF)
    return read_params(folder / "params.yaml")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return params(tmp_path_factory.mktemp("paper"), "profile=vitg-paper", "source=video")


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The second run that the head of the profile describes."""
    profile = (CONF / "profile/vitg-paper.yaml").read_text()
    assert all(override in profile for override in (*AS_ROBOT, *WITHOUT_STEPS))
    return params(tmp_path_factory.mktemp("robot"), "profile=vitg-paper", "source=droid", *AS_ROBOT, *WITHOUT_STEPS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return params(tmp_path_factory.mktemp("lab"), "profile=vitl-droid", "source=droid")


def count(network: nn.Module) -> float:
    """Millions of parameters."""
    return sum(p.numel() for p in network.parameters()) / 1e6


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def world_model(settings: dict[str, Any]) -> WorldModel:
    post = settings["posttrain"]
    encoder = build_encoder(settings["encoder"])
    return WorldModel(encoder, post.pool, 7, 7, post.width, post.depth, post.heads, post.frames - 1)


def tokens(settings: dict[str, Any], phase: Phase) -> int:
    """Of a clip."""
    side = phase.image_size // settings["encoder"].patch
    return phase.frames // settings["encoder"].tubelet * side**2


@pytest.mark.parametrize(("recipe", "name"), [("paper", "vit_giant"), ("lab", "vit_large")])
def test_networks_are_those_of_the_released_weights(recipe: str, name: str, request: pytest.FixtureRequest) -> None:
    settings = request.getfixturevalue(recipe)
    with torch.device("meta"):
        encoder, predictor = (
            build_encoder(settings["encoder"]),
            new_predictor(settings["encoder"], settings["pretrain"]),
        )
        assert shapes(encoder) == shapes(named_encoder(name))
        released = shapes(named_predictor(name))
        assert released.pop("mask_tokens")[1:] == (own := shapes(predictor)).pop("mask_tokens")[1:]
        assert own == released
        action = world_model(settings).predictor
    assert count(encoder) == pytest.approx({"vit_giant": 1011, "vit_large": 303}[name], abs=2)
    assert 21 < count(predictor) < 23
    assert 300 < count(action) < 310
    assert (action.depth, action.width, action.heads) == (24, 1024, 16)


def test_clips_steps_and_batches_are_the_papers(paper: dict[str, Any]) -> None:
    """Sec. 2.2 and 2.4: 16 frames of 256 pixels, then 64 of 384; the cooldown is 12,000 steps of all 252,000."""
    main, cooldown = phases_of(paper["encoder"], paper["pretrain"], World(0, 128, CPU))
    assert (main.steps, cooldown.steps) == (240_000, 12_000)
    assert tokens(paper, main) == 8 * 16 * 16 == 2048
    assert tokens(paper, cooldown) == 32 * 24 * 24 == 18_432
    config = paper["pretrain"]
    assert config.batch_size == 3072 and config.batch_size * config.steps == 774_144_000
    assert paper["curate"].fps / config.stride == 4


@pytest.mark.parametrize(("gpus", "clips", "passes"), [(128, 24, (1, 4)), (512, 6, (1, 1)), (64, 48, (2, 8))])
def test_its_clips_are_shared_as_the_papers_gpus_share_them(
    gpus: int, clips: int, passes: tuple[int, int], paper: dict[str, Any]
) -> None:
    phases = phases_of(paper["encoder"], paper["pretrain"], World(gpus - 1, gpus, CPU))
    assert [phase.share.clips for phase in phases] == [clips, clips]
    assert tuple(phase.share.passes for phase in phases) == passes
    assert [phase.mask_batch for phase in phases] == [24, 6]


def test_rates_at_the_borders_of_the_phases(paper: dict[str, Any]) -> None:
    config = paper["pretrain"]
    rates = WarmupStableDecay(
        config.steps, config.warmup, config.cooldown, config.learning_rate, config.final_learning_rate,
        config.start_learning_rate,
    )  # fmt: skip
    assert rates.at(0) == pytest.approx(1e-4, rel=1e-3)
    assert rates.at(5_999) == pytest.approx((1e-4 + 5.25e-4) / 2)
    assert [rates.at(step) for step in (11_999, 12_000, 239_999)] == pytest.approx([5.25e-4] * 3)
    assert rates.at(240_000) < 5.25e-4 and rates.at(251_999) == pytest.approx(1e-6)
    assert config.ema == [0.99925, 0.99925] and config.weight_decay == 0.04


@pytest.mark.parametrize("recipe", ["paper", "lab"])
def test_masks_and_augmentation_are_the_papers(recipe: str, request: pytest.FixtureRequest) -> None:
    config = request.getfixturevalue(recipe)["pretrain"]
    assert config.masks == [MaskConfig(8, 0.15, [0.75, 1.5]), MaskConfig(2, 0.7, [0.75, 1.5])]
    assert (config.crop_scale, config.crop_aspect) == ([0.3, 1.0], [0.75, 1.35])
    assert (config.context_weight, config.dimmest, config.still_share) == (0.0, 1.0, 0.0)
    assert config.flip == (recipe == "paper"), "left and right matter to a robot"


def test_as_many_tokens_are_seen_as_in_the_published_code(paper: dict[str, Any]) -> None:
    """Simulated from its rule: 24 % and 5 % of a clip's, 31 % and 10 % in the cooldown."""
    rng = np.random.default_rng(0)
    for phase, wanted in zip(
        phases_of(paper["encoder"], paper["pretrain"], World(0, 128, CPU)), [(0.24, 0.05), (0.31, 0.10)], strict=True
    ):
        side = phase.image_size // 16
        grid = (phase.frames // 2, side, side)
        for mask, share in zip(paper["pretrain"].masks, wanted, strict=True):
            kept = [sample_masks(grid, mask, phase.mask_batch, rng)[0].shape[1] for _ in range(200)]
            assert np.mean(kept) / math.prod(grid) == pytest.approx(share, abs=0.025)


def test_the_world_model_is_trained_as_v_jepa_2_ac(robot: dict[str, Any]) -> None:
    """Sec. 3 and the published configuration: 8 frames at 4 a second, two steps of rollout, 256 tokens a frame."""
    config = robot["posttrain"]
    assert (config.frames, config.rollout, robot["curate"].fps, config.batch_size) == (8, 2, 4, 256)
    with torch.device("meta"):
        assert math.prod(world_model(robot).tokens) == 256
    rates = WarmupStableDecay(
        config.steps, config.warmup, config.cooldown, config.learning_rate, config.final_learning_rate,
        config.start_learning_rate,
    )  # fmt: skip
    assert rates.at(0) == pytest.approx(7.5e-5, rel=2e-3)
    assert [rates.at(step) for step in (4_499, 50_000, 89_999)] == pytest.approx([4.25e-4] * 3)
    assert rates.at(94_499) == 0 and config.steps == 94_500 and config.weight_decay == 0.04
    assert config.engine.clip_norm is None


def test_the_lab_takes_the_released_weights_as_they_are(lab: dict[str, Any]) -> None:
    assert lab["pretrain"].start == "models/vitl.pt" and lab["pretrain"].steps == 0
    assert lab["encoder"].image_size == lab["pretrain"].image_size == 256
    assert lab["pretrain"].engine.processes == lab["posttrain"].engine.processes == 1


def test_the_lab_may_adapt_the_encoder_as_its_head_says(tmp_path: Path) -> None:
    profile = (CONF / "profile/vitl-droid.yaml").read_text()
    steps = ["pretrain.steps=4000", "pretrain.warmup=400", "pretrain.cooldown=800"]
    assert " ".join(steps) in profile
    adapted = params(tmp_path, "profile=vitl-droid", *steps)
    phases = phases_of(adapted["encoder"], adapted["pretrain"], World(0, 1, CPU))
    assert [(phase.frames, phase.image_size) for phase in phases] == [(16, 256), (16, 256)]
