"""The training loop of pretraining, post-training and probes: schedule, passes of a step, log, exact resume.

Everything random in a step is drawn from its number (`ClipDraws`, `sample_masks`), so the state of a run is its
tensors, its step and its log. A checkpoint holds just that, and a run that was killed goes on as if it never was.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from vjepa.config import EngineConfig
from vjepa.errors import UserError
from vjepa.files import write_with
from vjepa.training import checkpoint, loggers
from vjepa.training.checkpoint import Checkpoints
from vjepa.training.display import Display, numbers
from vjepa.training.pace import Pace
from vjepa.training.parallel import Share, Spread, World, whole
from vjepa.training.schedule import WarmupStableDecay, parameter_groups
from vjepa.training.state import RunState

GRACE_S = 1.0
"""Within which a signal that ended a worker process reaches this one."""


@dataclass
class StepResult:
    """What one pass gives the loop: the loss to descend, and a function for numbers that are costly and only logged."""

    loss: Tensor
    monitors: Callable[[], dict[str, float]]


class Training(Protocol):
    """What a run is told of what it trains."""

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of one of a step's passes, by `Run.objective`."""

    def after_step(self, step: int) -> None:
        """What follows the optimizer's step: the EMA update."""

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """End the run by a `UserError` where the logged numbers show that it has gone wrong."""


class Run:
    """One training run.

    Args:
        folder: where checkpoints live; not an output of any stage, since those are deleted before it starts.
        objective: the networks and their loss.
        modules: every network whose tensors belong to the run's state, by name.
        schedule: learning rate by step.
        weight_decay: of AdamW.
        share: by the number of a step, its clips and its passes, whose gradients are added up.
        engine: how it runs.
        world: the processes that train together.
        identity: what the run depends on (settings, hash of the data): a checkpoint of another identity is not used.
        log_every: steps between two rows of the log.
        checkpoint_every: steps between two checkpoints.
        partly_used: whether some weights get no gradient in some steps.
        betas: of AdamW.

    Attributes:
        objective: what a pass calls: the objective, spread over the processes.
        step: steps that were taken.
        log: its rows, alike in all processes.
    """

    def __init__(
        self,
        folder: Path,
        objective: nn.Module,
        modules: Mapping[str, nn.Module],
        schedule: WarmupStableDecay,
        weight_decay: float,
        share: Callable[[int], Share],
        engine: EngineConfig,
        world: World,
        identity: Any,
        log_every: int,
        checkpoint_every: int,
        partly_used: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.schedule, self.share, self.engine, self.world = schedule, share, engine, world
        self._pace = Pace(share(0).total)
        self.log_every, self.checkpoint_every = log_every, checkpoint_every
        self._spread = Spread(objective, engine, world, partly_used)
        self.objective = self._spread.call
        self.optimizer = torch.optim.AdamW(parameter_groups([objective], weight_decay), betas=betas)
        text = json.dumps([engine.identity(), identity], sort_keys=True, default=vars)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        state = RunState(modules, objective, self.optimizer)
        self.checkpoints = Checkpoints(folder, fingerprint, state, world, engine.best)
        self.step = 0
        self.log: list[dict[str, float]] = []

    def train(self, name: str, training: Training) -> None:
        """Run until the schedule ends, from the newest checkpoint of this very run if there is one.

        Args:
            name: what it is called where it is shown.
            training: what is trained.

        Raises:
            UserError: the loss is not finite, a checkpoint can't be written or read, or the system asked a process to
                end (SIGTERM, as before a pre-emption), after a checkpoint; or a logger's package is missing.
        """
        with ExitStack() as stack:
            asked_to_end = stack.enter_context(termination())
            display = stack.enter_context(Display(name, self.schedule.steps, self.world.leads))
            stack.enter_context(self.checkpoints.writing())
            found = self.checkpoints.load(display.say)
            if found is not None:
                self.step, self.log = found.step, found.log
            display.begin(self.step, self.log)
            kinds = self.engine.loggers if self.world.leads else []
            keep = stack.enter_context(loggers.opened(kinds, self.checkpoints.folder, self.step))
            self._pace.begin()
            while self.step < self.schedule.steps:
                rows = len(self.log)
                try:
                    self.advance(training)
                except BrokenProcessPool:  # a signal to the whole group ends those that read before it ends us
                    time.sleep(GRACE_S)
                    if not asked_to_end():
                        raise
                self._pace.step()
                display.at(self.step)
                if len(self.log) > rows:
                    row = {**self.log[-1], **self._pace.lately()}
                    display.show(row)
                    keep(row)
                ending = self.world.any(asked_to_end())
                due = self.step % self.checkpoint_every == 0 or ending
                self.checkpoints.save(checkpoint.Progress(self.step, self.log), due)
                if ending:
                    self.checkpoints.wait()
                    raise UserError(
                        f"{name} was asked to end at step {self.step} of {self.schedule.steps} and saved its state: "
                        "start it again to go on"
                    )
            display.say(f"ended: {numbers(self._pace.overall())}")

    def waiting(self) -> AbstractContextManager[None]:
        """A pass gets its data in here, so that the time it waits for them is known."""
        return self._pace.waiting()

    def advance(self, training: Training) -> None:
        """Take one step: its passes, the optimizer's step, what follows it, and a row of the log when it is due."""
        rate = self.schedule.at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        logged = self.step % self.log_every == 0 or self.step == self.schedule.steps - 1
        self.optimizer.zero_grad(set_to_none=True)
        loss, passes = 0.0, self.share(self.step).passes
        for part in range(passes):
            with self._spread.accumulating(part == passes - 1):
                with self._spread.precision():
                    result = training.take_step(self.step, part)
                (result.loss / passes).backward()
            loss += result.loss.item() / passes
        [loss] = self.world.mean([loss])
        require_finite("loss", loss, self.step)
        gradients = [p.grad for p in self._learned() if p.grad is not None]
        require_finite("length of the gradient", whole(get_total_norm(gradients)).item(), self.step)
        if self.engine.clip_norm is not None:
            clip_grad_norm_(self.objective.parameters(), self.engine.clip_norm)
        norms = self._step_with_norms() if logged else {}
        if not logged:
            self.optimizer.step()
        training.after_step(self.step)
        if logged:
            found = result.monitors()
            numbers = dict(zip(found, self.world.mean(list(found.values())), strict=True))
            self.log.append({"step": self.step, "loss": loss, "learning_rate": rate, **norms, **numbers})
            training.judge(self.step, self.log[-1])
        self.step += 1

    def _learned(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def _step_with_norms(self) -> dict[str, float]:
        """The optimizer's step, and the length of the gradient and of what it changed."""
        learned = self._learned()
        gradient = get_total_norm([p.grad for p in learned if p.grad is not None])
        before = [p.detach().clone() for p in learned]
        self.optimizer.step()
        update = get_total_norm([p.detach() - old for p, old in zip(learned, before, strict=True)])
        return {"gradient_norm": whole(gradient).item(), "update_norm": whole(update).item()}

    def load_best(self) -> Path:
        """Bring back the state of the row of the log that is the best by `engine.best`; where it is kept.

        Raises:
            UserError: see `Checkpoints.load_best`.
        """
        return self.checkpoints.load_best(checkpoint.Progress(self.step, self.log))

    def finish(self, log_path: Path) -> None:
        """Write the log as csv and delete the checkpoints but the best: once the finished model is safely on disk."""
        table = pd.DataFrame(self.log or {"step": [], "loss": []})  # of no steps
        write_with(log_path, lambda path: table.to_csv(path, index=False))
        progress = checkpoint.Progress(self.step, self.log)
        self.checkpoints.delete(progress)
        where = self.checkpoints.best_path(progress)
        if where is not None and where.exists():
            Console(soft_wrap=True).print(f"the best state by {self.engine.best} stays in {where}")


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


def require_finite(what: str, value: float, step: int) -> None:
    """Stop before a number that is none reaches the weights.

    Raises:
        UserError: it is infinite or NaN.
    """
    if not math.isfinite(value):
        raise UserError(f"the {what} is {value} at step {step}: lower the learning rate")
