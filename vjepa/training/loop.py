"""The training loop that pretraining and post-training share: schedule, log, checkpoints and exact resume.

Everything random in a step is drawn from its number (`ClipDraws`, `sample_masks`), so the state of a run is its
tensors, its step and its log. A checkpoint holds just that, and a run that was killed goes on as if it never was. The
last two are kept: one that was damaged on the disk costs the steps since the one before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from vjepa.errors import UserError
from vjepa.files import write_with
from vjepa.training.schedule import WarmupStableDecay

KEPT = 2
"""Checkpoints that stay."""
GRACE_S = 1.0
"""Within which a signal that ended a worker process reaches this one."""


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

    def checkpoints(self) -> list[Path]:
        """The files that this run could go on from, the newest first: named by their step and the run's identity."""
        return sorted(self.folder.glob(f"step-*-{self.fingerprint[:8]}.pt"), reverse=True)

    def save(self) -> None:
        """Write a checkpoint; old ones go once it is whole.

        Raises:
            UserError: it can't be written; those that are there stay as they are.
        """
        path = self.folder / f"step-{self.step:08d}-{self.fingerprint[:8]}.pt"
        state = {
            "step": self.step,
            "log": self.log,
            "optimizer": self.optimizer.state_dict(),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        try:
            write_with(path, lambda temporary: torch.save(state, temporary))
        except RuntimeError as error:  # how torch reports a disk that is full
            free = shutil.disk_usage(self.folder).free / 1e6
            reason = str(error).splitlines()[0]
            raise UserError(f"can't write {path}: disk full? {free:.0f} MB are free ({reason})") from error
        kept = self.checkpoints()[:KEPT]
        for old in self.folder.glob(
            "step-*.pt"
        ):  # those of a run with other settings, too: this one has taken its place
            if old not in kept:
                old.unlink()

    def resume(self, say: Callable[[str], None]) -> bool:
        """Continue from the newest whole checkpoint of this very run; whether there was one.

        Args:
            say: is told where the run goes on, and what is not used.

        Raises:
            UserError: there are checkpoints, and all of them are damaged.
        """
        files = self.checkpoints()
        reason: Exception | None = None
        for path in files:
            try:
                state = torch.load(path, weights_only=True)
            except Exception as error:
                say(f"{path} is damaged and not used: {' '.join(str(error).split())[:200]}")
                reason = error
                continue
            self.step, self.log = state["step"], state["log"]
            self.optimizer.load_state_dict(state["optimizer"])
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            say(f"resumed at step {self.step} from {path}")
            return True
        if reason is not None:
            raise UserError(f"all checkpoints in {self.folder} are damaged; delete them to start anew") from reason
        if list(self.folder.glob("step-*.pt")):
            say(f"the checkpoints in {self.folder} are of other settings or data; starting anew")
        return False

    def train(self, name: str, take_step: Callable[[int], StepResult], after_step: Callable[[int], None]) -> None:
        """Run until the schedule ends.

        Args:
            name: what the progress bar says.
            take_step: gives the loss of a step; the loop does the rest.
            after_step: called after the optimizer's step (the EMA update belongs here).

        Raises:
            UserError: the loss is not finite, a checkpoint can't be written or read, or the system asked the process to
                end (SIGTERM, as before a pre-emption), after a checkpoint.
        """
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, TextColumn("{task.fields[note]}")) as progress, termination() as asked_to_end:
            self.resume(lambda said: progress.console.print(f"{name}: {said}", soft_wrap=True))
            bar = progress.add_task(name, total=self.schedule.steps, completed=self.step, note="")
            while self.step < self.schedule.steps:
                try:
                    self._advance(take_step, after_step)
                except BrokenProcessPool:  # a signal to the whole group ends those that read before it ends us
                    time.sleep(GRACE_S)
                    if not asked_to_end():
                        raise
                note = f"loss {self.log[-1]['loss']:.4f}" if self.log else ""
                progress.update(bar, completed=self.step, note=note)
                if self.step % self.checkpoint_every == 0 or asked_to_end():
                    self.save()
                if asked_to_end():
                    raise UserError(
                        f"{name} was asked to end at step {self.step} of {self.schedule.steps} and saved its state: "
                        "start it again to go on"
                    )

    def _advance(self, take_step: Callable[[int], StepResult], after_step: Callable[[int], None]) -> None:
        rate = self.schedule.at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        result = take_step(self.step)
        require_finite(result.loss, self.step)
        logged = self.step % self.log_every == 0 or self.step == self.schedule.steps - 1
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        norms = {}
        if logged:
            norms = self._step_with_norms()
        else:
            self.optimizer.step()
        after_step(self.step)
        if logged:
            numbers = {"loss": result.loss.item(), "learning_rate": rate, **norms, **result.monitors()}
            self.log.append({"step": self.step, **numbers})
        self.step += 1

    def _step_with_norms(self) -> dict[str, float]:
        """The optimizer's step, and the length of the gradient and of what it changed."""
        learned = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradient = get_total_norm([p.grad for p in learned if p.grad is not None])
        before = [p.detach().clone() for p in learned]
        self.optimizer.step()
        update = get_total_norm([p.detach() - old for p, old in zip(learned, before, strict=True)])
        return {"gradient_norm": gradient.item(), "update_norm": update.item()}

    def finish(self, log_path: Path) -> None:
        """Write the log as csv and delete the checkpoints: call it once the finished model is safely on disk."""
        table = pd.DataFrame(self.log)
        write_with(log_path, lambda path: table.to_csv(path, index=False))
        for path in self.checkpoints():
            path.unlink()


@contextmanager
def termination() -> Iterator[Callable[[], bool]]:
    """While this lasts SIGTERM ends nothing; gives a function that says whether it came."""
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, before)


def require_finite(loss: Tensor, step: int) -> None:
    """Stop before a loss that is no number reaches the weights.

    Raises:
        UserError: it is infinite or NaN.
    """
    if not torch.isfinite(loss):
        raise UserError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
