"""Batches of clips by step number, read ahead by worker processes, one rank's share of them.

A step's batch is a function of the seed and the step. So its number is all that a resumed run needs to go on exactly
where it was, and neither the workers nor the ranks change what is seen: the clips of a step are drawn for all ranks
together, and each reads its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa.data.augment import Augmentation, look
from vjepa.data.clips import ClipBatch, ClipDraws, ClipSource
from vjepa.processes import worker_pool


class ClipReader:
    """Reads the batches of a run.

    Args:
        source: where clips are cut.
        draws: which.
        augmentation: how they are looked at.
        batch_size: clips of a rank.
        rank: which part of a step's clips this process reads, from 0.
        ranks: processes that share a step.
        image_size: pixels on each side of the clips that are given; None: as they are in the source.
    """

    def __init__(
        self,
        source: ClipSource,
        draws: ClipDraws,
        augmentation: Augmentation,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        image_size: int | None = None,
    ) -> None:
        self.source, self.draws, self.augmentation, self.image_size = source, draws, augmentation, image_size
        self.total = batch_size * ranks
        self.share = slice(rank * batch_size, (rank + 1) * batch_size)

    def read(self, step: int) -> ClipBatch:
        """This rank's clips of a step.

        Raises:
            DataError: an episode can't be read.
        """
        chosen, starts = self.draws.draw(step, self.total)
        batch = self.draws.cut_from(self.source, chosen[self.share], starts[self.share])
        rng = np.random.default_rng((self.draws.seed, step, 2))
        height, width = batch.frames.shape[2:4]
        views = self.augmentation.draw(self.total, height, width, rng)
        batch.frames = look(batch.frames, views[self.share], self.image_size)
        return batch


class StepReader(Protocol):
    """What a loader reads ahead with."""

    def read(self, step: int) -> ClipBatch:
        """The clips of a step; see `ClipReader`."""


class ClipLoader:
    """Gives batch after batch, each read before it is asked for.

    torch's DataLoader would do the same, but it reports the loss of a process from a signal handler, wherever the
    training is at that moment, and keeps its other processes as long as anything remembers the error. Tensors reach
    this process as they would from there: in shared memory.

    Args:
        reader: of the batches.
        steps: of the run; nothing is read beyond them.
        workers: processes that read, two batches ahead each; 0: this process reads when it is asked.
    """

    def __init__(self, reader: StepReader, steps: int, workers: int) -> None:
        self.reader, self.steps, self.workers = reader, steps, workers
        self._pool: ProcessPoolExecutor | None = None
        self._ahead: dict[int, Future[tuple[Tensor, ...]]] = {}

    @contextmanager
    def running(self, advice: str) -> Iterator[None]:
        """While this lasts the workers read.

        Args:
            advice: what to do where one of them was killed, e.g. `set pretrain.workers lower`.

        Raises:
            UserError: one of them was killed.
        """
        if self.workers == 0:
            yield
            return
        with worker_pool(self.workers, advice, _start, (self.reader,)) as self._pool:
            try:
                yield
            finally:
                self._pool, self._ahead = None, {}

    def batch(self, step: int) -> ClipBatch:
        """The batch of a step: at once if the steps are asked for one after the other.

        Raises:
            DataError: an episode can't be read.
        """
        if self._pool is None:
            return self.reader.read(step)
        wanted = range(step, min(step + 2 * self.workers + 1, self.steps))
        self._ahead = {i: self._ahead.get(i) or self._pool.submit(_read, i) for i in wanted}
        return ClipBatch(*(part.numpy() for part in self._ahead[step].result()))


def _start(reader: StepReader) -> None:
    global _reader
    _reader = reader
    torch.set_num_threads(1)


def _read(step: int) -> tuple[Tensor, ...]:
    batch = _reader.read(step)
    return tuple(torch.from_numpy(part) for part in (batch.frames, batch.states, batch.episodes, batch.starts))


_reader: StepReader
