"""Planning in a process that has neither torch nor the rest of the pipeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from toy_world import draw

FORBIDDEN = ("torch", "scipy", "omegaconf", "PIL", "pandas", "rich", "onnx", "webdataset", "gymnasium", "mujoco")

ROBOT = """
import sys
for name in {forbidden}:
    sys.modules[name] = None  # any import of it fails
import numpy as np
from vjepa.planning import Bundle, CrossEntropyPlanner, WorldModel
shown = np.load({frames!r}, allow_pickle=False)
model = WorldModel(Bundle.open({folder!r}, threads=1))
planner = CrossEntropyPlanner(horizon=1, samples=48, iterations=4, elites=6, sigma=0.05, max_move=0.075)
goal = model.encode(shown["goal"][None])[0]
print(*planner.plan(model, shown["start"], np.zeros(3, np.float32), goal, seed=0).action)
"""


def run_python(code: str, repository: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a robot's log stays quiet, whatever providers the machine lacks"
    return done.stdout


def test_importing_the_planner_imports_nothing_of_the_pipeline(repository: Path) -> None:
    code = f"import sys, vjepa.planning; print([name for name in {FORBIDDEN} if name in sys.modules])"
    assert run_python(code, repository).strip() == "[]"


def test_a_robot_without_torch_plans_towards_the_goal(repository: Path, toy_folder: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames.npz"
    np.savez(frames, start=draw(np.zeros(2)), goal=draw(np.array([0.05, -0.03])))
    out = run_python(ROBOT.format(forbidden=FORBIDDEN, frames=str(frames), folder=str(toy_folder)), repository)
    np.testing.assert_allclose([float(value) for value in out.split()], [0.05, -0.03, 0], atol=0.005)


STAGE = """
import runpy, sys
sys.argv = ["plan", "--help"]
try:
    runpy.run_module("stages.plan", run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0
try:
    import torch
except ModuleNotFoundError as error:
    print(error, "torch" in sys.modules)
"""


def test_the_plan_stage_and_all_that_it_imports_do_without_torch(repository: Path) -> None:
    assert run_python(STAGE, repository).splitlines()[-1] == "planning does without torch False"
