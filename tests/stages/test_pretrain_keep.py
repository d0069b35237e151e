"""`pretrain.keep` decides which encoder pretraining leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from stages import pretrain
from tests.pretraining.test_watch import moving_squares, training
from tests.training.engines import ENGINE
from vjepa.checkpoints.encoder import load_encoder
from vjepa.data.clips import LoadedEpisodes


def kept(folder: Path, keep: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Run the stage with a number that is the best in the row of step 5; the tensors of the encoder that it leaves."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = training(folder / "unused", ema=0.9, steps=30)
    config = replace(made.config, keep=keep, engine=replace(ENGINE, best="learning_rate"))
    monkeypatch.setattr(pretrain, "EpisodeStore", lambda *_: LoadedEpisodes(moving_squares(24)))
    monkeypatch.setattr(pretrain, "sha256_of", lambda _: "data")
    pretrain.run(made.encoder_config, config, 0)
    return load_encoder(Path("models/encoder")).state_dict()


def test_the_last_or_the_best_encoder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last, best = (kept(tmp_path / keep, keep, monkeypatch) for keep in ("last", "best"))
    for folder, encoder, same in (("last", last, False), ("best", best, True)):
        [state] = (tmp_path / folder / "runs/pretrain").iterdir()
        assert state.name.startswith("best-00000006-")
        [file] = state.glob("*.safetensors")
        at_six = load_file(file)
        equal = [tensor.equal(at_six[f"target_encoder.{name}"]) for name, tensor in encoder.items()]
        assert len(equal) > 10 and all(equal) == same


def test_the_best_needs_a_number(tmp_path: Path) -> None:
    config = training(tmp_path, ema=0.9).config
    with pytest.raises(ValueError, match=r"keep is best, but engine.best names no number of the log"):
        replace(config, keep="best")
