"""Arms are run as DVC experiments, recorded once, and gone on with; a toy chain stands in for the stages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from dvc.exceptions import DvcException
from filelock import FileLock

from scripts import ablation
from scripts.ablation import Trial, trials_of
from vjepa.errors import UserError
from vjepa.report.trials import read_records

STAGE = """
import json, os, sys, time, yaml
from pathlib import Path
params = yaml.safe_load(Path("params.yaml").read_text())
if params["seed"] == 99 and not Path(os.environ["MENDED"]).exists():
    sys.exit("this seed fails")
Path(os.environ["STARTED"]).touch()
until = time.monotonic() + 60
while params["seed"] == 3 and not Path(os.environ["RECORDED"]).exists():
    if time.monotonic() > until:
        sys.exit("the trial before is not recorded")
    time.sleep(0.1)
steps = params["pretrain"]["steps"]
value = {"value": params["seed"] / 100 + (steps > 0), "low": 0.0, "high": 2.0, "n": 5}
Path("metrics").mkdir(exist_ok=True)
for stage in ("pretrain", "posttrain", "probe", "plan"):
    Path("metrics", stage + ".json").write_text(json.dumps({"reach": {"success": value}, "steps": steps}))
Path("plots/plan").mkdir(parents=True, exist_ok=True)
rows = [f"reach,{seed},{arm},{seed == 5},True,{seed}.5" for seed in (6, 5) for arm in ("planner", "random")]
header = "benchmark,seed,arm,success,success_ever,final_distance_cm"
Path("plots/plan/outcomes.csv").write_text("\\n".join([header, *rows]) + "\\n")
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
        "pretrain": {"cmd": "true", "params": ["seed", "pretrain"]},
        "probe": {"cmd": "true", "deps": ["params.yaml"]},
        "plan": {
            "cmd": "python stage.py",
            "deps": ["stage.py"],
            "params": ["seed", "pretrain", "posttrain", "plan.first_seed"],
            "outs": ["plots/plan"],
            "metrics": metrics,
        },
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": chain}))
    for command in ("git init -q", "dvc init -q", "dvc config hydra.enabled true", "git add -A", "git commit -qm toy"):
        subprocess.run(command.split(), cwd=folder, check=True, env=environment(repository, tmp_path))
    return folder


def environment(repository: Path, tmp_path: Path) -> dict[str, str]:
    who = {f"GIT_{who}_{what}": "toy@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    here = {"RUNS": str(tmp_path / "runs"), "MENDED": str(tmp_path / "mended"), "PYTHONPATH": str(repository)}
    here["STARTED"] = str(tmp_path / "started")
    here["RECORDED"] = str(tmp_path / "toy" / "docs" / "experiments.jsonl")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, **who, **here, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def run_ablation(repository: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.ablation", *arguments],
        cwd=tmp_path / "toy", env=environment(repository, tmp_path), capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_a_trials_name_is_that_of_its_settings(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(arm: str, share: float, seed: int) -> Trial:
        (found,) = trials_of("ablation", [arm], [share], [seed])
        return found

    monkeypatch.chdir(toy)
    plain = trial("default", 1.0, 11)
    assert plain == trial("default", 1.0, 11)
    assert "-S +arm=default -S +measure=ablation -S seed=11 probe plan" in " ".join(plain.command)
    tenth = trial("pixels", 0.1, 11)
    assert tenth.name.startswith("pixels-10-11-") and "-S posttrain.episodes_share=0.1 -S seed=11" in " ".join(
        tenth.command
    )
    (elsewhere,) = trials_of("development", ["default"], [1.0], [11])
    assert "+measure=development" in elsewhere.command and elsewhere.name != plain.name
    assert elsewhere.base != plain.base, "what is measured otherwise stands in tables of its own"
    (screened,) = trials_of("readout", ["default"], [1.0], [11])
    assert screened.command[-1] == "pretrain" and "plan" not in screened.command, "no more runs than what is read"
    other = trial("default", 1.0, 12)
    assert plain.settings == other.settings and plain.name != other.name, "seeds of one arm belong together"
    assert len({t.settings for t in (plain, tenth, trial("default", 0.1, 11))}) == 3
    profile = toy / "conf" / "profile" / "cpu.yaml"
    profile.write_text(profile.read_text().replace("warmup: 50", "warmup: 40", 1))
    later = trial("default", 1.0, 11)
    assert later.base != plain.base == tenth.base and later.name != plain.name


def test_settings_of_stages_that_a_trial_never_runs_leave_it_recorded(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial(measure: str) -> Trial:
        (found,) = trials_of(measure, ["default"], [1.0], [31])
        return found

    monkeypatch.chdir(toy)
    before = trial("development"), trial("readout")
    profile = toy / "conf" / "profile" / "cpu.yaml"
    text = profile.read_text()
    profile.write_text(text.replace("questions_per_kind: 60", "questions_per_kind: 61"))
    assert text != profile.read_text() and (trial("development"), trial("readout")) == before, "none of them aligns"
    profile.write_text(text.replace("cooldown: 1100", "cooldown: 1000"))
    assert trial("development") != before[0], "its post-training is another"
    assert trial("readout") == before[1], "pretraining alone is the same"


def test_arms_come_seed_by_seed_and_the_largest_share_first(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy)
    order = [(t.seed, t.share, t.arm) for t in trials_of("ablation", ["default", "pixels"], [0.1, 1.0], [1, 2])]
    assert order == [(s, share, arm) for share in (1.0, 0.1) for s in (1, 2) for arm in ("default", "pixels")]


def test_an_arm_that_cannot_be_used_is_said_in_a_line(toy: Path, repository: Path, tmp_path: Path) -> None:
    (toy / "conf" / "arm" / "odd.yaml").write_text("# @package _global_\npretrain: {stepps: 1}\n")
    done = run_ablation(repository, tmp_path, "--arms", "odd")
    assert done.returncode == 1 and "stepps" in done.stderr and "Traceback" not in done.stderr


def test_trials_run_once_and_what_failed_runs_again(toy: Path, repository: Path, tmp_path: Path) -> None:
    def ablation(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_ablation(repository, tmp_path, "--arms", "default", "untrained", "--shares", "1", *arguments)

    first = ablation("--seeds", "1", "99")
    assert first.returncode == 1 and "failed: " in first.stderr and "dvc queue logs" in first.stderr, first.stderr
    records = read_records(toy / "docs" / "experiments.jsonl")
    assert [(r["arm"], r["seed"], r["numbers"]["plan.reach.success"]) for r in records] == [
        ("default", 1, [1.01, 0.0, 2.0, 5.0]),
        ("untrained", 1, [0.01, 0.0, 2.0, 5.0]),
    ]
    assert records[0]["scenes"] == {
        "reach": {"seed": [5, 6], "success": [1.0, 0.0], "success_ever": [1.0, 1.0], "final_distance_cm": [5.5, 6.5]}
    }, "the planner's, in the order of the scenes"
    assert all(
        r["stages"] == {"plan": {"seconds": 90.0}} and r["command"].startswith("dvc exp run -S") for r in records
    )
    assert "| default | 1 | 101\N{NO-BREAK SPACE}% [" in (toy / "docs" / "experiments.md").read_text()
    assert (toy / "docs" / "experiments.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "mended").touch()
    second = ablation("--seeds", "1", "99")
    assert second.returncode == 0 and "all 4 trials are in" in second.stderr, second.stderr
    assert {(r["arm"], r["seed"]) for r in read_records(toy / "docs" / "experiments.jsonl")} == {
        (arm, seed) for arm in ("default", "untrained") for seed in (1, 99)
    }
    assert sorted((tmp_path / "runs").read_text().splitlines()) == ["1 0", "1 800", "99 0", "99 800"], "none ran twice"


def test_recipes_are_not_chosen_with_the_seeds_that_they_are_reported_on(
    toy: Path, repository: Path, tmp_path: Path
) -> None:
    done = run_ablation(repository, tmp_path, "--measure", "readout", "--arms", "default", "--seeds", "14")
    assert done.returncode == 1 and "choose on others" in done.stderr and "Traceback" not in done.stderr
    done = run_ablation(repository, tmp_path, "--arms", "default", "--seeds", "21", "14")
    assert done.returncode == 1 and "report them on others" in done.stderr and "Traceback" not in done.stderr


def test_one_at_a_time_records(toy: Path, repository: Path, tmp_path: Path) -> None:
    (toy / "runs" / "ablation").mkdir(parents=True)
    with FileLock(toy / "runs" / "ablation" / "lock"):
        done = run_ablation(repository, tmp_path, "--arms", "default", "--shares", "1", "--seeds", "1")
    assert done.returncode == 1 and "another one runs" in done.stderr and not (tmp_path / "runs").exists()


def test_what_cannot_be_read_keeps_no_other_trial_from_being_recorded(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    trials = trials_of("ablation", ["default", "untrained"], [1.0], [1])
    monkeypatch.setattr(ablation, "finished", lambda: {trial.name: "HEAD" for trial in trials})
    metrics, outcomes = toy / "metrics", "benchmark,seed,arm,success\nreach,5,planner,True\n"
    metrics.mkdir()
    for stage in ablation.STAGES:
        (metrics / f"{stage}.json").write_text('{"reach": {"success": 1.0}}')
    monkeypatch.setattr(ablation.dvc.api, "read", lambda *_, **__: outcomes)
    for command in ("git add -A", "git -c user.name=toy -c user.email=toy@localhost commit -qm made"):
        subprocess.run(command.split(), check=True)
    readable = ablation.record

    def record(trial: Trial, commit: str) -> dict[str, Any]:
        if trial.arm == "default":
            raise DvcException("its plots are in no cache")
        return readable(trial, commit)

    monkeypatch.setattr(ablation, "record", record)
    with pytest.raises(UserError, match=r"dvc exp remove NAME.*default-100-1-\w+ \(its plots are in no cache\)"):
        ablation.keep(trials)
    assert [record["arm"] for record in read_records()] == ["untrained"]


def test_a_trial_that_runs_again_is_not_taken_for_the_one_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dvc queue status` says it where a trial's earlier task is still listed."""
    status = """Task     Name  Created   Status
f00f2c4  one   09:21 PM  Queued
e00f2c4  two   09:21 PM  Running
d00f2c4  one   09:20 PM  Success
c00f2c4  two   09:20 PM  Failed
b00f2c4  old   09:20 PM  Failed

Worker status: {} active, 0 idle"""
    monkeypatch.setattr(ablation, "run", lambda *_: status.format(1))
    assert ablation.queue() == {"one": "Queued", "two": "Running", "old": "Failed"}
    monkeypatch.setattr(ablation, "run", lambda *_: status.format(0))
    assert ablation.queue() == {"one": "Queued", "two": ablation.DEAD, "old": "Failed"}


def test_workers_that_went_while_trials_wait_are_started_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy)
    trials = trials_of("ablation", ["default"], [1.0], [1, 2, 3])
    asked, slept, started = [], [], []

    def queue() -> dict[str, str]:
        """Of three trials one runs and two wait, until workers are started and all run; at last all have failed."""
        asked.append(1)
        words = ["Failed"] * 3 if len(asked) > 30 else ["Running"] * 3 if started else ["Running", "Queued", "Queued"]
        return {trial.name: state for trial, state in zip(trials, words, strict=True)}

    monkeypatch.setattr(ablation, "queue", queue)
    monkeypatch.setattr(ablation, "keep", lambda missing: missing)
    monkeypatch.setattr(ablation, "start_workers", started.append)
    monkeypatch.setattr(time, "sleep", slept.append)
    assert list(ablation.wait(trials, 2)) == [] and started == [2], "once"
    started.clear()
    asked.clear()
    assert list(ablation.wait(trials, 1)) == [] and not started, "as many run as were asked for"


def test_a_trial_whose_worker_died_runs_again(toy: Path, repository: Path, tmp_path: Path) -> None:
    """The trial with seed 3 waits for a record; its worker and all that belongs to it are killed meanwhile."""
    where = environment(repository, tmp_path)
    told = [sys.executable, "-m", "scripts.ablation", "--arms", "default", "--shares", "1", "--seeds", "3"]
    with subprocess.Popen(told, cwd=toy, env=where, stderr=subprocess.DEVNULL) as program:
        until = time.monotonic() + 120
        while not (tmp_path / "started").exists() and time.monotonic() < until:
            time.sleep(0.2)
        for process in psutil.process_iter(["environ"]):
            mine = (process.info["environ"] or {}).get("RUNS") == where["RUNS"]
            if mine and process.pid != program.pid:
                process.kill()
        program.wait(120)
    assert program.returncode == 1, "it tells of a trial that nobody runs"
    (toy / "docs").mkdir(exist_ok=True)
    (toy / "docs" / "experiments.jsonl").touch()  # what seed 3 waits for
    done = run_ablation(repository, tmp_path, *told[3:])
    assert done.returncode == 0, done.stderr
    assert [record["seed"] for record in read_records(toy / "docs" / "experiments.jsonl")] == [3]


def test_a_trial_is_recorded_while_others_still_run(toy: Path, repository: Path, tmp_path: Path) -> None:
    """The trial with seed 3 fails unless the one before it is recorded by then."""
    done = run_ablation(repository, tmp_path, "--arms", "default", "--shares", "1", "--seeds", "1", "3", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert [record["seed"] for record in read_records(toy / "docs" / "experiments.jsonl")] == [1, 3]
