"""Trainings of 200 steps for a process that a test may kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.posttraining.test_posttrain import CONFIG, light_episodes
from tests.pretraining.test_watch import training as pretraining
from vjepa.nn.encoder import VisionTransformer
from vjepa.posttraining.posttrain import Posttraining
from vjepa.pretraining.pretrain import Pretraining
from vjepa.training.loop import StepResult

STEPS = 200


def train(kind: str, folder: Path, out: Path, told: Any) -> None:
    """Train, from the last checkpoint in `folder` if there is one, and write into `out` what it has come to.

    Args:
        kind: `pretrain`, with a process that reads its data, or `posttrain`.
        folder: of the run.
        out: a file that is there once the run has ended.
        told: a shared number, which is the step that is being taken.
    """
    torch.set_num_threads(1)
    run: Pretraining | Posttraining
    if kind == "pretrain":
        run = pretraining(folder, ema=0.99, steps=STEPS, workers=1)
    else:
        torch.manual_seed(0)
        encoder = VisionTransformer(image_size=16, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
        config = replace(CONFIG, steps=STEPS, checkpoint_every=20)
        run = Posttraining(encoder.eval().requires_grad_(False), light_episodes(8), config, 0, folder, "data")
    run.take_step = telling(run.take_step, told)  # type: ignore[method-assign]
    run.train()
    torch.save({"tensors": run.run.checkpoints.state.tensors(), "log": run.run.log}, out)


def telling(take_step: Callable[[int, int], StepResult], told: Any) -> Callable[[int, int], StepResult]:
    """The same, told before it is done."""

    def take(step: int, part: int) -> StepResult:
        told.value = step
        return take_step(step, part)

    return take
