"""The arm that predicts masked pixels: what its targets are, and that an encoder learns from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_watch import training

from vjepa.nn.encoder import VisionTransformer
from vjepa.pretraining.pixels import pixel_targets


def test_a_tokens_target_is_its_own_tubelet_normalised() -> None:
    """The patch embedding, whose order is that of the tokens, is told to copy one pixel of its tubelet."""
    encoder = VisionTransformer(image_size=12, patch=4, tubelet=2, width=12, depth=1, heads=2, mlp_ratio=2.0)
    video = torch.randn(2, 3, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(encoder.patch_embed.proj.bias)
    torch.nn.init.zeros_(encoder.patch_embed.proj.weight)
    with torch.no_grad():
        encoder.patch_embed.proj.weight[0, 2, 1, 3, 1] = 1.0  # blue, second frame, fourth row, second column
    copied = encoder.embed(video)[..., 0]
    tubelets = F.unfold(video.transpose(1, 2).reshape(2, 2, 6, 12, 12).flatten(0, 1), 4, stride=4).mT.reshape(2, 18, 96)
    place = ((1 * 4 + 3) * 4 + 1) * 3 + 2  # in the order frame, row, column, colour
    expected = (copied - tubelets.mean(-1)) / tubelets.std(-1)
    torch.testing.assert_close(pixel_targets(video, 4, 2)[..., place], expected, atol=1e-5, rtol=1e-4)


def test_flat_patches_are_no_division_by_zero() -> None:
    assert pixel_targets(torch.ones(1, 3, 2, 8, 8), 4, 2).abs().max() == 0


def test_the_loss_of_masked_pixels_falls_and_the_kept_encoder_follows(tmp_path: Path) -> None:
    run = training(tmp_path, ema=0.9, predict="pixels")
    before = [p.clone() for p in run.target_encoder.parameters()]
    run.train()
    losses = {row["step"]: row["loss"] for row in run.run.log}
    assert losses[0] == pytest.approx(1.0, abs=0.15), "normalised pixels have a variance of one"
    assert losses[119] < 0.75 * losses[0]
    assert run.predictor.output_width == 2 * 4 * 4 * 3
    kept, context = (list(e.parameters()) for e in (run.target_encoder, run.context_encoder))
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(before, kept, strict=True))
    assert all(torch.dist(a, b) < 0.5 * torch.dist(a, c) + 1e-6 for a, b, c in zip(context, kept, before, strict=True))
    assert all({"feature_deviation", "effective_rank", "clip_similarity"} <= set(row) for row in run.run.log)
