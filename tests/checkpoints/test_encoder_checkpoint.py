"""Loading an encoder is exact, or it fails and names what is wrong."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from vjepa.checkpoints.encoder import load_encoder, save_encoder, untrained_encoder
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VisionTransformer(image_size=16, patch=8, tubelet=2, width=24, depth=2, heads=2, mlp_ratio=2.0)


@pytest.fixture
def folder(encoder, tmp_path):
    save_encoder(tmp_path / "encoder", encoder, Predictor(24, 16, 1, 2), frames=4)
    return tmp_path / "encoder"


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_round_trip_returns_every_tensor_bit_for_bit(encoder, folder):
    loaded = load_encoder(folder).state_dict()
    assert loaded.keys() == encoder.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in encoder.state_dict().items())


def test_a_loaded_encoder_is_frozen(folder):
    assert not any(p.requires_grad for p in load_encoder(folder).parameters())


def test_a_missing_tensor_is_named(folder):
    change(folder, lambda t: t.pop("encoder.layer.1.mlp.fc1.bias"))
    with pytest.raises(UserError, match=r"encoder\.layer\.1\.mlp\.fc1\.bias is missing"):
        load_encoder(folder)


def test_an_unexpected_tensor_is_named(folder):
    change(folder, lambda t: t.update({"encoder.layer.7.norm1.bias": torch.zeros(24)}))
    with pytest.raises(UserError, match=r"encoder\.layer\.7\.norm1\.bias is unexpected"):
        load_encoder(folder)


def test_a_reshaped_tensor_is_named(folder):
    change(folder, lambda t: t.update({"encoder.layernorm.bias": torch.zeros(25)}))
    with pytest.raises(UserError, match=r"encoder\.layernorm\.bias has shape \[25\], not \[24\]"):
        load_encoder(folder)


def test_a_truncated_file_is_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="can't be read"):
        load_encoder(folder)


def test_a_config_without_a_size_is_named(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="lacks the key 'hidden_size'"):
        load_encoder(folder)


def test_the_untrained_encoder_depends_on_its_seed_alone(encoder):
    state = torch.get_rng_state()
    first, again, other = (untrained_encoder(encoder, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.norm.weight, again.norm.weight)
    assert torch.equal(first.patch_embed.proj.weight, again.patch_embed.proj.weight)
    assert not torch.equal(first.patch_embed.proj.weight, other.patch_embed.proj.weight)
