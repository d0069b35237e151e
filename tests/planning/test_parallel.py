from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_offline import PLANNER, step_of

from vjepa.errors import UserError
from vjepa.planning import WorldModel, evaluate_step
from vjepa.planning.parallel import run_jobs


def test_processes_find_what_one_process_finds_in_the_order_of_the_jobs(
    toy_model: WorldModel, toy_folder: Path
) -> None:
    steps = [step_of(move) for move in ([0.05, 0.0], [0.0, 0.05], [-0.03, 0.03], [0.02, 0.06])]
    look = partial(evaluate_step, planner=PLANNER, random_actions=20, seed=1)
    assert list(run_jobs(look, steps, toy_folder, workers=2)) == [look(toy_model, step) for step in steps]


def test_a_bundle_that_a_process_refuses_is_reported_to_the_caller(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    (folder / "encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(UserError, match=r"encoder\.onnx is not what bundle\.json lists"):
        list(run_jobs(np.add, [1], folder, workers=1))


ENDLESS = """
import sys, time
from pathlib import Path
from vjepa.planning.parallel import run_jobs
def hang(model, path):
    import os
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)
if __name__ == "__main__":
    list(run_jobs(hang, [sys.argv[2]], Path(sys.argv[1]), workers=1))
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that only waits to be collected has."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_processes_end_when_the_one_that_started_them_is_killed(
    repository: Path, toy_folder: Path, tmp_path: Path
) -> None:
    program, pid_file = tmp_path / "endless.py", tmp_path / "pid"
    program.write_text(ENDLESS)
    command = [sys.executable, str(program), str(toy_folder), str(pid_file)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(repository)}) as parent:
        wait_for(lambda: pid_file.exists() and pid_file.read_text() != "")
        child = int(pid_file.read_text())
        assert not gone(child)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(child))
