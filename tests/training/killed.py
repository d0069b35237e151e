"""A training run that dies on its way, for tests of what is left to go on from."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from vjepa.training.loop import Run, StepResult, Training


def train_until_killed(run: Run, training: Training, at: int) -> None:
    """Train `run` and let it die before it takes the step `at`."""
    take_step = training.take_step

    def die(step: int, part: int) -> StepResult:
        if step == at:
            raise KeyboardInterrupt
        return take_step(step, part)

    with patch.object(training, "take_step", die), pytest.raises(KeyboardInterrupt):
        run.train("killed", training)
