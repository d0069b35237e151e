"""The action-conditioned predictor sees the past alone and starts as copying the last frame."""

import pytest
import torch
import torch.nn.functional as F

from vjepa.nn.action_predictor import ActionPredictor, block_causal_mask
from vjepa.nn.rope import rope_tables, rotate


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    predictor = ActionPredictor(latent_width=16, grid=(2, 3), actions=7, states=5, width=32, depth=2, heads=2)
    torch.nn.init.normal_(predictor.predictor_proj.weight, std=0.1)
    return predictor.eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 4, 6, 16), torch.randn(2, 4, 7), torch.randn(2, 4, 5)


def reference(predictor, latents, actions, states):
    """The predictor token by token: each attends to the tokens of its own and earlier steps, one head at a time."""
    _, steps, places, _ = latents.shape
    tokens, positions = [], []
    for t in range(steps):
        action, state = predictor.action_encoder(actions[:, t]), predictor.state_encoder(states[:, t])
        patches = predictor.predictor_embed(latents[:, t])
        tokens += [action, state, *(patches[:, n] + action + state for n in range(places))]
        positions += [[t, 0, 0], [t, 0, 0], *([t, n // 3, n % 3] for n in range(places))]
    x = torch.stack(tokens, 1)
    cos, sin = rope_tables(torch.tensor(positions), predictor.width // predictor.heads)
    for block in predictor.predictor_blocks:
        qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, predictor.heads, -1))
        mixed = torch.zeros(*x.shape[:2], predictor.heads, qkv.shape[-1])
        for head in range(predictor.heads):
            query, key, value = (qkv[:, :, part, head] for part in range(3))
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
            for token in range(x.shape[1]):
                seen = (token // (places + 2) + 1) * (places + 2)
                scores = (key[:, :seen] @ query[:, token, :, None])[..., 0] / query.shape[-1] ** 0.5
                mixed[:, token, head] = (scores.softmax(-1)[..., None] * value[:, :seen]).sum(1)
        x = x + block.attn.proj(mixed.flatten(2))
        hidden = block.norm2(x)
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(hidden)))
    out = predictor.predictor_proj(predictor.predictor_norm(x)).unflatten(1, (steps, places + 2))
    return latents + out[:, :, 2:]


def test_predictions_equal_a_token_by_token_reference(predictor, inputs):
    for parameter in predictor.parameters():  # the initial weights are too small to tell two networks apart
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        assert torch.allclose(predictor(*inputs), reference(predictor, *inputs), atol=1e-4)


@pytest.mark.parametrize("changed", [0, 1, 2], ids=["latents", "actions", "states"])
def test_the_future_never_reaches_a_prediction(predictor, inputs, changed):
    other = [x.clone() for x in inputs]
    other[changed][:, 2:] += 1.0
    before, after = predictor(*inputs), predictor(*other)
    assert torch.allclose(before[:, :2], after[:, :2], atol=1e-6)
    assert not torch.allclose(before[:, 2], after[:, 2], atol=1e-3)


def test_a_shorter_context_gives_the_same_predictions(predictor, inputs):
    short = predictor(*(x[:, :2] for x in inputs))
    assert torch.allclose(short, predictor(*inputs)[:, :2], atol=1e-5)


def test_the_mask_is_full_inside_a_step_and_causal_between_steps():
    mask = block_causal_mask(steps=3, tokens=2)
    steps = torch.arange(6) // 2
    assert torch.equal(mask, torch.tensor([[bool(steps[q] >= steps[k]) for k in range(6)] for q in range(6)]))


def test_before_training_the_prediction_is_the_last_frame(inputs):
    fresh = ActionPredictor(latent_width=16, grid=(2, 3), actions=7, states=5, width=32, depth=2, heads=2)
    assert torch.equal(fresh(*inputs), inputs[0])


def test_action_and_state_tokens_are_placed_in_time_alone(predictor):
    positions = predictor.positions(2, torch.device("cpu")).reshape(2, 8, 3)
    assert positions[1, :2].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert positions[1, 2:].tolist() == [[1, r, c] for r in range(2) for c in range(3)]
