"""Small trainings for processes that train together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.posttraining.test_posttrain import CONFIG, light_episodes
from tests.probing.moving_square import moving_squares
from tests.training.engines import ENGINE
from vjepa.config import CollapseConfig, EncoderConfig, MaskConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.posttraining.posttrain import Posttraining
from vjepa.pretraining.pretrain import Pretraining
from vjepa.training.loop import StepResult
from vjepa.training.parallel import World, joined, whole

STEPS = 50
PRETRAIN = PretrainConfig(
    start=None, predict="latents", episodes_share=1.0,
    frames=4, image_size=16, cooldown_frames=4, stride=1, still_share=0.5, dimmest=0.5,
    crop_scale=[0.5, 1.0], crop_aspect=[0.75, 1.35], flip=True, shard_window=0, workers=0, kept_mb=0, batch_size=8,
    mask_batch=4, cooldown_mask_batch=4, cooldown_micro_batch=0, steps=STEPS, warmup=5, cooldown=20,
    start_learning_rate=0.0, learning_rate=3e-3, final_learning_rate=1e-5, weight_decay=0.04, ema=[0.99, 0.999],
    predictor_width=16, predictor_depth=1, predictor_heads=2, predictor_mlp_ratio=4.0,
    masks=[MaskConfig(2, 0.3, [0.75, 1.5])], context_weight=0.5, context_head=False,
    collapse=CollapseConfig(10_000, 0.0, 0.0, 1.0), readout_every=25, log_every=5,
    checkpoint_every=20, keep="last", engine=ENGINE,
)  # fmt: skip
POSTTRAIN = replace(CONFIG, steps=STEPS, warmup=5, cooldown=20, log_every=5, checkpoint_every=20, batch_size=8)


def pretraining(folder: Path, world: World, engine: dict[str, Any], **settings: Any) -> Pretraining:
    encoder = EncoderConfig(16, 4, 2, 32, 2, 2, 4.0, settings.pop("tiled_rope", True), [], False)
    if settings.pop("images", False):
        encoder = replace(encoder, image_patches=True)
    config = replace(PRETRAIN, engine=replace(ENGINE, **engine), **settings)
    return Pretraining(LoadedEpisodes(moving_squares(24)), encoder, config, 0, folder, "data", world)


def posttraining(folder: Path, world: World, engine: dict[str, Any], **settings: Any) -> Posttraining:
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
    config = replace(POSTTRAIN, engine=replace(ENGINE, **engine), **settings)
    encoder.eval().requires_grad_(False)
    return Posttraining(encoder, light_episodes(8), config, 0, folder, "data", world)


def failing(folder: Path, world: World, engine: dict[str, Any], how: str) -> Posttraining:
    """A post-training in whose second process alone something happens at step 6."""
    training = posttraining(folder, world, engine)
    take_step = training.take_step

    def take(step: int, part: int) -> StepResult:
        result = take_step(step, part)
        if step == 6 and world.rank == 1:
            if how == "asked to end":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                result.loss = result.loss * float("nan")
        return result

    training.take_step = take  # type: ignore[method-assign]
    return training


def train(make: Callable[..., Any], folder: Path, engine: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Train in this process, or its share with the others; what came out, the same in all of them."""
    torch.set_num_threads(1)
    with joined() as world:
        training = make(folder, world, engine, **settings)
        training.train()
        state = {
            name: whole(tensor.detach()).clone() for name, tensor in training.run.checkpoints.state.tensors().items()
        }
        return {"log": training.run.log, "state": state}


def one_of(
    rank: int, size: int, port: int, out: Path, make: Callable[..., Any], *arguments: Any, **settings: Any
) -> None:
    """The process `rank` of `size`, as `torchrun` would start it; what came out of it is written to `out`."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    try:
        torch.save(train(make, *arguments, **settings), out / f"{rank}.pt")
    except UserError as error:
        (out / f"{rank}.txt").write_text(str(error))
