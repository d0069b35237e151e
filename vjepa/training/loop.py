"""The training loop that pretraining and post-training share: schedule, log, checkpoints and exact resume.

Everything random in a step is drawn from its number (`ClipDraws`, `sample_masks`), so the state of a run is its
tensors, its step and its log. A checkpoint holds just that, and a run that was killed goes on as if it never was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from vjepa.errors import UserError
from vjepa.files import write_with
from vjepa.training.schedule import WarmupStableDecay

CHECKPOINT = "checkpoint.pt"


@dataclass
class StepResult:
    """What one step gives the loop: the loss to descend, and a function for numbers that are costly and only logged."""

    loss: Tensor
    monitors: Callable[[], dict[str, float]]


@dataclass
class Run:
    """One training run.

    Attributes:
        folder: where checkpoints live; not an output of any stage, since those are deleted before it starts.
        modules: every network whose tensors belong to the run's state, by name.
        optimizer: over the parameters that learn.
        schedule: learning rate by step.
        identity: what the run depends on (settings, hash of the data): a checkpoint of another identity is not used.
        log_every: steps between two rows of the log.
        checkpoint_every: steps between two checkpoints.
    """

    folder: Path
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    schedule: WarmupStableDecay
    identity: Any
    log_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        self.step = 0
        self.log: list[dict[str, float]] = []
        text = json.dumps(self.identity, sort_keys=True, default=vars)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    @property
    def checkpoint(self) -> Path:
        """The file that the run resumes from."""
        return self.folder / CHECKPOINT

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "log": self.log,
            "optimizer": self.optimizer.state_dict(),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        try:
            write_with(self.checkpoint, lambda path: torch.save(state, path))
        except RuntimeError as error:  # how torch reports a disk that is full
            free = shutil.disk_usage(self.folder).free / 1e6
            reason = str(error).splitlines()[0]
            raise UserError(f"can't write {self.checkpoint}: disk full? {free:.0f} MB are free ({reason})") from error

    def resume(self) -> bool:
        """Continue from the checkpoint if there is one of this very run; says whether it did."""
        if not self.checkpoint.exists():
            return False
        try:
            state = torch.load(self.checkpoint, weights_only=True)
        except Exception as error:
            raise UserError(f"{self.checkpoint} is damaged; delete it to start anew: {error}") from error
        if state["fingerprint"] != self.fingerprint:
            return False
        self.step, self.log = state["step"], state["log"]
        self.optimizer.load_state_dict(state["optimizer"])
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        return True

    def train(self, name: str, take_step: Callable[[int], StepResult], after_step: Callable[[int], None]) -> None:
        """Run until the schedule ends.

        Args:
            name: what the progress bar says.
            take_step: gives the loss of a step; the loop does the rest.
            after_step: called after the optimizer's step (the EMA update belongs here).

        Raises:
            UserError: the loss is not finite, or the checkpoint can't be written.
        """
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, TextColumn("{task.fields[note]}")) as progress:
            found = self.checkpoint.exists()
            resumed = f"resumed at step {self.step}" if self.resume() else ""
            if resumed:
                progress.console.print(f"{name}: {resumed} from {self.checkpoint}")
            elif found:
                progress.console.print(f"{name}: {self.checkpoint} is of other settings or data; starting anew")
            bar = progress.add_task(name, total=self.schedule.steps, completed=self.step, note=resumed)
            while self.step < self.schedule.steps:
                self._advance(take_step, after_step)
                note = f"loss {self.log[-1]['loss']:.4f}" if self.log else ""
                progress.update(bar, completed=self.step, note=note)
                if self.step % self.checkpoint_every == 0:
                    self.save()

    def _advance(self, take_step: Callable[[int], StepResult], after_step: Callable[[int], None]) -> None:
        rate = self.schedule.at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        result = take_step(self.step)
        require_finite(result.loss, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        self.optimizer.step()
        after_step(self.step)
        if self.step % self.log_every == 0 or self.step == self.schedule.steps - 1:
            numbers = {"loss": result.loss.item(), "learning_rate": rate, **result.monitors()}
            self.log.append({"step": self.step, **numbers})
        self.step += 1

    def finish(self, log_path: Path) -> None:
        """Write the log as csv and delete the checkpoint: call it once the finished model is safely on disk."""
        table = pd.DataFrame(self.log)
        write_with(log_path, lambda path: table.to_csv(path, index=False))
        self.checkpoint.unlink(missing_ok=True)


def require_finite(loss: Tensor, step: int) -> None:
    """Stop before a loss that is no number reaches the weights.

    Raises:
        UserError: it is infinite or NaN.
    """
    if not torch.isfinite(loss):
        raise UserError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
