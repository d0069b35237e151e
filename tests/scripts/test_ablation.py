"""Arms are run as DVC experiments, recorded once, and gone on with; a toy chain stands in for the stages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.ablation import Trial
from scripts.experiments import read_records

STAGE = """
import json, os, sys, yaml
from pathlib import Path
params = yaml.safe_load(Path("params.yaml").read_text())
if params["seed"] == 99 and not Path(os.environ["MENDED"]).exists():
    sys.exit("this seed fails")
steps = params["pretrain"]["steps"]
value = {"value": params["seed"] / 100 + (steps > 0), "low": 0.0, "high": 2.0, "n": 5}
Path("metrics").mkdir(exist_ok=True)
for stage in ("pretrain", "posttrain", "probe", "plan"):
    Path("metrics", stage + ".json").write_text(json.dumps({"reach": {"success": value}, "steps": steps}))
folder = Path(os.environ["VJEPA_TRIALS"])
(folder / (os.environ["DVC_EXP_NAME"] + ".json")).write_text(json.dumps({"plan": {"seconds": 90.0}}))
with open(os.environ["RUNS"], "a") as runs:
    runs.write(f"{params['seed']} {steps}\\n")
"""


@pytest.fixture
def toy(tmp_path: Path, repository: Path) -> Path:
    """A DVC repository with our settings, the arms `default` and `untrained`, and stages that only write a number."""
    folder = tmp_path / "toy"
    folder.mkdir()
    shutil.copytree(repository / "conf", folder / "conf")
    shutil.copy(repository / "params.yaml", folder)
    (folder / "stage.py").write_text(STAGE)
    metrics = [{f"metrics/{stage}.json": {"cache": False}} for stage in ("pretrain", "posttrain", "probe", "plan")]
    chain = {
        "validate": {"cmd": "true"},
        "probe": {"cmd": "true", "deps": ["params.yaml"]},
        "plan": {"cmd": "python stage.py", "deps": ["stage.py"], "params": ["seed", "pretrain"], "metrics": metrics},
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": chain}))
    for command in ("git init -q", "dvc init -q", "dvc config hydra.enabled true", "git add -A", "git commit -qm toy"):
        subprocess.run(command.split(), cwd=folder, check=True, env=environment(repository, tmp_path))
    return folder


def environment(repository: Path, tmp_path: Path) -> dict[str, str]:
    who = {f"GIT_{who}_{what}": "toy@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    here = {"RUNS": str(tmp_path / "runs"), "MENDED": str(tmp_path / "mended"), "PYTHONPATH": str(repository)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, **who, **here, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def test_a_trials_name_is_that_of_its_settings(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy)
    plain, again, other = Trial.of("default", 11), Trial.of("default", 11), Trial.of("default", 12)
    assert plain == again and plain.name != other.name
    profile = toy / "conf" / "profile" / "cpu.yaml"
    profile.write_text(profile.read_text().replace("warmup: 50", "warmup: 40", 1))
    assert Trial.of("default", 11).name != plain.name, "a trial of other settings is another trial"
    assert "-S +arm=default -S +measure=ablation -S seed=11 probe plan" in " ".join(plain.command)


def test_trials_run_once_and_what_failed_runs_again(toy: Path, repository: Path, tmp_path: Path) -> None:
    def ablation(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "scripts.ablation", "--arms", "default", "untrained", *arguments]
        return subprocess.run(
            command, cwd=toy, env=environment(repository, tmp_path), capture_output=True, text=True, timeout=300
        )

    first = ablation("--seeds", "1", "99")
    assert first.returncode == 1 and "failed: " in first.stderr and "dvc queue logs" in first.stderr, first.stderr
    records = read_records(toy / "docs" / "experiments.jsonl")
    assert [(r["arm"], r["seed"], r["numbers"]["plan.reach.success"]) for r in records] == [
        ("default", 1, [1.01, 0.0, 2.0, 5.0]),
        ("untrained", 1, [0.01, 0.0, 2.0, 5.0]),
    ]
    assert all(
        r["stages"] == {"plan": {"seconds": 90.0}} and r["command"].startswith("dvc exp run -S") for r in records
    )
    assert "| default | 1 | 101\N{NO-BREAK SPACE}% [" in (toy / "docs" / "experiments.md").read_text()
    (tmp_path / "mended").touch()
    second = ablation("--seeds", "1", "99")
    assert second.returncode == 0 and "all 4 trials are in" in second.stderr, second.stderr
    assert {(r["arm"], r["seed"]) for r in read_records(toy / "docs" / "experiments.jsonl")} == {
        (arm, seed) for arm in ("default", "untrained") for seed in (1, 99)
    }
    assert sorted((tmp_path / "runs").read_text().splitlines()) == ["1 0", "1 800", "99 0", "99 800"], "none ran twice"
