"""The import rule (CONTRIBUTING.md): `lint-imports` holds it, and these tests hold `lint-imports` to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What would break the rule -> module, import, and the chain that must be reported
BREACHES = {
    "a lower layer imports a higher one": ("vjepa.nn.rope", "vjepa.training.loop"),
    "the library imports a stage": ("vjepa.training.schedule", "stages.runner"),
    "the planner imports torch": ("vjepa.planning.world_model", "torch"),
    "the planner imports scipy by way of another module": ("vjepa.imaging", "scipy"),
    "the simulator knows the data sets": ("vjepa.sim.scene", "vjepa.data.shards"),
    "a torch module reads settings": ("vjepa.nn.encoder", "vjepa.config"),
    "the library knows DVC": ("vjepa.files", "dvc"),
}


@pytest.fixture(scope="module")
def complaints(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `lint-imports` says of a copy of the repository with every breach in it."""
    folder = tmp_path_factory.mktemp("breached")
    shutil.copy(repository / "pyproject.toml", folder)
    for package in ("vjepa", "stages", "flows", "scripts"):
        shutil.copytree(repository / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for importer, imported in BREACHES.values():
        with (folder / f"{importer.replace('.', '/')}.py").open("a") as module:
            module.write(f"\nimport {imported}\n")
    program = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 1
    return checked.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(breach: str, complaints: str) -> None:
    importer, imported = BREACHES[breach]
    assert f"{importer} -> {imported} " in complaints


def test_the_rule_holds_here(repository: Path) -> None:
    program = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([program], cwd=repository, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
