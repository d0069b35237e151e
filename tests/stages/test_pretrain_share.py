"""`pretrain.episodes_share`: few episodes are learned from, and the read-out is of all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages import pretrain
from tests.data.tiny_shards import write_tiny_shards
from tests.pretraining.test_watch import training


def made(folder: Path, share: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The metrics that the stage leaves of a share of eight episodes."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_tiny_shards(Path("data/shards"), [8] * 8)
    like = training(folder / "unused", ema=0.9)
    schedule = {"steps": steps, "warmup": 0, "cooldown": 0}
    pretrain.run(like.encoder_config, replace(like.config, episodes_share=share, **schedule), 0)
    return json.loads(Path("metrics/pretrain.json").read_text())


def test_few_episodes_are_learned_from_and_all_are_read_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, quarter = (made(tmp_path / f"{share}", share, 0, monkeypatch) for share in (1.0, 0.25))
    assert [whole["episodes"], quarter["episodes"]] == [8, 2]
    measured = ["state_readout", "distance_agreement"]
    assert [quarter[name] for name in measured] == [whole[name] for name in measured], "the same random weights"
    trained = made(tmp_path / "trained", 0.25, 5, monkeypatch)
    assert trained["loss"] > 0 and trained["state_readout"] != whole["state_readout"]
