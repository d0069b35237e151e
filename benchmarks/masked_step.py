"""A masked forward and backward step of the student at ViT-L, here and in `transformers`, time and memory.

    python -m benchmarks.masked_step

Both see the same clips, weights' sizes, masks (the paper's two generators) and targets. Here the context encoder runs
on the visible tokens of each mask; `transformers`' encoder knows no dropping, so it runs on all tokens once and hides
afterwards, and its predictor runs once a mask, as here. Each side runs in processes of its own, in turn, so that
neither finds memory or caches warmed by the other. The teacher, the same on both sides, is left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._result import Comparison, in_turn, rounded
from vjepa.config import MaskConfig
from vjepa.nn.encoder import gather_tokens
from vjepa.nn.rope import grid_positions
from vjepa.nn.sizes import named_encoder, named_predictor
from vjepa.pretraining.masks import sample_masks

SIZE = "vit_large"
IMAGE, FRAMES, CLIPS = 256, 8, 2
GRID = (FRAMES // 2, IMAGE // 16, IMAGE // 16)
MASKS = (MaskConfig(8, 0.15, [0.75, 1.5]), MaskConfig(2, 0.7, [0.75, 1.5]))
REPEATS = 3
SIDES = ("ours", "peer")


def inputs() -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor]:
    """Clips, masks and targets, the same on both sides."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    masks = []
    for config in MASKS:
        context, targets = sample_masks(GRID, config, CLIPS, rng)
        masks.append((torch.from_numpy(context), torch.from_numpy(targets)))
    return torch.randn(CLIPS, 3, FRAMES, IMAGE, IMAGE), masks, torch.randn(CLIPS, int(np.prod(GRID)), 1024)


def our_step() -> Callable[[], Tensor]:
    """The loss of a step on the visible tokens."""
    video, masks, targets = inputs()
    encoder, predictor = named_encoder(SIZE, IMAGE), named_predictor(SIZE)
    positions = grid_positions(*GRID)

    def step() -> Tensor:
        losses = [
            F.l1_loss(predictor(encoder(video, context), context, hidden, positions), gather_tokens(targets, hidden))
            for context, hidden in masks
        ]
        return torch.stack(losses).mean()

    return step


def their_step() -> Callable[[], Tensor]:
    """The loss of the same step by `transformers`, which encodes every token."""
    from transformers import VJEPA2Config, VJEPA2Model

    video, masks, targets = inputs()
    model = VJEPA2Model(VJEPA2Config(crop_size=IMAGE, frames_per_clip=FRAMES)).train()
    pixels = video.transpose(1, 2)

    def step() -> Tensor:
        features = model(pixels, skip_predictor=True).last_hidden_state
        losses = [
            F.l1_loss(model.predictor(features, [context], [hidden]).last_hidden_state, gather_tokens(targets, hidden))
            for context, hidden in masks
        ]
        return torch.stack(losses).mean()

    return step


def measure(side: str) -> dict[str, float]:
    """Seconds of the second of two steps, and the process's peak memory in GB."""
    step = our_step() if side == "ours" else their_step()
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        step().backward()
        seconds = time.perf_counter() - started
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "gb": kilobytes * 1024 / 1e9}


def run_apart(side: str) -> dict[str, float]:
    """Measure a side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.masked_step", "--side", side]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run both sides in turn and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process")
    side = parser.parse_args().side
    if side:
        print(json.dumps(measure(side)))
        return
    sides = {name: partial(run_apart, name) for name in SIDES}
    runs = in_turn(sides, REPEATS, lambda run: f"{run['seconds']:.1f} s")
    seconds, memory = (
        Comparison([run[what] for run in runs["ours"]], [run[what] for run in runs["peer"]], unit)
        for what, unit in (("seconds", "s"), ("gb", "GB"))
    )
    _, masks, _ = inputs()
    visible = [round(float(context.shape[1] / np.prod(GRID)), 2) for context, _ in masks]
    time_of, memory_of = ([statistics.median(side) for side in (both.ours, both.peer)] for both in (seconds, memory))
    summary = (
        f"A masked forward and backward step of the student at ViT-L, {IMAGE} pixels, {FRAMES} frames, {CLIPS} clips: "
        f"{time_of[0]:.1f} s, `transformers`' model on all tokens {time_of[1]:.1f} s, {seconds} as long "
        f"({REPEATS} runs a side, in turn); peak memory {memory_of[0]:.1f} GB against {memory_of[1]:.1f}."
    )
    peer_is = f"transformers' VJEPA2Model, {SIZE} {IMAGE}, {FRAMES} frames, {CLIPS} clips, all tokens encoded"
    memory_gb = {name: rounded(value) for name, value in zip(SIDES, memory_of, strict=True)}
    more = {"memory_gb": memory_gb, "memory_ratio": rounded(memory.ratio), "visible": visible}
    print(json.dumps(seconds.record("masked_step", peer_is, summary, **more)))


if __name__ == "__main__":
    main()
