"""A run's checkpoints: written whole or not at all while training goes on, found again by step and identity.

The last two are kept: one that was damaged on the disk costs the steps since the one before. So is the best by a number
of the log, if one is named.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from vjepa.errors import UserError
from vjepa.files import atomic_directory, clear_left, remove_directory
from vjepa.training.parallel import World
from vjepa.training.state import RunState
from vjepa.training.storage import DamagedError, read_about, write_tensors

KEPT = 2
"""Checkpoints that stay."""

T = TypeVar("T")


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: steps that were taken.
        log: its rows.
    """

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)

    def best(self, number: str) -> int | None:
        """Steps that had been taken at the row with the highest value of a number; None if no row has one.

        Args:
            number: its name; with a `-` before it the lowest is the best.
        """
        name, sign = number.removeprefix("-"), -1 if number.startswith("-") else 1
        rows = [row for row in self.log if math.isfinite(row.get(name, math.nan))]
        found = max(rows, key=lambda row: sign * row[name], default=None)
        return None if found is None else int(found["step"]) + 1


class Checkpoints:
    """Those of one run.

    A checkpoint is a folder of safetensors (see `vjepa.training.storage`), and loads bit for bit under other numbers of
    processes and another strategy than those it was written under. A thread writes it while training goes on, from a
    copy of the state in the main memory, of which each process holds its own part and which is the memory it costs.
    All processes have to see the same folder.

    A write that is refused, as by a full disk, ends the run at the next checkpoint, with those before it intact. A file
    that was cut or changed costs the steps since the checkpoint before.

    Args:
        folder: where they live; not an output of any stage, since those are deleted before it starts.
        fingerprint: of what the run depends on, in hexadecimal: a checkpoint of another one is not used.
        state: what they hold.
        world: the processes that train together.
        best: see `Progress.best`; None: no best one is kept.
    """

    def __init__(self, folder: Path, fingerprint: str, state: RunState, world: World, best: str | None) -> None:
        self.folder, self.fingerprint, self.state, self.world, self.best = folder, fingerprint, state, world, best
        # of its own, since the thread that writes talks while training does
        self._group = dist.new_group(backend="gloo") if world.size > 1 else None
        self._stager = DefaultStager(StagingOptions(False, False, False, False))
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def files(self) -> list[Path]:
        """Those that the run could go on from, the newest first: named by their step and the run's identity."""
        return sorted(self.folder.glob(f"step-*-{self.fingerprint[:8]}"), reverse=True)

    def path(self, kind: str, step: int) -> Path:
        """Where the state after a step is kept; the kind is `step` or `best`."""
        return self.folder / f"{kind}-{step:08d}-{self.fingerprint[:8]}"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Whatever ends this, what is being written is written first.

        Raises:
            UserError: it can't be written; where another error ended this, that one is told of it.
        """
        try:
            yield
        except BaseException as error:
            try:
                self.wait()
            except UserError as refused:
                error.add_note(str(refused))
            raise
        self.wait()

    def wait(self) -> None:
        """Until what is being written is written.

        Raises:
            UserError: it can't be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def save(self, progress: Progress, due: bool) -> None:
        """Begin to write the state if it is due or the best so far; old ones go once it is whole.

        Raises:
            UserError: the one before can't be written, those that are there stay as they are; or no number of the log
                has the name by which the best is chosen.
        """
        kinds = ["step"] if due else []
        if self.best is not None and progress.log and progress.log[-1]["step"] == progress.step - 1:
            self._require_known(self.best, progress.log[0])
            if progress.best(self.best) == progress.step:
                kinds.insert(0, "best")  # before the log that a run goes on with calls it the best
        if not kinds:
            return
        self.wait()
        staged = self._stager.stage(self.state.tensors())
        assert isinstance(staged, dict)  # a promise of one is given where it was asked for
        about = json.dumps(asdict(progress) | {"fingerprint": self.fingerprint})
        first, *others = [self.path(kind, progress.step) for kind in kinds]
        done = partial(self._settle, first, others)
        self._writing = self._thread.submit(write_tensors, first, staged, about, done, self._group)

    def load(self, say: Callable[[str], None]) -> Progress | None:
        """Read the newest whole one into the networks and the optimizer; None if there is none of this very run.

        Args:
            say: is told where the run goes on, and what is not used.

        Raises:
            UserError: there are checkpoints, and all of them are damaged; or one does not fit the networks.
        """
        found = self._led(lambda: self._newest(say))
        if found is None:
            return None
        path, progress = found
        self.state.read(path, self._group)
        if self.world.leads:
            say(f"resumed at step {progress.step} from {path}")
        return progress

    def load_best(self, progress: Progress) -> Path:
        """Read the best state into the networks and the optimizer; where it is.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = self.best_path(progress)
        if path is None:
            raise UserError(f"no row of the log has the number by which the best is chosen, engine.best {self.best}")

        def check() -> None:
            try:
                read_about(path)
            except DamagedError as error:
                raise UserError(f"the best state, {path}, can't be used: {error}") from error

        self._led(check)
        self.state.read(path, self._group)
        return path

    def best_path(self, progress: Progress) -> Path | None:
        """Where the best state is; None where no row of the log has the number by which it is chosen."""
        step = None if self.best is None else progress.best(self.best)
        return None if step is None else self.path("best", step)

    def delete(self, progress: Progress) -> None:
        """Remove all but the best: call it once the finished model is safely on disk."""
        old = list(reversed(self.files()))
        if self.best is not None:
            old += [path for path in self.folder.glob("best-*") if path != self.best_path(progress)]
        for path in old:
            remove_directory(path)

    def _require_known(self, best: str, row: dict[str, float]) -> None:
        if best.removeprefix("-") not in row:
            known = ", ".join(name for name in row if name != "step")
            raise UserError(f"engine.best {best} is no number of the log, which has {known}")

    def _newest(self, say: Callable[[str], None]) -> tuple[Path, Progress] | None:
        """The newest whole one; what a process left that was killed while it wrote or removed one is removed."""
        clear_left(self.folder)
        reason: DamagedError | None = None
        for path in self.files():
            try:
                about = read_about(path)
            except DamagedError as error:
                say(f"{path} is damaged and not used: {error}")
                reason = error
                continue
            return path, Progress(about["step"], about["log"])
        if reason is not None:
            raise UserError(f"all checkpoints in {self.folder} are damaged; delete them to start anew") from reason
        if list(self.folder.glob("step-*")):
            say(f"the checkpoints in {self.folder} are of other settings or data; starting anew")
        return None

    def _settle(self, written: Path, links: list[Path]) -> None:
        """Give a checkpoint its other names, and remove those whose place it has taken, also of other settings."""
        others: list[Path] = []
        for path in links:
            with atomic_directory(path) as temporary:
                for file in written.iterdir():
                    link_or_copy(file, temporary / file.name)
        names = (written, *links)
        if any(path.name.startswith("best-") for path in names):
            others = [old for old in self.folder.glob("best-*") if old not in names]
        if any(path.name.startswith("step-") for path in names):
            newest = written.name.removeprefix("best-").removeprefix("step-")
            kept = [path for path in self.files() if path.name <= f"step-{newest}"][:KEPT]  # one further on is damaged
            others += [old for old in self.folder.glob("step-*") if old not in kept]
        for old in others:
            remove_directory(old)

    def _led(self, act: Callable[[], T]) -> T:
        """What the leading process finds, or its `UserError`, in all of them."""
        told: list[Any] = [None]
        if self.world.leads:
            try:
                told = [act()]
            except UserError as error:
                told = [error]
        if self._group is not None:
            dist.broadcast_object_list(told, src=0, group=self._group)
        if isinstance(told[0], UserError):
            raise told[0]
        return told[0]


def link_or_copy(file: Path, name: Path) -> None:
    """Another name for a file; a copy where the file system has no such thing."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
