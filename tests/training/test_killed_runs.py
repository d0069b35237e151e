"""Trainings that are killed by the system at ten moments end as if they never had been."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.training.killable import STEPS, train

PROCESSES = multiprocessing.get_context("forkserver")
"""From one process that has imported everything: starting Python anew 24 times would take minutes."""
PROCESSES.set_forkserver_preload(["tests.training.killable"])


def until(kind: str, folder: Path, out: Path, moment: int) -> int | None:
    """Train until a step, then kill the process; its exit code."""
    told = PROCESSES.Value("i", -1)
    process = PROCESSES.Process(target=train, args=(kind, folder, out, told))
    process.start()
    while told.value < moment and process.is_alive():
        time.sleep(0.001)
    if moment < STEPS:
        process.kill()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("kind", ["pretrain", "posttrain"])
def test_weights_optimizer_and_log_are_those_of_a_straight_run_bit_for_bit(kind: str, tmp_path: Path) -> None:
    whole, out = tmp_path / "straight.pt", tmp_path / "killed.pt"
    assert until(kind, tmp_path / "straight", whole, STEPS) == 0
    for moment in sorted(random.Random(0).sample(range(1, STEPS), 10)):
        assert until(kind, tmp_path / "killed", out, moment) == -signal.SIGKILL
        assert not out.exists()
    assert until(kind, tmp_path / "killed", out, STEPS) == 0
    killed, straight = (torch.load(path, weights_only=True) for path in (out, whole))
    assert killed["log"] == straight["log"] and len(straight["log"]) > 20
    mine, theirs = killed["tensors"], straight["tensors"]
    assert mine.keys() == theirs.keys() and any(name.startswith("optimizer.") for name in mine)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
