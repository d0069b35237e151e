"""Learning rate and EMA momentum as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class WarmupStableDecay:
    """Linear warmup from `start`, constant at `peak`, linear cooldown to `final` (paper, sec. 2.2)."""

    steps: int
    warmup: int
    cooldown: int
    peak: float
    final: float
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup + self.cooldown > self.steps:
            raise ValueError(f"warmup {self.warmup} and cooldown {self.cooldown} exceed {self.steps} steps")

    def at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        if step < self.warmup:
            return self.start + (self.peak - self.start) * (step + 1) / self.warmup
        left = self.steps - 1 - step
        if left >= self.cooldown:
            return self.peak
        return self.final + (self.peak - self.final) * left / self.cooldown


def linear(start: float, end: float, step: int, steps: int) -> float:
    """From `start` at step 0 to `end` at the last step."""
    return start + (end - start) * step / max(steps - 1, 1)


@torch.no_grad()
def update_ema(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move every parameter of the target: target = momentum * target + (1 - momentum) * online, after the step."""
    for mine, theirs in zip(target.parameters(), online.parameters(), strict=True):
        mine.lerp_(theirs, 1 - momentum)


def parameter_groups(modules: list[nn.Module], weight_decay: float) -> list[dict]:
    """AdamW's groups: biases and vectors are not decayed, everything else is."""
    parameters = [(name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad]
    plain = [p for name, p in parameters if p.ndim == 1 or "bias" in name]
    decayed = [p for name, p in parameters if not (p.ndim == 1 or "bias" in name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
