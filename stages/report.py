"""Make report/index.html, one self-contained page with every number beside its baselines, and report/figure.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.runner import main
from vjepa.config import (
    AlignConfig,
    CurateConfig,
    EncoderConfig,
    MaskConfig,
    PlanConfig,
    PosttrainConfig,
    PretrainConfig,
)
from vjepa.data.clips import ClipSampler
from vjepa.data.episode import Episode
from vjepa.pretraining.masks import sample_masks
from vjepa.report.examples import MaskPicture
from vjepa.report.inputs import read_inputs
from vjepa.report.page import Settings, write_report
from vjepa.report.trials import RECORDS


def run(
    seed: int,
    curate: CurateConfig,
    encoder: EncoderConfig,
    pretrain: PretrainConfig,
    posttrain: PosttrainConfig,
    align: AlignConfig,
    plan: PlanConfig,
) -> None:
    """Read what the other stages left behind and write the folder `report`."""
    inputs = read_inputs(Path("metrics"), Path("plots"), Path("data/shards"), Path("data/docs"), RECORDS)
    settings = Settings(seed, curate, encoder, pretrain, posttrain, align, plan)
    clip = example_clip(inputs.episodes, pretrain)
    masks = mask_pictures(encoder, pretrain, seed) if clip is not None else []
    write_report(Path("report"), inputs, settings, clip, masks)


def example_clip(episodes: list[Episode], pretrain: PretrainConfig) -> np.ndarray | None:
    """The held-out clip in which the hand goes furthest, `uint8 [T, H, W, 3]`; None if no episode is long enough."""
    long_enough = [e for e in episodes if len(e.frames) > (pretrain.frames - 1) * pretrain.stride]
    if not long_enough:
        return None
    clips = ClipSampler(long_enough, pretrain.frames, pretrain.stride, seed=0).every(4)
    moved = np.linalg.norm(np.diff(clips.states[:, :, :3], axis=1), axis=2).sum(1)
    return clips.frames[moved.argmax()]


def mask_pictures(encoder: EncoderConfig, pretrain: PretrainConfig, seed: int) -> list[MaskPicture]:
    """One draw of each mask generator."""
    side = encoder.image_size // encoder.patch
    grid = (pretrain.frames // encoder.tubelet, side, side)
    rng = np.random.default_rng(seed)
    return [
        MaskPicture(words_for(config), sample_masks(grid, config, 1, rng)[0][0], int(np.prod(grid)))
        for config in pretrain.masks
    ]


def words_for(config: MaskConfig) -> str:
    """A mask generator in words."""
    plural = "block" if config.blocks == 1 else "blocks"
    return f"{config.blocks} {plural} of {100 * config.spatial_scale:.0f} % of the frame"


if __name__ == "__main__":
    main(run)
