"""Benchmark episodes in several processes, each with a world model of its own on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from vjepa.planning.bundle import Bundle
from vjepa.planning.world_model import WorldModel
from vjepa.processes import worker_pool

Job = TypeVar("Job")
Result = TypeVar("Result")


@cache
def model_of_process(folder: Path) -> WorldModel:
    """The process's own world model, opened with the first job so that what is wrong reaches the caller."""
    return WorldModel(Bundle.open(folder, threads=1))


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
    with worker_pool(workers, "set plan.workers lower") as pool:
        futures = [pool.submit(_call, function, folder, job) for job in jobs]
        for future in futures:
            yield future.result()
