"""The import rule of DESIGN.md, sec. 2: `lint-imports` holds it, and these tests hold `lint-imports` to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BREACHES = {
    "a lower layer imports a higher one": ("vjepa/nn/rope.py", "import vjepa.training.loop"),
    "the library imports a stage": ("vjepa/training/loop.py", "import stages.runner"),
    "the planner imports torch": ("vjepa/planning/world_model.py", "import torch"),
    "the planner imports torch by way of another module": ("vjepa/imaging.py", "import torch"),
    "the simulator knows the data sets": ("vjepa/sim/__init__.py", "import vjepa.data.shards"),
    "a torch module reads settings": ("vjepa/nn/encoder.py", "import vjepa.config"),
    "the library knows DVC": ("vjepa/files.py", "import dvc.repo"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages in `folder` against the contracts of its pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_the_arrows_run_one_way(repository: Path) -> None:
    checked = lint_imports(repository)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(breach: str, repository: Path, tmp_path: Path) -> None:
    for package in ("vjepa", "stages", "flows", "scripts"):
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    name, line = BREACHES[breach]
    module = tmp_path / name
    module.write_text(f"{module.read_text()}\n{line}\n")
    checked = lint_imports(tmp_path)
    assert checked.returncode == 1
    assert name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in checked.stdout
