"""Examining many episodes at once: one after the other, in processes, or over a Ray cluster; one loop for the three.

Whoever examines reads the raw data by itself and gives back what it found, so that the one who collects needs no disk
in common with it but that of the raw data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.code_version import code_version
from vjepa.data.examination import Outcome, examine
from vjepa.data.raw import Source, facts_in_words
from vjepa.data.sources import open_source
from vjepa.errors import UserError
from vjepa.processes import worker_pool

TOGETHER = 4
"""Neighbouring episodes that go to one worker at once, since they share files."""
Submit = Callable[["list[Place]"], "Future[list[Outcome]]"]
Place = tuple[int, str]
"""A place in the index, and what is said there (`facts_in_words`)."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to know: where the raw data are (an absolute path), how they are read, what to take."""

    raw: Path
    source: SourceConfig
    config: CurateConfig


@dataclass(frozen=True)
class Workers:
    """How work is handed out.

    Attributes:
        submit: gives places in the index to a worker.
        at_once: tasks that are under way together: enough that none waits, few enough that results fit into memory.
        together: places in a task.
    """

    submit: Submit
    at_once: int
    together: int


def examine_all(dataset: Source, work: Work, places: Sequence[int], processes: int) -> Iterator[tuple[int, Outcome]]:
    """Examine the episodes at these places in the index.

    Args:
        dataset: the open data set, for work in this process.
        work: the same for others.
        places: ascending.
        processes: of this machine, where no Ray cluster is named.

    Yields:
        Places and what was found there, in the order in which they are done.

    Raises:
        UserError: a worker was lost, or there is no such cluster.
        DataError: a worker can't open the data set.
    """
    with workers_for(dataset, work, processes) as workers:
        under_way: dict[Future[list[Outcome]], list[int]] = {}
        waiting = iter(places)
        while True:
            while len(under_way) < workers.at_once and (task := list(islice(waiting, workers.together))):
                said = [(place, facts_in_words(dataset, dataset.episodes[place])) for place in task]
                under_way[workers.submit(said)] = task
            if not under_way:
                return
            for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield from zip(under_way.pop(done), done.result(), strict=True)


def workers_for(dataset: Source, work: Work, processes: int) -> AbstractContextManager[Workers]:
    """The workers that the settings ask for."""
    if work.config.ray is not None:
        return ray_workers(work, work.config.ray, processes)
    return own_processes(work, processes) if processes > 1 else this_process(dataset, work)


@contextmanager
def this_process(dataset: Source, work: Work) -> Iterator[Workers]:
    """No others: a task is done when it is handed out."""

    def submit(places: list[Place]) -> Future[list[Outcome]]:
        done: Future[list[Outcome]] = Future()
        done.set_result([examine(dataset, dataset.episodes[place], work.config) for place, _ in places])
        return done

    try:
        yield Workers(submit, 1, 1)
    finally:
        dataset.close()


@contextmanager
def own_processes(work: Work, processes: int) -> Iterator[Workers]:
    """Processes of this machine."""
    with worker_pool(processes, "free some memory") as pool:
        yield Workers(lambda places: pool.submit(examine_places, work, places), 2 * processes, TOGETHER)


@contextmanager
def ray_workers(work: Work, address: str, processes: int) -> Iterator[Workers]:
    """Tasks of a Ray cluster; Ray hands out those of a lost node again.

    Raises:
        UserError: Ray is not installed, there is no cluster, its code is another, or a task was lost again and again.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError as error:
        raise UserError("curate.ray: Ray is not installed: pip install 'ray[client]', or set it to null") from error
    started: dict[str, Any] = {"num_cpus": processes, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **started)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"curate.ray: no Ray cluster at {address!r}: {' '.join(str(error).split())}") from error
    try:
        task = ray.remote(examine_elsewhere)
        at_once = 2 * int(ray.cluster_resources().get("CPU", 1))
        yield Workers(lambda places: task.remote(work, places, code_version()).future(), at_once, TOGETHER)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):  # in its own words, without the trace of the node
            raise error.cause from None
        raise
    except RayError as error:
        raise UserError(f"curate.ray: a task was lost: {str(error).splitlines()[0]}") from error
    finally:
        ray.shutdown()


def examine_elsewhere(work: Work, places: list[Place], code: str) -> list[Outcome]:
    """Examine episodes on a node of a cluster, if its code is that of the one who asks.

    Raises:
        UserError: it is not.
    """
    if code_version() != code:
        raise UserError("curate.ray: a node has other code or packages than this machine: install the same there")
    return examine_places(work, places)


def examine_places(work: Work, places: list[Place]) -> list[Outcome]:
    """Examine the episodes at these places in the index; the data set stays open for the next ones.

    Raises:
        UserError: the index says something else there than where the work came from.
    """
    global _opened
    if _opened is None or _opened[0] != work:
        _opened = work, open_source(work.raw, work.source, work.config.fps)
    dataset = _opened[1]
    for place, said in places:
        if place >= len(dataset.episodes) or facts_in_words(dataset, dataset.episodes[place]) != said:
            raise UserError(f"{work.raw} is not the same for all who curate it: was it changed, or is it an old copy?")
    return [examine(dataset, dataset.episodes[place], work.config) for place, _ in places]


_opened: tuple[Work, Source] | None = None
