"""The largest difference of our networks from `transformers`' at full ViT-L size, with the same random weights.

    python -m benchmarks.parity

Encoder on whole clips, predictor with the paper's masks on the same encodings, both from a folder that `transformers`
wrote, in float32. Every weight is drawn anew, at a scale at which all of them matter. The small sizes are in the tests.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model

from vjepa.checkpoints.encoder import load_pretrained
from vjepa.config import MaskConfig
from vjepa.nn.encoder import gather_tokens
from vjepa.nn.rope import grid_positions
from vjepa.pretraining.masks import sample_masks

IMAGE, FRAMES = 256, 16
GRID = (FRAMES // 2, IMAGE // 16, IMAGE // 16)
THEIR_MASK_TOKEN = 1  # the one that transformers always takes
LIMIT = 1e-4


def largest(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference."""
    return float((ours - theirs).abs().max())


@torch.inference_mode()
def differences() -> dict[str, float]:
    """Largest absolute difference of the encoder's features and of the predictor's, which have a deviation near 1."""
    torch.manual_seed(0)
    theirs = VJEPA2Model(VJEPA2Config(crop_size=IMAGE, frames_per_clip=FRAMES)).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.2)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = load_pretrained(Path(folder))
    assert ours.predictor is not None
    video = torch.randn(1, 3, FRAMES, IMAGE, IMAGE)
    masks = sample_masks(GRID, MaskConfig(8, 0.15, [0.75, 1.5]), 1, np.random.default_rng(0))
    context, hidden = (torch.from_numpy(ids) for ids in masks)
    output = theirs(video.transpose(1, 2), context_mask=[context], target_mask=[hidden])
    features = output.last_hidden_state
    predicted = ours.predictor(
        gather_tokens(features, context), context, hidden, grid_positions(*GRID), mask_token=THEIR_MASK_TOKEN
    )
    return {
        "encoder": largest(ours.encoder(video), features),
        "predictor": largest(predicted, output.predictor_output.last_hidden_state),
        "encoder_deviation": float(features.std()),
        "predictor_deviation": float(predicted.std()),
    }


def main() -> None:
    """Print one line of JSON; exits with 1 where the difference is above the limit."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = differences()
    within = max(found["encoder"], found["predictor"]) < LIMIT
    summary = (
        f"Largest difference from `transformers`' V-JEPA 2, the same random weights at ViT-L, {IMAGE} pixels, {FRAMES} "
        f"frames, {np.prod(GRID)} tokens, float32: encoder {found['encoder']:.1e} (its features' deviation is "
        f"{found['encoder_deviation']:.2f}), predictor {found['predictor']:.1e} ({found['predictor_deviation']:.2f})."
    )
    print(json.dumps({"name": "parity", "largest_difference": found, "limit": LIMIT, "summary": summary}))
    if not within:
        raise SystemExit(f"the difference is above {LIMIT}")


if __name__ == "__main__":
    main()
