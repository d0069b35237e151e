"""Official files: exact or refused, naming what is wrong."""

from __future__ import annotations

import pathlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vjepa.checkpoints.encoder import load_pretrained, save_encoder
from vjepa.checkpoints.official import (
    Unwritten,
    open_official,
    read_action_predictor,
    read_official,
    save_official,
)
from vjepa.errors import UserError
from vjepa.nn.action_predictor import ActionPredictor
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor

UNWRITTEN = Unwritten(image_size=32, frames=4, heads=2, predictor_heads=2)  # mask tokens as released


def randomised(network: nn.Module) -> Any:
    for parameter in network.parameters():  # zeros and ones can't tell two tensors apart
        nn.init.normal_(parameter, std=0.2)
    return network


def make_encoder(**options: Any) -> VisionTransformer:
    torch.manual_seed(0)
    return randomised(VisionTransformer(32, 8, 2, width=24, depth=4, heads=2, mlp_ratio=3.0, **options))


def released() -> dict[str, Any]:
    """A file as the 2.0 trainer writes it, with names written out from the published key lists, not by our code."""
    torch.manual_seed(0)

    def block(prefix: str, width: int, hidden: int) -> dict[str, Tensor]:
        shapes = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (hidden, width),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden),
            "mlp.fc2.bias": (width,),
        }
        return {prefix + name: torch.randn(shape) for name, shape in shapes.items()}

    encoder = {
        "pos_embed": torch.randn(1, 32, 24),
        "patch_embed.proj.weight": torch.randn(24, 3, 2, 8, 8),
        "patch_embed.proj.bias": torch.randn(24),
        "norm.weight": torch.randn(24),
        "norm.bias": torch.randn(24),
    }
    predictor = {
        "predictor_pos_embed": torch.randn(1, 32, 16),
        "predictor_embed.weight": torch.randn(16, 24),
        "predictor_embed.bias": torch.randn(16),
        "predictor_norm.weight": torch.randn(16),
        "predictor_norm.bias": torch.randn(16),
        "predictor_proj.weight": torch.randn(24, 16),
        "predictor_proj.bias": torch.randn(24),
        **{f"mask_tokens.{i}": torch.randn(1, 1, 16) for i in range(10)},
    }
    for i in range(3):
        encoder |= block(f"blocks.{i}.", 24, 72)
        predictor |= block(f"predictor_blocks.{i}.", 16, 64)
    target = {name: tensor + 1 for name, tensor in encoder.items()}

    def wrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"module.backbone.{name}": tensor for name, tensor in state.items()}

    return {
        "encoder": wrap(encoder),
        "target_encoder": wrap(target),
        "predictor": wrap(predictor),
        "opt": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scaler": {"scale": 65536.0},
        "epoch": 3,
        "loss": 0.4,
        "batch_size": 24,
        "world_size": 16,
        "lr": 5e-4,
    }


@pytest.fixture
def content() -> dict[str, Any]:
    return released()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vitx.pt"


def read(path: Path, content: dict[str, Any], **options: Any) -> Any:
    torch.save(content, path)
    return read_official(path, UNWRITTEN, **({"ignore": ["opt", "scaler"]} | options))


def test_a_released_file_loads_its_teacher_and_its_predictor(path: Path, content: dict[str, Any]) -> None:
    models = read(path, content)
    encoder, predictor = models.encoder, models.predictor
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, content["target_encoder"][f"module.backbone.{name}"]), name
    assert torch.equal(predictor.mask_tokens[7], content["predictor"]["module.backbone.mask_tokens.7"])
    assert torch.equal(predictor.predictor_proj.weight, content["predictor"]["module.backbone.predictor_proj.weight"])
    assert (encoder.width, encoder.depth, encoder.patch, encoder.tubelet, encoder.mlp_ratio) == (24, 3, 8, 2, 3.0)
    assert encoder.tiled_rope and predictor.tiled_rope
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_student_is_read_on_request(path: Path, content: dict[str, Any]) -> None:
    encoder = read(path, content, entry="encoder").encoder
    assert torch.equal(encoder.norm.bias, content["encoder"]["module.backbone.norm.bias"])
    with pytest.raises(UserError, match="has no ema_encoder, only encoder, target_encoder, predictor"):
        read(path, content, entry="ema_encoder")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_names_may_carry_any_of_the_prefixes(prefix: str, path: Path, content: dict[str, Any]) -> None:
    for entry in ("encoder", "target_encoder", "predictor"):
        content[entry] = {prefix + key.removeprefix("module.backbone."): t for key, t in content[entry].items()}
    assert read(path, content).predictor is not None


def test_an_optimizers_state_must_be_named_to_be_ignored(path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="also holds opt, scaler"):
        read(path, content, ignore=[])
    with pytest.raises(UserError, match="also holds scaler"):
        read(path, content, ignore=["opt"])


def renamed(state: dict[str, Tensor], name: str) -> None:
    state[name.replace("mlp", "ffn")] = state.pop(name)


def reshaped(state: dict[str, Tensor], name: str) -> None:
    state[name] = torch.zeros(5, *state[name].shape[1:])


@pytest.mark.parametrize("entry", ["target_encoder", "predictor"])
@pytest.mark.parametrize(
    ("change", "complaints"),
    [
        (renamed, ["blocks.0.mlp.fc1.weight is missing", "blocks.0.ffn.fc1.weight is unexpected"]),
        (lambda state, name: state.pop(name), ["blocks.0.mlp.fc1.weight is missing"]),
        (lambda state, name: state.update({name + "2": torch.zeros(1)}), ["blocks.0.mlp.fc1.weight2 is unexpected"]),
        (reshaped, ["blocks.0.mlp.fc1.weight has shape [5, "]),
    ],
)
def test_one_wrong_tensor_is_named_and_no_other(
    change: Any, complaints: list[str], entry: str, path: Path, content: dict[str, Any]
) -> None:
    name = "module.backbone.blocks.0.mlp.fc1.weight"
    change(content[entry], name.replace("blocks", "predictor_blocks") if entry == "predictor" else name)
    with pytest.raises(UserError) as error:
        read(path, content)
    found = str(error.value).removeprefix(f"{path}: {entry}: ").split("; ")
    assert len(found) == len(complaints)
    for complaint, text in zip(complaints, found, strict=True):
        assert complaint in text


def test_a_tensor_that_is_named_as_ignored_may_be_left_over(path: Path, content: dict[str, Any]) -> None:
    content["target_encoder"]["module.backbone.extra.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"extra\.weight is unexpected"):
        read(path, content)
    read(path, content, ignore=["opt", "scaler", "target_encoder.extra.*"])


class Harmful:
    """Unpickling it would make a file."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return pathlib.Path.touch, (pathlib.Path("unpickled"),)


def test_a_pickled_object_is_refused_and_never_run(
    path: Path, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content["epoch"] = Harmful()
    with pytest.raises(UserError, match="is refused: it holds more than tensors"):
        read(path, content)
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"not a checkpoint", lambda b: b""])
def test_a_damaged_file_is_named(damage: Any, path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"vitx\.pt"):
        open_official(path)


def test_a_mask_token_too_few_or_too_many_is_named(path: Path, content: dict[str, Any]) -> None:
    token = content["predictor"].pop("module.backbone.mask_tokens.9")
    with pytest.raises(UserError, match=r"predictor: mask_tokens\.9 is missing"):
        read(path, content)
    content["predictor"] |= {"module.backbone.mask_tokens.9": token, "module.backbone.mask_tokens.10": token}
    with pytest.raises(UserError, match=r"predictor: mask_tokens\.10 is unexpected"):
        read(path, content)


@pytest.mark.parametrize(
    ("entry", "change", "complaint"),
    [
        ("encoder", {"module.norm.bias": torch.zeros(24)}, "two tensors are named norm.bias"),
        ("encoder", {"blocks.0.norm1.weight": 3}, "'blocks.0.norm1.weight' is a int, no named tensor"),
        ("encoder", {5: torch.zeros(1)}, "5 is a Tensor, no named tensor"),
        ("target_encoder", {"module.backbone.blocks.20000.x": torch.zeros(1)}, "blocks.20000.x is unexpected"),
        (
            "target_encoder",
            {"module.backbone.patch_embed.proj.weight": torch.zeros(24, 3, 2, 8, 5)},
            "patch_embed.proj.weight has shape [24, 3, 2, 8, 5], not [24, 3, tubelet, patch, patch]",
        ),
    ],
)
def test_what_no_trainer_writes_is_named(
    entry: str, change: dict[Any, Any], complaint: str, path: Path, content: dict[str, Any]
) -> None:
    content[entry] |= change
    with pytest.raises(UserError) as error:
        read(path, content)
    assert complaint in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("heads", [5, 8, 0, -2])
def test_heads_that_can_not_share_the_width_are_refused(heads: int, path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    with pytest.raises(UserError, match=f"{heads} heads can't share a width of 24"):
        read_official(path, Unwritten(32, 4, heads, 2), ignore=["opt", "scaler"])


@pytest.mark.parametrize(
    "options",
    [{"tiled_rope": False}, {"rope_side": 16}, {"image_patches": True}, {"tiled_rope": False, "levels": (1, 3)}],
)
def test_what_an_official_file_can_not_say_is_not_written(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an official file can't hold this model"):
        save_official(tmp_path / "x.pt", make_encoder(**options), None)
    with pytest.raises(UserError, match="the predictor has shortcuts"):
        save_official(tmp_path / "x.pt", make_encoder(), ActionPredictor(24, (4, 4), 7, 7, 16, 2, 2))
    assert not list(tmp_path.iterdir())


def test_a_distillate_is_read_by_its_average_and_2_ac_by_its_encoder(path: Path, content: dict[str, Any]) -> None:
    content["ema_encoder"] = {name: tensor + 2 for name, tensor in content["encoder"].items()}
    assert torch.equal(read(path, content).encoder.norm.bias, content["ema_encoder"]["module.backbone.norm.bias"])
    content["predictor"]["module.backbone.action_encoder.weight"] = torch.zeros(1)
    encoder = read(path, content, ignore=["opt", "scaler", "predictor"]).encoder
    assert torch.equal(encoder.norm.bias, content["encoder"]["module.backbone.norm.bias"])


def test_heads_of_an_unknown_width_must_be_said(path: Path, content: dict[str, Any]) -> None:
    torch.save(content, path)
    with pytest.raises(UserError, match="no released size has the width 24, so its heads must be said"):
        read_official(path, ignore=["opt", "scaler"])


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", ["2", "2.1"])
def test_ours_to_official_and_to_transformers_and_back_is_bit_for_bit(family: str, tmp_path: Path) -> None:
    if family == "2":
        encoder = make_encoder()
        predictor = randomised(Predictor(24, 16, 2, 2, mask_tokens=10))
    else:
        encoder = make_encoder(tiled_rope=False, rope_side=16, levels=(0, 1, 2, 3), image_patches=True)
        predictor = randomised(
            Predictor(96, 16, 2, 2, mask_tokens=8, tiled_rope=False, levels=4, context_head=True, modalities=True)
        )
    save_official(tmp_path / "official.pt", encoder, predictor)
    official = read_official(tmp_path / "official.pt", UNWRITTEN)
    assert same(official.encoder, encoder) and same(official.predictor, predictor)
    assert (official.encoder.rope_side, official.encoder.levels) == (encoder.rope_side, encoder.levels)

    save_encoder(tmp_path / "folder", official.encoder, official.predictor, official.frames)
    folder = load_pretrained(tmp_path / "folder")
    assert same(folder.encoder, encoder) and same(folder.predictor, predictor) and folder.frames == 4
    video = torch.randn(1, 3, 4, 32, 40)
    assert torch.equal(folder.encoder(video), encoder.eval()(video))
    assert torch.equal(folder.encoder.forward_levels(video), encoder.forward_levels(video))


def test_the_action_predictor_of_2_ac_returns_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    predictor = randomised(ActionPredictor(24, (4, 4), 7, 7, 16, 2, 2, shortcuts=False, extrinsics=6))
    save_official(tmp_path / "ac.pt", make_encoder(), predictor)
    read = read_action_predictor(tmp_path / "ac.pt", grid=(4, 4), heads=2)
    assert same(read, predictor) and not read.shortcuts
    names = open_official(tmp_path / "ac.pt").networks["predictor"]
    assert {"action_encoder.weight", "state_encoder.weight", "extrinsics_encoder.weight"} <= set(names)
    with pytest.raises(UserError, match="holds the predictor of V-JEPA 2-AC"):
        read_official(tmp_path / "ac.pt", UNWRITTEN)
    assert read_official(tmp_path / "ac.pt", UNWRITTEN, ignore=["predictor"]).predictor is None
    latents, actions, states = torch.randn(1, 2, 16, 24), torch.randn(1, 2, 7), torch.randn(1, 2, 7)
    assert torch.equal(read(latents, actions, states), predictor(latents, actions, states))


def test_what_we_write_has_the_names_that_the_official_loaders_strip(tmp_path: Path) -> None:
    save_official(tmp_path / "official.pt", make_encoder(), Predictor(24, 16, 1, 2, mask_tokens=2))
    content = torch.load(tmp_path / "official.pt", weights_only=True)
    assert set(content) == {"encoder", "target_encoder", "ema_encoder", "predictor"}
    assert "module.backbone.blocks.3.attn.qkv.weight" in content["encoder"]
    assert content["predictor"]["module.backbone.mask_tokens.1"].shape == (1, 1, 16)
