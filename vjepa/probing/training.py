"""The training of one probe on frozen features, by the one training loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.config import EngineConfig, ProbeConfig
from vjepa.nn.attentive import AttentiveProbe
from vjepa.probing.features import Labels
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import Share, World
from vjepa.training.schedule import WarmupStableDecay

PARTS = 10
"""A probe is logged and its state is saved so many times."""


class ProbeObjective(nn.Module):
    """A probe with its loss: cross-entropy for classes, squared error for positions in units of their deviation."""

    def __init__(self, probe: AttentiveProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """The loss of features `[B, N, D]` and their classes `int64 [B]`, or positions `[B, 3]`."""
        loss_of = F.mse_loss if targets.is_floating_point() else F.cross_entropy
        return loss_of(self.probe(features), targets)


class ProbeTraining:
    """One probe and a step of its training.

    Args:
        features: `float16 [M, N, D]`, standardised.
        grid: time steps, rows and columns of the N tokens.
        labels: rows of `features` and their classes, or positions that are already standardised.
        outputs: classes or numbers.
        config: steps, batch and learning rate.
        seed: of the initial weights and the batches.
        folder: of the checkpoints.
        data_identity: what features and labels hang on.

    Attributes:
        probe: learns.
        run: the loop's state.
    """

    def __init__(
        self,
        features: Tensor,
        grid: tuple[int, int, int],
        labels: Labels,
        outputs: int,
        config: ProbeConfig,
        seed: int,
        folder: Path,
        data_identity: Any,
    ) -> None:
        self.features, self.config, self.seed = features, config, seed
        self.rows, self.targets = torch.from_numpy(labels.clips), torch.from_numpy(labels.values)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.probe = AttentiveProbe(grid, features.shape[-1], config.heads, config.depth, outputs)
        warmup, often = config.steps // 10, max(1, config.steps // PARTS)
        self.run = Run(
            folder=folder,
            objective=ProbeObjective(self.probe),
            modules={"probe": self.probe},
            schedule=WarmupStableDecay(config.steps, warmup, config.steps - warmup, config.learning_rate, 0.0),
            weight_decay=config.weight_decay,
            share=lambda step: Share(config.batch_size, 0, config.batch_size, config.batch_size),
            engine=EngineConfig.alone(),
            world=World(device=features.device),
            identity=[seed, config, data_identity],
            log_every=often,
            checkpoint_every=often,
        )

    def fit(self, name: str) -> AttentiveProbe:
        """Train to the end, from the run's checkpoint if it has one; the probe in evaluation mode."""
        self.run.train(name, self)
        return self.probe.eval()

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of a batch."""
        rng = np.random.default_rng((self.seed, step))
        batch = torch.from_numpy(rng.integers(len(self.rows), size=self.config.batch_size))
        return StepResult(self.run.objective(self.features[self.rows[batch]].float(), self.targets[batch]), dict)

    def after_step(self, step: int) -> None:
        """Nothing follows: no teacher learns here."""

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """Nothing is judged: the features are frozen."""
