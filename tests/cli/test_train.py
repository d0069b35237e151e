"""`vjepa train --dry-run` says what a training takes and what to change where that is not there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

import vjepa.cli.train
from vjepa.cli.main import main

SMOKE = Path(__file__).resolve().parents[2] / "conf/profile/smoke.yaml"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command in an empty folder and gives what it prints, line by line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> list[str]:
        main(["train", "--dry-run", "--params", str(SMOKE), *arguments])
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return run


def test_it_says_sizes_steps_and_that_they_fit(said) -> None:
    lines = said("--memory", "8")
    for line in (
        "pretrain, warmup and constant: 4 frames, 32 px", "pretrain, cooldown: 4 frames, 32 px",
        "posttrain: 4 frames of 4 tokens", "steps 12", "steps 8", "steps 20", "tokens of a clip 32", "clips in all 96",
    ):  # fmt: skip
        assert line in lines, line
    assert sum(line.startswith("fits: ") for line in lines) == 3
    assert not any("epochs" in line for line in lines)


def test_epochs_are_counted_where_there_are_shards(said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data/shards").mkdir(parents=True)
    (tmp_path / "data/shards/manifest.parquet").touch()
    monkeypatch.setattr(vjepa.cli.train, "read_split", lambda *_: pd.DataFrame(index=range(24)))
    assert "epochs (a clip of each training episode) 4.0" in said()


@pytest.mark.parametrize(("have", "advice"), [(5e6, "pretrain.engine.micro_batch: 4"), (1e5, "strategy: fsdp")])
def test_it_says_what_to_set_where_it_does_not_fit(
    have: float, advice: str, said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vjepa.cli.train, "memory_of", lambda *_: (have, "of a toy"))
    assert any(line.startswith("does not fit: ") and advice in line for line in said())


def test_processes_share_the_clips_of_a_step(said) -> None:
    assert "of a process, of a pass 4, 4" in said("--processes", "2")


def test_what_cannot_be_read_or_shared_is_one_line(said, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"batch_size 8 can't be shared alike by 3 processes"):
        said("--processes", "3")
    values = yaml.safe_load(SMOKE.read_text())
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values | {"encoder": values["encoder"] | {"depht": 2}}))
    with pytest.raises(SystemExit, match=r"bad\.yaml: encoder: the key 'depht'"):
        main(["train", "--dry-run", "--params", "bad.yaml"])


def test_without_dry_run_it_says_who_trains() -> None:
    with pytest.raises(SystemExit, match="dvc repro pretrain posttrain"):
        main(["train"])
