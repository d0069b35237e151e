from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from flows.process import run_streaming

PARENT = """
import subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
print(child.pid)
time.sleep(600)
"""


def test_lines_of_both_streams_arrive_in_order_with_the_exit_status(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('one'); print('two', file=sys.stderr); print('three'); sys.exit(7)"
    assert run_streaming([sys.executable, "-c", code], tmp_path, lines.append) == 7
    assert lines == ["one", "two", "three"]


def test_of_a_progress_bar_only_the_end_arrives(tmp_path: Path) -> None:
    lines: list[str] = []
    run_streaming(["printf", "10%%\\r50%%\\r100%%\\nnext\\n"], tmp_path, lines.append)
    assert lines == ["100%", "next"]


def test_lines_arrive_while_the_command_still_runs(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import pathlib, time\nprint('ready')\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)"
    assert run_streaming([sys.executable, "-c", code], tmp_path, lambda line: go.touch()) == 0


def test_a_program_named_python_is_the_one_that_runs_the_flow(tmp_path: Path) -> None:
    lines: list[str] = []
    run_streaming(["sh", "-c", "python -c 'import sys; print(sys.prefix)'"], tmp_path, lines.append)
    assert lines == [sys.prefix]


def test_cancelling_ends_the_command_and_its_children(tmp_path: Path) -> None:
    children: list[int] = []

    def cancel(line: str) -> None:
        children.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_streaming([sys.executable, "-c", PARENT], tmp_path, cancel)
    assert gone(children[0])


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds; a zombie that nobody has collected yet has ended."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
