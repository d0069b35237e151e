"""Calls of the operating system that are refused one by one, as by a disk that is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from vjepa.errors import UserError


def each_refused(
    monkeypatch: pytest.MonkeyPatch, owner: Any, call: str, act: Callable[[], object]
) -> Iterator[UserError | OSError | None]:
    """Run `act` with the first call of a function refused, then with the second, and so on until none is left.

    Yields:
        What it raised each time; None where it went through.
    """
    real = getattr(owner, call)
    for nth in count(1):
        calls = 0

        def failing(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == nth:  # noqa: B023 (called within its own turn of the loop)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        raised: UserError | OSError | None = None
        with monkeypatch.context() as patched:
            patched.setattr(owner, call, failing)
            try:
                act()
            except (UserError, OSError) as error:
                raised = error
        yield raised
        if calls < nth:
            return
