"""dvc.yaml says the truth about the code: what each stage reads, depends on and leaves in git."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from stages.runner import SECTIONS

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What every stage stands on; to retrain because a message or the way of writing a file changed would be waste
COMMON = ("vjepa.config", "vjepa.errors", "vjepa.files", "vjepa.processes", "stages.runner")


def names(entries: list[str | dict[str, Any]]) -> Iterator[str]:
    """Paths of a stage's list, whose entries are plain or carry options."""
    for entry in entries:
        yield from [entry] if isinstance(entry, str) else entry


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("stages", "vjepa")


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_sections_that_run_reads(stage: str) -> None:
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    read = {argument.arg: ast.unparse(argument.annotation) for argument in run.args.args if argument.annotation}
    assert read == {section: SECTIONS[section].__name__ for section in read}
    assert {param.partition(".")[0] for param in STAGES[stage].get("params", [])} == set(read)


def code_deps(stage: str) -> set[str]:
    return {dep for dep in names(STAGES[stage]["deps"]) if dep.startswith(("stages/", "vjepa/"))}


def covers(deps: set[str], file: str) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_library_that_the_stage_imports(stage: str, imports: grimp.ImportGraph) -> None:
    """All of it, since a stage before it may write the same bytes after a change; a folder only if it is used whole."""
    modules = {f"stages.{stage}"} | imports.find_upstream_modules(f"stages.{stage}")
    own = {module for module in modules if not f"{module}.".startswith(tuple(f"{name}." for name in COMMON))}
    files = {module.replace(".", "/") + ".py" for module in own if not imports.find_children(module)}
    named = code_deps(stage)
    inside = {
        str(file.relative_to(ROOT)) for dep in named for file in (ROOT / dep).rglob("*.py") if file.stem != "__init__"
    }
    assert {file for file in files if not covers(named, file)} == set(), "imported, but no dependency"
    assert inside | {dep for dep in named if dep.endswith(".py")} == files, "not imported"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_name_in_its_command_and_its_metrics(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"exec python -m stages.{stage}"
    assert STAGES[stage]["desc"]
    assert set(names(STAGES[stage].get("metrics", []))) <= {f"metrics/{stage}.json"}


@pytest.mark.parametrize("stage", STAGES)
def test_git_ignores_what_dvc_keeps_and_nothing_else(stage: str) -> None:
    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0

    in_git = [*names(STAGES[stage].get("metrics", [])), *names(STAGES[stage].get("plots", []))]
    assert all(ignored(out) for out in names(STAGES[stage]["outs"]))
    assert not any(ignored(path) for path in in_git)


def test_no_stage_depends_on_a_folder_that_others_write_into() -> None:
    """The timings change with every stage: a dependency on all of metrics/ would never be up to date."""
    deps = {dep for stage in STAGES.values() for dep in names(stage["deps"])}
    assert not deps & {"metrics", "plots", "models", "data", "stages", "vjepa"}
