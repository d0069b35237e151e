"""Folders of `transformers`: the same numbers both ways, whole or in shards."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from vjepa.checkpoints.classifier import load_classifier, read_official_probe, save_classifier
from vjepa.checkpoints.encoder import PretrainedEncoder, load_pretrained, save_encoder
from vjepa.errors import UserError
from vjepa.nn.attentive import AttentiveProbe
from vjepa.nn.encoder import VisionTransformer, gather_tokens
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions

CONFIG = VJEPA2Config(
    patch_size=8,
    crop_size=32,
    frames_per_clip=4,
    tubelet_size=2,
    hidden_size=72,
    num_attention_heads=2,
    num_hidden_layers=3,
    mlp_ratio=2.0,
    pred_hidden_size=36,
    pred_num_attention_heads=2,
    pred_num_hidden_layers=2,
    pred_num_mask_tokens=3,
    num_pooler_layers=2,
    num_labels=5,
)


def randomised(network: Any) -> Any:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[VJEPA2Model, Path]:
    torch.manual_seed(0)
    model = randomised(VJEPA2Model(CONFIG))
    model.save_pretrained(tmp_path / "theirs")
    return model, tmp_path / "theirs"


@pytest.mark.parametrize("frames", [1, 2, 4, 10])
def test_their_encoder_gives_the_same_features_here(frames: int, theirs: tuple[VJEPA2Model, Path]) -> None:
    model, folder = theirs
    ours = load_pretrained(folder)
    video = torch.randn(2, 3, frames, 32, 32)
    with torch.no_grad():
        expected = model(video.transpose(1, 2), skip_predictor=True).last_hidden_state
        torch.testing.assert_close(ours.encoder(video), expected, atol=1e-4, rtol=0)
    assert ours.frames == 4


def test_their_predictor_gives_the_same_predictions_here(theirs: tuple[VJEPA2Model, Path]) -> None:
    model, folder = theirs
    ours = load_pretrained(folder)
    assert ours.predictor is not None
    video = torch.randn(2, 3, 4, 32, 32)
    ids = torch.stack([torch.randperm(32) for _ in range(2)])
    context, targets = ids[:, :12].sort(1).values, ids[:, 12:].sort(1).values
    with torch.no_grad():
        output = model(video.transpose(1, 2), context_mask=[context], target_mask=[targets])
        seen = gather_tokens(output.last_hidden_state, context)
        predicted = ours.predictor(seen, context, targets, grid_positions(2, 4, 4), mask_token=1)
        other = ours.predictor(seen, context, targets, grid_positions(2, 4, 4), mask_token=0)
    torch.testing.assert_close(predicted, output.predictor_output.last_hidden_state, atol=1e-4, rtol=0)
    assert (other - predicted).abs().max() > 1e-2, "transformers takes mask token 1"


@pytest.mark.parametrize(("crop", "frames"), [(16, 2), (24, 8), (48, 4)])
def test_other_square_crops_and_lengths_give_the_same_here(crop: int, frames: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = copy.deepcopy(CONFIG)
    config.crop_size, config.frames_per_clip = crop, frames
    model = randomised(VJEPA2Model(config))
    model.save_pretrained(tmp_path / "theirs")
    ours = load_pretrained(tmp_path / "theirs")
    video, side = torch.randn(1, 3, frames, crop, crop), crop // 8
    count = frames // 2 * side**2
    ids = torch.randperm(count).unsqueeze(0)
    context, targets = ids[:, : count // 3].sort(1).values, ids[:, count // 3 :].sort(1).values
    with torch.no_grad():
        output = model(video.transpose(1, 2), context_mask=[context], target_mask=[targets])
        seen = gather_tokens(output.last_hidden_state, context)
        predicted = ours.predictor(seen, context, targets, grid_positions(frames // 2, side, side), mask_token=1)
        torch.testing.assert_close(ours.encoder(video), output.last_hidden_state, atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted, output.predictor_output.last_hidden_state, atol=1e-4, rtol=0)


def test_theirs_to_ours_and_back_is_bit_for_bit(theirs: tuple[VJEPA2Model, Path], tmp_path: Path) -> None:
    model, folder = theirs
    ours = load_pretrained(folder)
    save_encoder(tmp_path / "ours", ours.encoder, ours.predictor, ours.frames)
    back = AutoModel.from_pretrained(tmp_path / "ours")
    assert type(back) is VJEPA2Model
    state = back.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_shards_are_read_and_written(writer: str, theirs: tuple[VJEPA2Model, Path], tmp_path: Path) -> None:
    model, folder = theirs
    shards = tmp_path / "shards"
    if writer == "ours":
        whole = load_pretrained(folder)
        save_encoder(shards, whole.encoder, whole.predictor, whole.frames, max_shard_bytes=100_000)
    else:
        model.save_pretrained(shards, max_shard_size="100KB")
    assert len(list(shards.glob("model-*.safetensors"))) > 2 and not (shards / "model.safetensors").exists()
    read = load_pretrained(shards).encoder.state_dict()
    expected = load_pretrained(folder).encoder.state_dict()
    assert all(torch.equal(tensor, read[name]) for name, tensor in expected.items())
    port = AutoModel.from_pretrained(shards).state_dict()
    assert all(torch.equal(tensor, port[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def shards(theirs: tuple[VJEPA2Model, Path], tmp_path: Path) -> Path:
    theirs[0].save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    return tmp_path / "shards"


@pytest.mark.parametrize("name", ["../model.safetensors", "..", "", "C:x.safetensors", 7, None, ["a"], "index.json"])
def test_a_shard_that_is_no_file_of_the_folder_is_refused(name: Any, shards: Path) -> None:
    index = json.loads((shards / "model.safetensors.index.json").read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = name
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"which is no \.safetensors file in the folder"):
        load_pretrained(shards)


def test_an_index_without_end_is_one_clear_line(shards: Path) -> None:
    (shards / "model.safetensors.index.json").write_text('{"weight_map":' + "[" * 100_000)
    with pytest.raises(UserError, match="can't be read"):
        load_pretrained(shards)


def test_a_tensor_that_its_shard_lacks_is_named(shards: Path) -> None:
    shard = next(shards.glob("model-00002-*.safetensors"))
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    tensors.pop(name)
    save_file(tensors, shard, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{shard.name} and model.safetensors.index.json differ in {name}"):
        load_pretrained(shards)


def test_a_missing_shard_is_named(shards: Path) -> None:
    shard = next(shards.glob("model-00002-*.safetensors"))
    shard.unlink()
    with pytest.raises(UserError, match=shard.name):
        load_pretrained(shards)


@pytest.mark.parametrize(("name", "value"), [("qkv_bias", False), ("hidden_act", "relu"), ("layer_norm_eps", 1e-5)])
def test_a_setting_that_can_not_be_followed_is_named(name: str, value: Any, theirs: tuple[VJEPA2Model, Path]) -> None:
    config = json.loads((theirs[1] / "config.json").read_text()) | {name: value}
    (theirs[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"{name} is {value!r}, but only"):
        load_pretrained(theirs[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -8),
        ("hidden_size", "72"),
        ("hidden_size", 10**12),
        ("num_attention_heads", 5),
        ("num_attention_heads", 36),
        ("mlp_ratio", float("inf")),
        ("frames_per_clip", "4"),
        ("frames_per_clip", None),
        ("patch_size", True),
        ("crop_size", 33),
        ("tiled_rope", "false"),
        ("levels", "2"),
        ("levels", [2, 1]),
        ("pred_hidden_size", 0),
        ("pred_num_mask_tokens", -1),
        ("pred_levels", 2.5),
    ],
)
def test_a_setting_that_describes_no_network_is_one_clear_line(
    name: str, value: Any, theirs: tuple[VJEPA2Model, Path]
) -> None:
    path = theirs[1] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(UserError, match=r"config\.json") as error:
        load_pretrained(theirs[1])
    assert "\n" not in str(error.value)


def test_a_tensor_that_is_named_as_ignored_may_be_left_over(theirs: tuple[VJEPA2Model, Path]) -> None:
    tensors = load_file(theirs[1] / "model.safetensors") | {"encoder.extra.weight": torch.zeros(1)}
    save_file(tensors, theirs[1] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"encoder\.extra\.weight is unexpected"):
        load_pretrained(theirs[1])
    assert load_pretrained(theirs[1], ["encoder.extra.*"]).predictor is not None
    assert load_pretrained(theirs[1], ["encoder.extra.*", "predictor.*"]).predictor is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool])
def test_tensors_that_are_no_weights_are_named(dtype: torch.dtype, theirs: tuple[VJEPA2Model, Path]) -> None:
    tensors = load_file(theirs[1] / "model.safetensors")
    tensors["encoder.layernorm.bias"] = tensors["encoder.layernorm.bias"].to(dtype)
    save_file(tensors, theirs[1] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"encoder\.layernorm\.bias holds \w+, no weights"):
        load_pretrained(theirs[1])


def test_a_model_of_another_type_is_refused(theirs: tuple[VJEPA2Model, Path]) -> None:
    (theirs[1] / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match="a model of type 'vit'"):
        load_pretrained(theirs[1])


@pytest.mark.parametrize(
    "option", [{"tiled_rope": False}, {"levels": (0, 1)}, {"rope_side": 16}, {"image_patches": True}]
)
def test_transformers_refuses_what_it_can_not_follow(option: dict[str, Any], tmp_path: Path) -> None:
    encoder = VisionTransformer(16, 8, 2, 24, 2, 2, 2.0, **option)
    save_encoder(tmp_path / "later", encoder, None, frames=4)
    with pytest.raises(ValueError, match="vjepa2_1"):
        AutoConfig.from_pretrained(tmp_path / "later")
    read = load_pretrained(tmp_path / "later").encoder
    assert all(getattr(read, name) == value for name, value in option.items())


def test_their_classifier_gives_the_same_answers_here_and_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomised(VJEPA2ForVideoClassification(CONFIG))
    theirs.save_pretrained(tmp_path / "theirs")
    model, probe, labels = load_classifier(tmp_path / "theirs")
    video = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        tokens = model.encoder(video)
        expected = theirs(video.transpose(1, 2)).logits
        torch.testing.assert_close(probe.pool(tokens), theirs.pooler(tokens), atol=1e-4, rtol=0)
        torch.testing.assert_close(probe(tokens), expected, atol=1e-4, rtol=0)
    assert labels == [f"LABEL_{i}" for i in range(5)]

    save_classifier(tmp_path / "ours", model, probe, labels)
    back = VJEPA2ForVideoClassification.from_pretrained(tmp_path / "ours").state_dict()
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensor, back[name]) for name, tensor in theirs.state_dict().items())


def test_an_official_probe_loads_and_a_wrong_tensor_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = VisionTransformer(16, 8, 2, 24, 1, 2, 2.0)
    probe = randomised(AttentiveProbe(None, 24, heads=2, depth=3, outputs=7, norm_eps=1e-5))
    inner = {
        "cross_attention_block.q.": "cross_attention_block.xattn.q.",
        "cross_attention_block.kv.": "cross_attention_block.xattn.kv.",
    }
    state = {}
    for name, tensor in probe.state_dict().items():
        for ours, theirs in inner.items():
            name = name.replace(ours, theirs)
        state["module." + (name if name.startswith("linear.") else f"pooler.{name}")] = tensor
    torch.save({"classifiers": [state], "epoch": 20}, tmp_path / "probe.pt")
    read = read_official_probe(tmp_path / "probe.pt", encoder, heads=2)
    tokens = torch.randn(2, 9, 24)
    assert torch.equal(read(tokens), probe(tokens))
    norms = [module for module in read.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 6 and all(norm.eps == 1e-5 for norm in norms)
    with pytest.raises(UserError, match="a norm epsilon of 1e-06, not 1e-05"):
        save_classifier(tmp_path / "x", PretrainedEncoder(encoder, None, 2), read, [f"{i}" for i in range(7)])

    state["module.pooler.blocks.1.attn.qkw.weight"] = state.pop("module.pooler.blocks.1.attn.qkv.weight")
    torch.save({"classifiers": [state]}, tmp_path / "probe.pt")
    with pytest.raises(UserError, match=r"attn\.qkv\.weight is missing; pooler\.blocks\.1\.attn\.qkw\.weight is unex"):
        read_official_probe(tmp_path / "probe.pt", encoder, heads=2)
    with pytest.raises(UserError, match="16 heads can't share the encoder's width of 24"):
        read_official_probe(tmp_path / "probe.pt", encoder)


def test_a_probe_that_transformers_can_not_follow_is_refused(tmp_path: Path) -> None:
    model = PretrainedEncoder(VisionTransformer(16, 8, 2, 24, 1, 2, 2.0), Predictor(24, 12, 1, 2), frames=4)
    with pytest.raises(UserError, match="have no positions"):
        save_classifier(tmp_path / "x", model, AttentiveProbe((2, 2, 2), 24, 2, 1, 3), ["a", "b", "c"])
