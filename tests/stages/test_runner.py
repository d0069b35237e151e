from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from stages import runner
from stages.runner import PeakMemory, main, read_params, record_timing, sections_of
from vjepa.config import ExportConfig
from vjepa.errors import DataError, UserError

ROOT = Path(__file__).resolve().parents[2]
EXPORT = {"opset": 18, "parity_samples": 4, "max_abs_error": 0.1}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the repository's params.yaml, in which a stage without arguments is started."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    return tmp_path


def change(folder: Path, **sections: object) -> None:
    values = yaml.safe_load((folder / "params.yaml").read_text()) | sections
    (folder / "params.yaml").write_text(yaml.safe_dump({k: v for k, v in values.items() if v != "absent"}))


def test_settings_arrive_typed(workplace: Path) -> None:
    params = read_params()
    assert isinstance(params["export"], ExportConfig) and type(params["seed"]) is int


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"pretrian": {}}, r"params.yaml: the key 'pretrian' is unknown; known are .*pretrain"),
        ({"export": "absent"}, r"params.yaml: the key 'export' is missing"),
        ({"seed": "zero"}, r"params.yaml: the key 'seed' must be a whole number, not 'zero'"),
        (
            {"export": {"opset": 18, "parity_samples": 4, "max_abs_error": 0.1, "extra": 1}},
            r"params.yaml: export: .*extra",
        ),
        ({"export": {"opset": 18, "parity_samples": 4}}, r"params.yaml: export: the key 'max_abs_error' is missing"),
    ],
)
def test_what_is_wrong_in_params_is_named(sections: dict[str, object], complaint: str, workplace: Path) -> None:
    change(workplace, **sections)
    with pytest.raises(UserError, match=complaint):
        read_params()


@pytest.mark.parametrize("text", ["", "just words", "{unclosed"])
def test_a_file_that_holds_no_settings_is_an_error(text: str, workplace: Path) -> None:
    (workplace / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params.yaml (holds no settings|can't be read)"):
        read_params()


def run(export: ExportConfig, seed: int) -> None:
    """Stands for a stage: this file is its module."""
    Path("done").write_text(f"{export.opset} {seed}")


def test_a_stage_gets_the_sections_that_its_signature_names(workplace: Path) -> None:
    assert sections_of(run) == {"export": ExportConfig, "seed": int}
    main(run)
    params = read_params()
    assert (workplace / "done").read_text() == f"{params['export'].opset} {params['seed']}"


@pytest.mark.parametrize(
    ("section", "change", "complaint"),
    [
        ("pretrain", {"steps": 100}, r"pretrain: warmup 50 and cooldown \d+ exceed the 100 steps"),
        ("pretrain", {"masks": []}, "pretrain: masks is empty"),
        ("pretrain", {"ema": [0.99]}, "pretrain: ema needs two numbers"),
        ("pretrain", {"crop_aspect": [1.35, 0.75]}, "pretrain: crop_aspect needs two numbers above 0, the lower first"),
        ("pretrain", {"crop_scale": [0.3, 1.5]}, "pretrain: crop_scale must be 1 at most, not 1.5"),
        ("pretrain", {"kept_mb": -1}, "pretrain: kept_mb must be 0 or more, not -1"),
        ("pretrain", {"frames": 3}, "pretrain.frames 3 is no multiple of encoder.tubelet 2"),
        ("posttrain", {"rollout": 4}, "posttrain: rollout must be from 1 to frames - 1 = 3, not 4"),
        ("posttrain", {"pool": 3}, "posttrain.pool 3 does not divide the encoder's grid of 8 x 8 patches"),
        ("probe", {"pool": 3}, "probe.pool 3 does not divide the encoder's grid of 8 x 8 patches"),
        ("curate", {"image_size": 32}, "encoder.image_size is 64, but curate.image_size 32"),
        ("curate", {"episodes_per_shard": 0}, "curate: episodes_per_shard must be 1 or more"),
        ("plan", {"workers": 0}, "plan: workers must be 1 or more, not 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_stage(
    section: str, change: dict[str, object], complaint: str, workplace: Path
) -> None:
    values = yaml.safe_load((workplace / "params.yaml").read_text())
    values[section] |= change
    (workplace / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=complaint):
        read_params()


def test_memory_is_that_of_all_processes_together() -> None:
    grow = "import time; block = bytearray(300_000_000); time.sleep(2)"
    memory = PeakMemory()
    with memory:
        children = [subprocess.Popen([sys.executable, "-c", grow]) for _ in range(2)]
        for child in children:
            child.wait()
    assert memory.peak > 600_000_000


ORPHAN = """
import os, threading, time, sys
from stages.runner import end_with
threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_stage_ends_when_the_program_that_started_it_is_killed(tmp_path: Path) -> None:
    start = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"
    with subprocess.Popen([sys.executable, "-c", start, ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stage = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert stage.wait(timeout=60) is None or not stage.is_running()


def test_a_stage_that_ends_well_leaves_its_time_beside_the_others(workplace: Path) -> None:
    record_timing("earlier", 12.34, 2**30)
    main(run)
    timings = json.loads((workplace / runner.TIMINGS).read_text())
    assert list(timings) == ["earlier", "test_runner"]
    assert timings["earlier"] == {"seconds": 12.3, "peak_memory_gb": 1.0}
    assert timings["test_runner"]["peak_memory_gb"] > 0


def test_a_mistake_ends_the_stage_with_one_line_and_no_time(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(seed: int) -> None:
        raise DataError("data/raw holds [nothing]")

    with pytest.raises(SystemExit) as ended:
        main(run)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "test_runner failed: data/raw holds [nothing]\n"
    assert not (workplace / runner.TIMINGS).exists()


def test_a_fault_of_the_code_is_not_hidden(workplace: Path) -> None:
    def run(seed: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main(run)
