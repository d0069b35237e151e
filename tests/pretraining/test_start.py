"""A pretraining may start from given weights; with no steps beside they are its result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from stages.pretrain import ending
from tests.pretraining.test_phases import CONFIG, ENCODER
from tests.probing.moving_square import moving_squares
from vjepa.checkpoints.encoder import build_encoder, save_encoder
from vjepa.checkpoints.official import save_official
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor
from vjepa.pretraining.pretrain import Pretraining

KINDS = ["official.pt", "folder"]


def given(folder: Path, kind: str, predictor: bool = True) -> tuple[Path, VisionTransformer, Predictor]:
    """Weights of another seed and image size, with three mask tokens, and the file or folder that holds them."""
    torch.manual_seed(7)
    encoder = build_encoder(replace(ENCODER, image_size=32))
    guesser = Predictor(24, 16, 1, 2, 2.0, mask_tokens=3)
    torch.nn.init.normal_(guesser.mask_tokens)
    path = folder / kind
    if kind == "folder":
        save_encoder(path, encoder, guesser if predictor else None, 64)
    else:
        save_official(path, encoder, guesser if predictor else None)
    return path, encoder, guesser


def start(folder: Path, path: Path, encoder: EncoderConfig = ENCODER, **changes: object) -> Pretraining:
    config: PretrainConfig = replace(CONFIG, start=str(path), **changes)  # type: ignore[arg-type]
    return Pretraining(LoadedEpisodes(moving_squares(8)), encoder, config, 0, folder / "run", "data")


def same(mine: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_both_encoders_and_the_predictor_start_from_the_given_weights_and_learn_on(kind: str, tmp_path: Path) -> None:
    path, encoder, predictor = given(tmp_path, kind)
    training = start(tmp_path, path)
    assert same(training.context_encoder, encoder) and same(training.target_encoder, encoder)
    assert torch.equal(training.predictor.mask_tokens, predictor.mask_tokens[:1])
    assert same(training.predictor.predictor_blocks, predictor.predictor_blocks)
    training.train()
    assert not same(training.target_encoder, encoder)


@pytest.mark.parametrize("kind", KINDS)
def test_without_steps_the_encoder_is_the_given_one_bit_for_bit(kind: str, tmp_path: Path) -> None:
    path, encoder, _ = given(tmp_path, kind)
    training = start(tmp_path, path, steps=0, warmup=0, cooldown=0)
    training.train()
    kept, _ = training.trained()
    assert same(kept, encoder) and kept.image_size == ENCODER.image_size
    metrics = ending(pd.DataFrame(training.run.log), {}, training.config, kept)
    assert metrics == {"steps": 0, "clips_seen": 0, "parameters": sum(p.numel() for p in encoder.parameters())}
    training.run.finish(tmp_path / "log.csv")
    assert pd.read_csv(tmp_path / "log.csv").columns.to_list() == ["step", "loss"]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_without_a_predictor_get_a_fresh_one(kind: str, tmp_path: Path) -> None:
    path, encoder, _ = given(tmp_path, kind, predictor=False)
    assert same(start(tmp_path, path).context_encoder, encoder)


def test_sizes_that_are_not_the_settings_are_all_named(tmp_path: Path) -> None:
    path, *_ = given(tmp_path, "folder")
    wrong = replace(ENCODER, depth=3, patch=8, mlp_ratio=3.0)
    with pytest.raises(UserError, match=r"pretrain\.start: the encoder .*patch 4, not 8; depth 2, not 3; 48 hidden"):
        start(tmp_path, path, wrong)
    with pytest.raises(UserError, match=r"pretrain\.start: the predictor .*depth 1, not 2"):
        start(tmp_path, path, predictor_depth=2)


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pretrain\.start: .*vitl\.pt does not exist"):
        start(tmp_path, tmp_path / "vitl.pt")


def test_a_run_goes_on_from_its_checkpoint_with_the_same_weights_alone(tmp_path: Path) -> None:
    path, *_ = given(tmp_path, "official.pt")
    first = start(tmp_path, path)
    torch.manual_seed(8)
    save_official(path, build_encoder(ENCODER), None)
    assert start(tmp_path, path).run.checkpoints.fingerprint != first.run.checkpoints.fingerprint


def test_no_steps_leave_random_weights_too() -> None:
    """The arm of an untrained encoder; fewer than none are refused."""
    assert replace(CONFIG, steps=0, warmup=0, cooldown=0).steps == 0
    with pytest.raises(ValueError, match="steps must be 0 or more"):
        replace(CONFIG, steps=-1, warmup=0, cooldown=0)
