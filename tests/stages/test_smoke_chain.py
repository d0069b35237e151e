"""The whole chain, run once with every real part at tiny sizes: that it works, not that it learns."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
import yaml
from transformers import AutoModel

MEASURED = {
    "probe": [
        "task_accuracy",
        "task_accuracy_untrained",
        "task_accuracy_majority",
        "motion_accuracy",
        "motion_accuracy_untrained",
        "motion_accuracy_majority",
        "hand_error_cm",
        "hand_error_cm_untrained",
        "hand_error_cm_mean_guess",
    ],
    "posttrain": [
        "latent_l1",
        "latent_l1_copy_last",
        "latent_l1_shuffled_actions",
        "latent_error_share",
        "latent_error_share_untrained",
    ],
    "align": ["answer_accuracy", "answer_accuracy_blind", "answer_accuracy_untrained"],
    "plan": [
        "offline.true_action_rank",
        "offline.true_action_rank_untrained",
        "offline.direction_error_deg",
        "offline.direction_error_deg_untrained",
        "offline.direction_error_deg_random",
    ],
}
PER_TASK = [f"success{ever}{arm}" for ever in ("", "_ever") for arm in ("", "_untrained", "_random", "_still")]
LATER = ("pretrain", "posttrain", "probe", "align", "export", "plan", "report")


def metrics(folder: Path, stage: str) -> dict[str, Any]:
    return json.loads((folder / "metrics" / f"{stage}.json").read_text())


def lookup(values: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


def params(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "params.yaml").read_text())


def change_params(folder: Path, section: str, **values: Any) -> None:
    changed = params(folder)
    changed[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))


def ran(said: str) -> list[str]:
    """The stages whose command DVC started."""
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage ")]


def contents(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Every file with its size and time of change."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def is_estimate(value: Any) -> bool:
    return (
        set(value) == {"value", "low", "high", "n"}
        and value["low"] <= value["value"] <= value["high"]
        and value["n"] > 0
    )


@pytest.mark.parametrize("stage", MEASURED)
def test_metrics_have_the_names_that_others_rely_on(stage: str, smoke: Any) -> None:
    values = metrics(smoke.folder, stage)
    assert [name for name in MEASURED[stage] if not is_estimate(lookup(values, name))] == []


def test_each_closed_loop_task_stands_beside_an_untrained_encoder_random_actions_and_staying_still(smoke: Any) -> None:
    values = metrics(smoke.folder, "plan")
    for task, settings in params(smoke.folder)["plan"]["closed_loop"].items():
        assert all(is_estimate(values[task][name]) for name in [*PER_TASK, "final_distance_cm"])
        assert values[task]["success"]["n"] == settings["episodes"]
    assert is_estimate(values["seconds_per_action"])


def test_the_bundle_agrees_with_torch(smoke: Any) -> None:
    values, limit = metrics(smoke.folder, "export"), params(smoke.folder)["export"]["max_abs_error"]
    assert 0 < values["encoder_max_abs_error"] <= limit and 0 < values["predictor_max_abs_error"] <= limit


def test_every_stage_says_how_long_it_took(smoke: Any) -> None:
    stages = yaml.safe_load((smoke.folder / "dvc.yaml").read_text())["stages"]
    timings = metrics(smoke.folder, "timings")
    assert set(timings) == set(stages)
    assert all(timing["seconds"] > 0 and timing["peak_memory_gb"] < 8 for timing in timings.values())


def test_the_flow_ran_every_stage_of_the_graph(smoke: Any) -> None:
    assert "chain completed: 10 stages are up to date" in smoke.said


def test_git_sees_only_metrics_plots_and_the_lock(smoke: Any) -> None:
    lines = smoke.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    assert {line[3:].partition("/")[0] for line in lines} == {"dvc.lock", "metrics", "plots"}


def test_nothing_is_left_to_do(smoke: Any) -> None:
    assert "up to date" in smoke.run("dvc", "status").stdout
    again = smoke.run("dvc", "repro")
    assert again.returncode == 0 and ran(again.stdout) == []


def test_the_report_is_one_page_that_needs_no_other_file(smoke: Any) -> None:
    page = (smoke.folder / "report" / "index.html").read_text()
    assert "data:image/" in page and "<svg" in page
    assert not [mark for mark in ('src="http', 'href="http', 'src="/', "file://", 'rel="stylesheet"') if mark in page]


def test_transformers_loads_the_encoder(smoke: Any) -> None:
    encoder, clip = params(smoke.folder)["encoder"], params(smoke.folder)["pretrain"]
    model = AutoModel.from_pretrained(smoke.folder / "models" / "encoder")
    video = torch.zeros(1, clip["frames"], 3, encoder["image_size"], encoder["image_size"])
    tokens = model(pixel_values_videos=video, skip_predictor=True).last_hidden_state
    positions = clip["frames"] // encoder["tubelet"] * (encoder["image_size"] // encoder["patch"]) ** 2
    assert tokens.shape == (1, positions, encoder["width"])


def test_one_parameter_of_probe_reruns_probe_and_report_alone(smoke: Any, tmp_path: Path) -> None:
    chain = smoke.copy(tmp_path / "repository")
    steps = params(chain.folder)["probe"]["steps"]
    change_params(chain.folder, "probe", steps=steps + 1)
    changed = chain.run("dvc", "repro")
    assert changed.returncode == 0 and ran(changed.stdout) == ["probe", "report"]
    change_params(chain.folder, "probe", steps=steps)
    assert ran(chain.run("dvc", "repro").stdout) == [], "going back to earlier settings trains nothing twice"


def test_without_a_closed_loop_and_an_untrained_arm_planning_is_measured_offline_alone(
    smoke: Any, tmp_path: Path
) -> None:
    chain = smoke.copy(tmp_path / "repository")
    change_params(chain.folder, "plan", closed_loop={})
    change_params(chain.folder, "posttrain", untrained=False)
    changed = chain.run("dvc", "repro")
    assert changed.returncode == 0 and ran(changed.stdout) == ["posttrain", "export", "plan", "report"], changed.stdout
    assert set(metrics(chain.folder, "plan")) == {"offline"}
    assert not [name for name in metrics(chain.folder, "plan")["offline"] if name.endswith("_untrained")]
    assert not [name for name in metrics(chain.folder, "posttrain") if name.endswith("_untrained")]
    assert "up to date" in chain.run("dvc", "status").stdout


def test_a_corrupted_shard_stops_the_flow_at_validation(smoke: Any, tmp_path: Path) -> None:
    chain = smoke.copy(tmp_path / "repository")
    shard = next((chain.folder / "data" / "shards" / "train").glob("*.tar"))
    flipped = bytearray(shard.read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    shard.write_bytes(flipped)
    later = [chain.folder / "models", chain.folder / "report", chain.folder / "plots"]
    before = contents(*later)
    stopped = chain.run("python", "-m", "flows.chain")
    assert stopped.returncode == 1
    _, verdict = stopped.stdout.split("chain failed: validate failed: ")
    assert str(shard.relative_to(chain.folder)) in verdict
    assert f"stopped at validate; not run: {', '.join(LATER)}" in stopped.stdout
    assert contents(*later) == before

    healed = chain.run("dvc", "repro")
    assert healed.returncode == 0 and ran(healed.stdout) == []
    assert shard.read_bytes() != flipped


def test_a_killed_pretraining_goes_on_from_its_checkpoint(smoke: Any, tmp_path: Path) -> None:
    chain = smoke.copy(tmp_path / "repository")
    steps = 400
    change_params(chain.folder, "pretrain", steps=steps, checkpoint_every=10)
    checkpoints = chain.folder / "runs" / "pretrain"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            ["dvc", "repro", "pretrain"],
            cwd=chain.folder,
            env=chain.environment,
            stdout=log,
            stderr=log,
        )
    while process.poll() is None and not list(checkpoints.glob("step-*")):
        time.sleep(0.02)
    training = psutil.Process(process.pid).children(recursive=True)
    process.kill()  # DVC alone: what it started must end by itself
    assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert training and psutil.wait_procs(training, timeout=30)[1] == []
    assert not (chain.folder / "models" / "encoder").exists()

    resumed = chain.run("dvc", "repro", "pretrain")
    assert resumed.returncode == 0, resumed.stdout
    (step,) = re.findall(r"pretrain: resumed at step (\d+) from runs/pretrain", resumed.stdout)
    assert 10 <= int(step) < steps
    logged = pd.read_csv(chain.folder / "plots" / "pretrain.csv")["step"].tolist()
    assert (logged[0], logged[-1]) == (0, steps - 1)
    assert pd.read_csv(checkpoints / "live" / "plots" / "metrics" / "loss.tsv", sep="\t")["step"].tolist() == logged
    assert list(checkpoints.glob("step-*")) == []
    AutoModel.from_pretrained(chain.folder / "models" / "encoder")
    assert [path for path in chain.folder.rglob("*.tmp") if ".dvc" not in path.parts] == []


class TestMistakes:
    """Each gives one line that names the cause, a status other than zero, and leaves what was there."""

    @pytest.fixture
    def chain(self, smoke: Any, tmp_path: Path) -> Any:
        return smoke.copy(tmp_path / "repository")

    def complaint(self, chain: Any, *command: str) -> str:
        """The one line of a command that fails and leaves every output as it was."""
        outputs = [chain.folder / name for name in ("data/shards", "models", "report")]
        before = contents(*outputs)
        done = chain.run(*command)
        assert done.returncode == 1
        assert contents(*outputs) == before
        lines = [line for line in done.stdout.splitlines() if line.strip() and "━" not in line]
        assert len(lines) == 1, done.stdout
        return lines[0]

    def test_a_wrong_key_is_named(self, chain: Any) -> None:
        change_params(chain.folder, "probe", stepz=3)
        assert "stepz" in self.complaint(chain, "python", "-m", "stages.pretrain")

    def test_what_dvc_took_away_for_a_stage_that_failed_comes_back_without_running(self, chain: Any) -> None:
        params = chain.folder / "params.yaml"
        outputs = [chain.folder / name for name in ("data/shards", "models", "metrics", "plots", "report")]

        def bytes_of_all() -> dict[Path, bytes]:
            return {path: path.read_bytes() for folder in outputs for path in folder.rglob("*") if path.is_file()}

        settings, before = params.read_text(), bytes_of_all()
        change_params(chain.folder, "probe", stepz=3)
        stopped = chain.run("dvc", "repro")
        assert stopped.returncode != 0 and "probe failed: params.yaml" in stopped.stdout and "stepz" in stopped.stdout
        params.write_text(settings)
        healed = chain.run("dvc", "repro")
        assert healed.returncode == 0 and ran(healed.stdout) == []
        assert bytes_of_all() == before

    def test_a_missing_raw_folder_is_named_with_the_command_that_makes_it(self, chain: Any) -> None:
        (chain.folder / "data/raw").rename(chain.folder / "data/elsewhere")
        complaint = self.complaint(chain, "python", "-m", "stages.curate")
        assert "data/raw is missing" in complaint and "dvc repro collect" in complaint

    def test_an_empty_data_set_is_named(self, chain: Any) -> None:
        for path in (chain.folder / "data/raw/meta/episodes").rglob("*.parquet"):
            path.unlink()
        assert "data/raw" in self.complaint(chain, "python", "-m", "stages.curate")

    def test_a_folder_that_is_no_data_set_is_named(self, chain: Any) -> None:
        (chain.folder / "data/raw/meta/info.json").unlink()
        assert "data/raw/meta/info.json" in self.complaint(chain, "python", "-m", "stages.curate")
