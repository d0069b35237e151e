"""A run's checkpoints: written whole or not at all, found again by step and identity, read with what is damaged named.

The last two are kept: one that was damaged on the disk costs the steps since the one before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vjepa.errors import UserError
from vjepa.files import write_with

KEPT = 2
"""Checkpoints that stay."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: steps that were taken.
        log: its rows.
    """

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)


class Checkpoints:
    """Those of one run.

    Args:
        folder: where they live; not an output of any stage, since those are deleted before it starts.
        fingerprint: of what the run depends on, in hexadecimal: a checkpoint of another one is not used.
        modules: every network whose tensors belong to the run's state, by name.
        optimizer: over the parameters that learn.
    """

    def __init__(
        self, folder: Path, fingerprint: str, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
    ) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.modules, self.optimizer = modules, optimizer

    def files(self) -> list[Path]:
        """Those that the run could go on from, the newest first: named by their step and the run's identity."""
        return sorted(self.folder.glob(f"step-*-{self.fingerprint[:8]}.pt"), reverse=True)

    def save(self, progress: Progress) -> None:
        """Write one; old ones go once it is whole.

        Raises:
            UserError: it can't be written; those that are there stay as they are.
        """
        path = self.folder / f"step-{progress.step:08d}-{self.fingerprint[:8]}.pt"
        state = {
            "step": progress.step,
            "log": progress.log,
            "optimizer": self.optimizer.state_dict(),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        try:
            write_with(path, lambda temporary: torch.save(state, temporary))
        except RuntimeError as error:  # how torch reports a disk that is full
            free = shutil.disk_usage(self.folder).free / 1e6
            reason = str(error).splitlines()[0]
            raise UserError(f"can't write {path}: disk full? {free:.0f} MB are free ({reason})") from error
        kept = self.files()[:KEPT]
        for old in self.folder.glob(
            "step-*.pt"
        ):  # those of a run with other settings, too: this one has taken its place
            if old not in kept:
                old.unlink()

    def load(self, say: Callable[[str], None]) -> Progress | None:
        """Read the newest whole one into the networks and the optimizer; None if there is none of this very run.

        Args:
            say: is told where the run goes on, and what is not used.

        Raises:
            UserError: there are checkpoints, and all of them are damaged.
        """
        reason: Exception | None = None
        for path in self.files():
            try:
                state = torch.load(path, weights_only=True)
            except Exception as error:
                say(f"{path} is damaged and not used: {' '.join(str(error).split())[:200]}")
                reason = error
                continue
            self.optimizer.load_state_dict(state["optimizer"])
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            say(f"resumed at step {state['step']} from {path}")
            return Progress(state["step"], state["log"])
        if reason is not None:
            raise UserError(f"all checkpoints in {self.folder} are damaged; delete them to start anew") from reason
        if list(self.folder.glob("step-*.pt")):
            say(f"the checkpoints in {self.folder} are of other settings or data; starting anew")
        return None

    def delete(self) -> None:
        """Remove them all: call it once the finished model is safely on disk."""
        for path in self.files():
            path.unlink()
