"""What V-JEPA 2.1 adds, and what any encoder must do: against slow references written from the published rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.nn.encoder import VisionTransformer, gather_tokens
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions, rope_tables, stretch_positions
from vjepa.nn.sizes import LEVELS, SIZES, named_encoder, supervised_levels


def make(**options: Any) -> VisionTransformer:
    torch.manual_seed(0)
    encoder = VisionTransformer(32, 8, 2, width=96, depth=4, heads=2, mlp_ratio=2.0, **options)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


def rotated(vector: list[float], position: list[float], tiled: bool) -> list[float]:
    """A query or key of one head turned as the rules say, channel by channel."""
    n = 2 * (len(vector) // 3 // 2)
    out = list(vector)
    for axis, place in enumerate(position):
        for c in range(n):
            omega = 10000 ** (-((c % (n // 2)) if tiled else c // 2) / (n / 2))
            i = axis * n + c
            partner = -vector[i + 1] if c % 2 == 0 else vector[i - 1]
            out[i] = vector[i] * math.cos(place * omega) + partner * math.sin(place * omega)
    return out


def slow_features(
    encoder: VisionTransformer, video: Tensor, keep: list[int] | None, scale: tuple[float, float]
) -> Tensor:
    """The last norm's output for one clip, token by token."""
    rows, columns = video.shape[3] // 8, video.shape[4] // 8
    tokens = []
    for i in range(video.shape[2] // 2 * rows * columns) if keep is None else keep:
        t, r, c = i // (rows * columns), i % (rows * columns) // columns, i % columns
        block = video[0, :, 2 * t : 2 * t + 2, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8]
        proj = encoder.patch_embed.proj
        token = (proj.weight * block).sum((1, 2, 3, 4)) + proj.bias
        if encoder.image_patches:
            token = token + encoder.video_mod_embed[0, 0]
        tokens.append((token, [t, r * scale[0], c * scale[1]]))
    x = torch.stack([token for token, _ in tokens])
    for block in encoder.blocks:
        q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
        heads = []
        for h in (slice(0, 48), slice(48, 96)):
            turned = [
                torch.tensor(
                    [
                        rotated(row.tolist(), place, encoder.tiled_rope)
                        for row, (_, place) in zip(m[:, h], tokens, strict=True)
                    ]
                )
                for m in (q, k)
            ]
            heads.append(F.softmax(turned[0] @ turned[1].T / 48**0.5, dim=-1) @ v[:, h])
        x = x + block.attn.proj(torch.cat(heads, dim=-1))
        hidden = block.mlp.fc1(block.norm2(x))
        x = x + block.mlp.fc2(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))
    norm = encoder.norms_block[-1] if encoder.levels else encoder.norm
    return norm(x)


@pytest.mark.parametrize("keep", [None, [0, 3, 7, 13, 14, 22, 31, 39]])
@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, (1, 1)),
        ({"tiled_rope": False}, (1, 1)),
        ({"tiled_rope": False, "rope_side": 16, "levels": (1, 3), "image_patches": True}, (15 / 3, 15 / 4)),
    ],
)
@torch.no_grad()
def test_features_of_a_clip_that_is_not_square(options: dict[str, Any], scale: Any, keep: list[int] | None) -> None:
    encoder = make(**options)
    video = torch.randn(1, 3, 4, 32, 40)
    ids = None if keep is None else torch.tensor([keep])
    torch.testing.assert_close(encoder(video, ids)[0], slow_features(encoder, video, keep, scale), atol=1e-4, rtol=1e-4)


def test_corrected_angles_turn_partners_alike_and_keep_the_norm() -> None:
    positions = grid_positions(3, 4, 5)
    for tiled in (False, True):
        cos, sin = rope_tables(positions, 64, tiled)
        turn = cos**2 + sin**2
        torch.testing.assert_close(turn, torch.ones_like(turn))
        pairs_agree = torch.allclose(cos[:, 0::2], cos[:, 1::2])
        assert pairs_agree is not tiled


def test_a_stretched_grid_covers_the_same_range_at_any_size() -> None:
    for rows, columns in ((16, 16), (24, 24), (3, 7), (1, 5)):
        stretched = stretch_positions(grid_positions(2, rows, columns), rows, columns, 16)
        assert stretched[:, 0].max() == 1
        assert stretched[:, 1].max() == (15 if rows > 1 else 0) and stretched[:, 2].max() == 15
    assert torch.equal(stretch_positions(grid_positions(2, 16, 16), 16, 16, 16), grid_positions(2, 16, 16).float())


@pytest.mark.parametrize("options", [{}, {"image_patches": True}])
def test_any_number_of_frames_from_one_up_is_encoded(options: dict[str, Any]) -> None:
    encoder = make(**options)
    video = torch.randn(1, 3, 5, 32, 32)
    assert encoder(video).shape == (1, 3 * 16, 96)
    torch.testing.assert_close(encoder(video), encoder(torch.cat([video, video[:, :, -1:]], 2)))
    image = encoder(video[:, :, :1])
    still = encoder(video[:, :, :1].expand(-1, -1, 2, -1, -1))
    assert image.shape == still.shape == (1, 16, 96)
    assert torch.allclose(image, still) is not bool(options), "with patches of their own images are no still clips"


def test_pixels_that_can_not_be_cut_into_patches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"30 x 32 pixels can't be cut into patches of 8"):
        make()(torch.randn(1, 3, 2, 30, 32))


def test_levels_are_those_of_the_blocks_each_with_its_norm() -> None:
    encoder = make(levels=(1, 3))
    video = torch.randn(1, 3, 4, 32, 32)
    side_by_side = encoder.forward_levels(video)
    assert side_by_side.shape == (1, 32, 192)
    torch.testing.assert_close(side_by_side[..., 96:], encoder(video))
    shallow = make()
    shallow.load_state_dict(encoder.state_dict(), strict=False)
    shallow.blocks = shallow.blocks[:2]
    shallow.depth, shallow.norm = 2, encoder.norms_block[0]
    torch.testing.assert_close(side_by_side[..., :96], shallow(video))
    with pytest.raises(ValueError, match="must ascend and end with the last of 4 blocks"):
        make(levels=(0, 2))


def test_the_published_levels_and_even_ones_at_other_depths() -> None:
    assert supervised_levels(48, 4) == (11, 23, 37, 47) and supervised_levels(12, 4) == LEVELS[12]
    assert supervised_levels(8, 4) == (1, 3, 5, 7) and supervised_levels(24, 1) == (23,)


def test_a_predictor_of_many_levels_has_a_head_for_visible_tokens() -> None:
    torch.manual_seed(0)
    predictor = Predictor(192, 36, 2, 2, mask_tokens=2, levels=2, context_head=True, modalities=True, output_width=80)
    for parameter in predictor.parameters():
        nn.init.normal_(parameter, std=0.2)
    ids = torch.randperm(32).unsqueeze(0)
    context_ids, target_ids = ids[:, :10], ids[:, 10:]
    context, positions = torch.randn(1, 10, 192), grid_positions(2, 4, 4)
    both = predictor.predict_all(context, context_ids, target_ids, positions)
    assert both.shape == (1, 32, 80)
    torch.testing.assert_close(both[:, 10:], predictor(context, context_ids, target_ids, positions))
    predictor.predictor_proj_context.weight.data.zero_()
    predictor.predictor_proj_context.bias.data.fill_(3)
    changed = predictor.predict_all(context, context_ids, target_ids, positions)
    assert torch.equal(changed[:, :10], torch.full((1, 10, 80), 3.0)) and torch.equal(changed[:, 10:], both[:, 10:])
    as_image = predictor.predict_all(context, context_ids, target_ids, positions, image=True)
    assert not torch.allclose(as_image[:, 10:], both[:, 10:])


@pytest.mark.parametrize("levels", [(), (1, 3)])
def test_activation_checkpointing_changes_no_gradient(levels: tuple[int, ...]) -> None:
    encoder = make(levels=levels)
    video, keep = torch.randn(2, 3, 4, 32, 32), torch.arange(0, 32, 3).repeat(2, 1)
    gradients = []
    for recompute in (False, True):
        encoder.recompute = recompute
        encoder.zero_grad()
        encoder.forward_levels(video, keep).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 40
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_activation_checkpointing_keeps_less_for_the_backward_pass() -> None:
    encoder, video = make(), torch.randn(2, 3, 4, 32, 32)
    kept = []
    for recompute in (False, True):
        encoder.recompute, sizes = recompute, []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            encoder(video)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_compilation_meets_no_graph_break() -> None:
    encoder, predictor = make(), Predictor(96, 36, 2, 2)
    torch._dynamo.reset()

    def step(video: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        return predictor(encoder(video, keep), keep, hidden, grid_positions(2, 4, 4))

    ids = torch.randperm(32).repeat(2, 1)
    explained = torch._dynamo.explain(step)(torch.randn(2, 3, 4, 32, 32), ids[:, :10], ids[:, 10:])
    assert explained.graph_break_count == 0, explained.break_reasons


def test_bfloat16_stays_near_float32() -> None:
    encoder, video = make(), torch.randn(1, 3, 4, 32, 32)
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(0.25)
    with torch.no_grad():
        exact = encoder(video)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = encoder(video)
        cast = encoder.bfloat16()(video.bfloat16())
    for close in (rounded, cast):
        assert close.dtype == torch.bfloat16
        assert F.cosine_similarity(close.float(), exact, dim=-1).min() > 0.99


@pytest.mark.parametrize(
    ("name", "millions", "hidden"),
    [("vit_large", 304, 4096), ("vit_huge", 632, 5120), ("vit_giant", 1012, 6144), ("vit_gigantic", 1840, 8192)],
)
def test_the_named_sizes_are_the_papers(name: str, millions: float, hidden: int) -> None:
    with torch.device("meta"):
        encoder = named_encoder(name)
    assert encoder.blocks[0].mlp.fc1.out_features == hidden
    count = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.01)
    assert encoder.width % SIZES[name].heads == 0


def test_dropped_tokens_leave_the_order_of_the_others_to_the_ids() -> None:
    encoder, video = make(), torch.randn(1, 3, 4, 32, 32)
    keep = torch.tensor([[3, 9, 20, 28]])
    shuffled = keep[:, [2, 0, 3, 1]]
    torch.testing.assert_close(
        gather_tokens(encoder(video, keep), torch.tensor([[2, 0, 3, 1]])), encoder(video, shuffled)
    )
