"""A training run that dies on its way, for tests of what is left to go on from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vjepa.training.loop import Run, StepResult


def train_until_killed(
    run: Run, take_step: Callable[[int], StepResult], after_step: Callable[[int], None], at: int
) -> None:
    """Train `run` and let it die before it takes the step `at`."""

    def die(step: int) -> StepResult:
        if step == at:
            raise KeyboardInterrupt
        return take_step(step)

    with pytest.raises(KeyboardInterrupt):
        run.train("killed", die, after_step)
