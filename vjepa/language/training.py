"""The training of one arm's projector, by the one training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from vjepa.config import AlignConfig, EngineConfig
from vjepa.language.align import Arm, QuestionSet
from vjepa.language.language_model import FrozenLanguageModel
from vjepa.language.questions import balanced_rows
from vjepa.nn.projector import Projector
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import Share, World
from vjepa.training.schedule import WarmupStableDecay

STATISTICS_CLIPS = 256  # training clips from which the tokens' mean and deviation are taken
WEIGHT_DECAY = 0.01
BETAS = (0.9, 0.98)
MAX_GRADIENT = 1.0
PARTS = 10
"""An arm is logged and its state is saved so many times."""


class AnswerObjective(nn.Module):
    """A projector with the frozen language model's loss; that model is no part of the state."""

    def __init__(self, projector: Projector, model: FrozenLanguageModel) -> None:
        super().__init__()
        self.projector, self.loss = projector, model.loss

    def forward(self, tokens: Tensor, prompt: str, answers: Sequence[str]) -> Tensor:
        """See `FrozenLanguageModel.loss`; tokens are `[B, N, D]`."""
        return self.loss(prompt, self.projector(tokens), answers)


class ArmTraining:
    """One arm and a step of its training: one kind of question a step in turn, answers balanced within each.

    Args:
        model: the language model.
        arm: its projector learns.
        questions: of the training episodes.
        config: everything else.
        seed: of the batches.
        folder: of the checkpoints.
        data_identity: what the arm's encoder and the data are.
    """

    def __init__(
        self,
        model: FrozenLanguageModel,
        arm: Arm,
        questions: QuestionSet,
        config: AlignConfig,
        seed: int,
        folder: Path,
        data_identity: Any,
    ) -> None:
        self.arm, self.questions, self.config, self.seed = arm, questions, config, seed
        self.kinds = questions.open_kinds()
        if arm.encoder is not None:
            rows = np.random.default_rng(seed).integers(len(questions.clips), size=STATISTICS_CLIPS)
            arm.projector.fit_statistics(arm.tokens(questions.frames(rows)))
        cooldown, often = (config.steps - config.warmup) // 2, max(1, config.steps // PARTS)
        self.run = Run(
            folder=folder,
            objective=AnswerObjective(arm.projector, model),
            modules={"projector": arm.projector},
            schedule=WarmupStableDecay(config.steps, config.warmup, cooldown, config.learning_rate, 0.0),
            weight_decay=WEIGHT_DECAY,
            share=lambda step: Share(config.batch_size, 0, config.batch_size, config.batch_size),
            engine=EngineConfig.alone(clip_norm=MAX_GRADIENT),
            world=World(device=arm.projector.token_mean.device),
            identity=[seed, config, data_identity],
            log_every=often,
            checkpoint_every=often,
            betas=BETAS,
        )

    def train(self, name: str) -> None:
        """Train to the end, from the run's checkpoint if it has one."""
        self.run.train(name, self)

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of a batch of one kind of question."""
        kind = self.kinds[step % len(self.kinds)]
        rows = balanced_rows(kind, self.config.batch_size, np.random.default_rng((self.seed, step)))
        with self.run.waiting():
            frames = self.questions.frames(rows)
        return StepResult(self.run.objective(self.arm.tokens(frames), kind.prompt, kind.answers[rows].tolist()), dict)

    def after_step(self, step: int) -> None:
        """Nothing follows: no teacher learns here."""

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """Nothing is judged: what the projector is given is frozen."""
