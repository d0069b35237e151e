"""The encoder agrees with transformers' V-JEPA 2, and dropped tokens really are dropped."""

import pytest
import torch
from transformers import VJEPA2Model

from vjepa.checkpoints.encoder import save_encoder
from vjepa.nn.encoder import VisionTransformer, encode_frames, gather_tokens, normalise_pixels
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions, rope_tables


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=32, patch=8, tubelet=2, width=96, depth=2, heads=2, mlp_ratio=2.0)
    for parameter in encoder.parameters():  # the initial weights are too small to tell two networks apart
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


@pytest.fixture
def predictor():
    torch.manual_seed(1)
    predictor = Predictor(96, width=36, depth=2, heads=2, mlp_ratio=2.0)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return predictor.eval()


@pytest.fixture
def port(encoder, predictor, tmp_path):
    save_encoder(tmp_path / "encoder", encoder, predictor, frames=4)
    return VJEPA2Model.from_pretrained(tmp_path / "encoder").eval()


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_encoder_equals_transformers(encoder, port, frames):
    video = torch.randn(2, 3, frames, 32, 32)
    with torch.no_grad():
        theirs = port(video.transpose(1, 2), skip_predictor=True).last_hidden_state
        assert torch.allclose(encoder(video), theirs, atol=1e-4)


def test_predictor_equals_transformers(encoder, predictor, port):
    video = torch.randn(2, 3, 4, 32, 32)
    ids = torch.stack([torch.randperm(32) for _ in range(2)])
    context, targets = ids[:, :12].sort(1).values, ids[:, 12:].sort(1).values
    with torch.no_grad():
        theirs = port(video.transpose(1, 2), context_mask=[context], target_mask=[targets])
        seen = gather_tokens(theirs.last_hidden_state, context)
        ours = predictor(seen, context, targets, grid_positions(2, 4, 4))
    assert torch.allclose(ours, theirs.predictor_output.last_hidden_state, atol=1e-4)


def test_dropped_tokens_influence_nothing(encoder):
    video = torch.randn(1, 3, 4, 32, 32)
    other = video.clone()
    other[:, :, 2:] = torch.randn(1, 3, 2, 32, 32)  # the second time step, whose tokens have ids 16 to 31
    keep = torch.arange(16).unsqueeze(0)
    assert torch.equal(encoder(video, keep), encoder(other, keep))
    assert not torch.allclose(encoder(video)[:, :16], encoder(other)[:, :16])


def test_dropping_equals_dense_attention_with_the_dropped_keys_hidden(encoder):
    video = torch.randn(1, 3, 4, 32, 32)
    keep = torch.randperm(32)[:11].sort().values.unsqueeze(0)
    visible = torch.zeros(32, dtype=torch.bool)
    visible[keep] = True
    x = encoder.patch_embed(video)
    rope = rope_tables(grid_positions(2, 4, 4), 48)
    for block in encoder.blocks:
        x = block(x, rope, mask=visible.expand(32, 32))
    dense = encoder.norm(x)[:, keep[0]]
    assert torch.allclose(encoder(video, keep), dense, atol=1e-5)


def test_rope_angles_are_tiled_and_leave_the_rest_channels_alone():
    cos, sin = rope_tables(torch.tensor([[3, 1, 2]]), head_dim=32)
    assert torch.allclose(cos[0, 0], torch.tensor(3.0).cos()) and torch.allclose(cos[0, 5], torch.tensor(3.0).cos())
    assert torch.allclose(sin[0, 10].abs(), torch.tensor(1.0).sin())
    assert torch.allclose(cos[0, 20], torch.tensor(2.0).cos())
    assert torch.equal(cos[0, 30:], torch.ones(2)) and torch.equal(sin[0, 30:].abs(), torch.zeros(2))


def test_a_frame_is_an_image_to_an_encoder_that_has_patches_for_images():
    encoder = VisionTransformer(32, 8, 2, 24, 1, 2, 2.0, image_patches=True)
    frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(encode_frames(encoder, frames), encoder(normalise_pixels(frames.unsqueeze(1))))
    still = torch.stack([frames, frames], dim=1)
    assert not torch.allclose(encode_frames(encoder, frames), encoder(normalise_pixels(still)))


def test_a_frame_is_encoded_as_a_still_clip(encoder):
    frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    still = torch.stack([frames, frames], dim=1)
    assert torch.equal(encode_frames(encoder, frames), encoder(normalise_pixels(still)))
    assert torch.allclose(
        normalise_pixels(still).permute(0, 2, 3, 4, 1)[0, 0, 0, 0, 0], (still[0, 0, 0, 0, 0] / 255 - 0.485) / 0.229
    )
