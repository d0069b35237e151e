"""What `vjepa train --dry-run` says a step takes beside what it takes: the growth of a process's resident memory.

    python -m benchmarks.memory

Two steps of an encoder of 6 x 256 on clips of 8 frames of 64 pixels, each run in a process of its own after a small
training, so that what libraries take when they are first used is none of the step's. Plain, and with blocks that are
computed again for the backward pass. Resident memory also holds what the allocator keeps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks._result import Comparison
from stages.runner import read_params
from vjepa.config import EncoderConfig, MaskConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.data.episode import Episode
from vjepa.estimate import estimate_pretraining
from vjepa.pretraining.pretrain import Pretraining
from vjepa.training.parallel import World

ALONE = World(0, 1, torch.device("cpu"))
SMALL = EncoderConfig(64, 8, 2, 24, 1, 2, 4.0, True, [], False)
MIDDLE = EncoderConfig(64, 8, 2, 256, 6, 4, 4.0, True, [], False)
MASKS = [MaskConfig(8, 0.15, [0.75, 1.5]), MaskConfig(2, 0.7, [0.75, 1.5])]
FRAMES, CLIPS, REPEATS = 8, 16, 3


def settings(recompute: bool) -> PretrainConfig:
    """Those of params.yaml, with other sizes."""
    config: PretrainConfig = read_params()["pretrain"]
    engine = replace(config.engine, recompute=recompute, loggers=[])
    return replace(
        config,
        frames=FRAMES,
        cooldown_frames=FRAMES,
        warmup=0,
        cooldown=0,
        steps=2,
        batch_size=CLIPS,
        mask_batch=CLIPS,
        cooldown_mask_batch=CLIPS,
        predictor_width=128,
        predictor_heads=4,
        masks=MASKS,
        engine=engine,
    )


def grown(recompute: bool) -> float:
    """By how many MB the largest resident memory of this process grows while it trains for two steps."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, FRAMES + 1, 64, 64, 3), np.uint8)
    still = np.zeros((FRAMES + 1, 7), np.float32)
    times = np.arange(FRAMES + 1) / 8
    source = LoadedEpisodes([Episode(str(i), "t", f, times, still, still[1:]) for i, f in enumerate(frames)])
    peaks = []
    for encoder in (SMALL, MIDDLE):
        with tempfile.TemporaryDirectory() as folder:
            training = Pretraining(source, encoder, settings(recompute), 0, Path(folder), "data", ALONE)
            for _ in range(2):
                training.run.advance(training)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return (peaks[1] - peaks[0]) * 1024 / 1e6


def compared(recompute: bool) -> Comparison:
    """The estimate beside what processes took, in MB."""
    [phase] = estimate_pretraining(MIDDLE, settings(recompute), ALONE)
    command = [sys.executable, "-m", "benchmarks.memory", "--grown", str(int(recompute))]
    took = [
        float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])
        for _ in range(REPEATS)
    ]
    return Comparison([phase.memory / 1e6] * REPEATS, took, "MB")


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grown", type=int, metavar="0|1", help="one measurement alone, with recomputation or without")
    chosen = parser.parse_args().grown
    if chosen is not None:
        print(grown(bool(chosen)))
        return
    plain, recomputed = compared(False), compared(True)
    summary = (
        f"Memory of two pretraining steps (encoder of 6 x 256, {CLIPS} clips of {FRAMES} frames of 64 pixels), "
        f"as resident memory beside the estimate of `vjepa train --dry-run`: {plain.peer[0]:.0f} MB, estimated "
        f"{plain.ours[0]:.0f}, {plain} as much; with recomputation {recomputed.peer[0]:.0f}, estimated "
        f"{recomputed.ours[0]:.0f}, {recomputed} as much ({REPEATS} processes each)."
    )
    print(json.dumps(plain.record("memory", "resident memory", summary, recomputed_ratio=recomputed.ratio)))


if __name__ == "__main__":
    main()
