"""Benchmark episodes in several processes, each with a world model of its own on one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

from vjepa.errors import UserError
from vjepa.planning.bundle import Bundle
from vjepa.planning.world_model import WorldModel

Job = TypeVar("Job")
Result = TypeVar("Result")


@cache
def model_of_process(folder: Path) -> WorldModel:
    """The process's own world model, opened with the first job so that what is wrong reaches the caller."""
    return WorldModel(Bundle.open(folder, threads=1))


def end_with_parent() -> None:
    """Make this process end when the one that started it is gone, however it went: a killed stage leaves none."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _call(function: Callable[[WorldModel, Job], Result], folder: Path, job: Job) -> Result:
    return function(model_of_process(folder), job)


def run_jobs(
    function: Callable[[WorldModel, Job], Result], jobs: Sequence[Job], folder: Path, workers: int
) -> Iterator[Result]:
    """Call `function(model, job)` for every job and yield the results in the order of the jobs.

    Args:
        function: of a module's top level, since it travels to the processes by name; results must not depend on which
            process computes them.
        jobs: anything that can be pickled.
        folder: the bundle.
        workers: processes.

    Raises:
        UserError: the bundle can't be used, or a process was killed. Any other error of `function` is raised as it is.
    """
    # Spawned, not forked: the renderer and ONNX Runtime have threads that do not survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)
    try:
        futures = [pool.submit(_call, function, folder, job) for job in jobs]
        for future in futures:
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError("a planning process was killed (out of memory?): set plan.workers lower") from error
    finally:
        pool.shutdown(cancel_futures=True)
