"""Run a command, pass on what it prints line by line, and leave none of its processes behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

GRACE_S = 10
"""How long a cancelled command may take to end by itself before it is killed."""


def run_streaming(command: Sequence[str], folder: Path, on_line: Callable[[str], None]) -> int:
    """Run `command` in `folder`, give each line it prints to `on_line`, and return its exit status.

    Standard output and error come as one stream. Whatever ends the wait early (cancellation, Ctrl-C) also ends the
    command and all its children. A program named `python` is the one that runs this.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, which can be ended as a whole
    )
    assert process.stdout is not None
    try:
        with process.stdout as lines:
            for line in lines:
                # A progress bar writes over its line again and again: what it ends with is what is worth keeping
                on_line(line.decode(errors="replace").rstrip().rpartition("\r")[2])
        return process.wait()
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End every process of the group that `process` leads: politely, and after `GRACE_S` by force."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(group: int, what: signal.Signals) -> None:
    """Send a signal to a process group; that it is gone already is fine."""
    with suppress(ProcessLookupError):
        os.killpg(group, what)
