"""Worker processes that end with their parent, and pools of them whose loss is one clear line."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from vjepa.errors import UserError


@contextmanager
def worker_pool(
    workers: int, advice: str, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes that are gone when this one is, however it ends.

    They are spawned, not forked: OpenGL contexts and the threads of Arrow, ONNX Runtime and progress bars do not
    survive a fork.

    Args:
        workers: processes.
        advice: what to do where one was killed, e.g. `set collect.workers lower`.
        start: called once in each process, with `arguments`.
        arguments: of `start`.

    Raises:
        UserError: a process was killed.
    """
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (start, arguments))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(f"a worker process was killed (out of memory?): {advice}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    if start is not None:
        start(*arguments)


def end_with_parent() -> None:
    """Make this process, started by `multiprocessing`, end when the one that started it is gone, even by SIGKILL."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
