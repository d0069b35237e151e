"""A small training for tests of the loop and its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.training.engines import ENGINE
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import Share, World, whole
from vjepa.training.schedule import WarmupStableDecay, update_ema


class Regression(nn.Module):
    """A network with its loss, and what follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.average = nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The loss of numbers `[B, 3]`, whose first two are asked for."""
        return (self.net(x) - x[:, :2]).square().mean()


class Toy:
    """A regression whose data depend on the step alone; it can be told to die before a step."""

    def __init__(
        self,
        folder: Path,
        identity: object = "a",
        dies_at: int = -1,
        passes: int = 1,
        world: World | None = None,
        steps: int = 20,
        **engine: Any,
    ) -> None:
        torch.manual_seed(0)
        self.objective = Regression()
        self.net, self.average, self.dies_at = self.objective.net, self.objective.average, dies_at
        schedule = WarmupStableDecay(steps=steps, warmup=3, cooldown=5, peak=0.1, final=0.001)
        self.run = Run(
            folder, self.objective, {"net": self.net, "average": self.average}, schedule, 0.1,
            lambda step: Share(8, 0, 8, 8 // passes), replace(ENGINE, **engine), world or World(), identity, 2, 4,
        )  # fmt: skip

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of a pass; the number `hill` is highest at step 6, `rare` is in some rows alone."""
        if step == self.dies_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = self.run.objective(x.chunk(self.run.share(step).passes)[part])
        numbers = {"twice": 2.0 * step, "hill": -abs(step - 6.0)}
        if step in (0, 7, 12):
            numbers["rare"] = float(step % 8)
        return StepResult(loss, lambda: numbers)

    def after_step(self, step: int) -> None:
        """Let the average follow."""
        update_ema(self.average, self.net, 0.9)

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """It never goes wrong."""

    def train(self) -> Toy:
        """Train to the end; gives itself."""
        self.run.train("toy", self)
        return self

    def state(self) -> dict[str, Tensor]:
        """All of its tensors, whole, by name; every process has to ask."""
        return {name: whole(tensor.detach()).clone() for name, tensor in self.run.checkpoints.state.tensors().items()}


def assert_equal(first: Toy, second: Toy) -> None:
    """Bit for bit: networks and optimizer."""
    mine, theirs = first.state(), second.state()
    assert mine.keys() == theirs.keys() and len(mine) > 4
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
