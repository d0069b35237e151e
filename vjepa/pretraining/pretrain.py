"""Pretraining: the loss on random clips and masks, the teacher's update, and what would show a collapse."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vjepa.checkpoints.encoder import build_encoder
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipDraws, ClipSource, EpochDraws
from vjepa.data.light import in_random_light
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.nn.encoder import VisionTransformer, normalise_pixels
from vjepa.nn.predictor import Predictor
from vjepa.pretraining.loss import jepa_loss, target_features
from vjepa.pretraining.masks import sample_masks
from vjepa.pretraining.watch import require_learning, state_readout, varies, watch
from vjepa.training.loop import Run, StepResult
from vjepa.training.schedule import WarmupStableDecay, linear, parameter_groups, update_ema

READOUT_CLIPS = 384
"""Training clips of a linear read-out; on the last third it is scored."""


class Pretraining:
    """The networks of V-JEPA 2 and one step of their training.

    Attributes:
        context_encoder: learns by gradient.
        target_encoder: its exponential moving average: the encoder that is kept.
        predictor: learns by gradient.
        run: the loop's state; `run.log` holds the curves.
    """

    def __init__(
        self,
        source: ClipSource,
        encoder: EncoderConfig,
        config: PretrainConfig,
        seed: int,
        folder: Path,
        data_identity: Any,
    ) -> None:
        torch.manual_seed(seed)
        self.config, self.seed = config, seed
        self.context_encoder: VisionTransformer = build_encoder(encoder)
        self.target_encoder: VisionTransformer = copy.deepcopy(self.context_encoder).requires_grad_(False)
        levels = len(encoder.levels) or 1
        self.predictor = Predictor(
            encoder.width * levels,
            config.predictor_width,
            config.predictor_depth,
            config.predictor_heads,
            encoder.mlp_ratio,
            tiled_rope=encoder.tiled_rope,
            levels=levels,
            context_head=config.context_head,
            modalities=encoder.image_patches,
        )
        self.loader = clip_loader(source, config, seed)
        learning = [self.context_encoder, self.predictor]
        self.run = Run(
            folder=folder,
            modules={
                "context_encoder": self.context_encoder,
                "target_encoder": self.target_encoder,
                "predictor": self.predictor,
            },
            optimizer=torch.optim.AdamW(parameter_groups(learning, config.weight_decay)),
            schedule=WarmupStableDecay(
                config.steps, config.warmup, config.cooldown, config.learning_rate, config.final_learning_rate
            ),
            # how clips are read does not change which: a run may go on with other numbers of these
            identity=[seed, encoder, replace(config, workers=0, kept_mb=0), data_identity],
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
        )

    def train(self) -> None:
        """Train to the end of the schedule, from the run's checkpoint if it has one.

        Raises:
            UserError: see `Run.train`; or an episode can't be read, or a process that reads was killed.
        """
        with self.loader.running("set pretrain.workers or pretrain.kept_mb lower"):
            self.run.train("pretrain", self.take_step, self.after_step)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """A step's clips as the context and as the target encoder see them, and its masks.

        Both are normalised pixels `[B, 3, T, H, W]`. The context is in some other light and the targets are in plain
        light, so that what light does to a scene is not worth keeping. All depends on the seed and the step alone.
        """
        rng = np.random.default_rng((self.seed, step, 1))
        clips = self.loader.batch(step).frames
        frames = torch.from_numpy(np.stack([in_random_light(clips, self.config.dimmest, rng), clips]))
        tubelet, grid = self.context_encoder.tubelet, self.context_encoder.grid
        steps = self.config.frames // tubelet
        if rng.random() < self.config.still_share:  # each tubelet's first frame, as the world model will see frames
            stills = frames[:, :, ::tubelet]
            if self.context_encoder.image_patches:
                frames, steps = stills.flatten(1, 2).unsqueeze(2), 1
            else:
                frames = stills.repeat_interleave(tubelet, dim=2)
        masks = [sample_masks((steps, *grid), mask, frames.shape[1], rng) for mask in self.config.masks]
        seen, target = (normalise_pixels(part) for part in frames)
        return seen, target, [(torch.from_numpy(c), torch.from_numpy(t)) for c, t in masks]

    def take_step(self, step: int) -> StepResult:
        """The loss of one step."""
        seen, target, masks = self.batch(step)
        loss, targets = jepa_loss(
            self.context_encoder, self.target_encoder, self.predictor, seen, masks, self.config.context_weight, target
        )

        def monitors() -> dict[str, float]:
            found = watch(targets.detach())
            require_learning(found, self.config.collapse, step)
            readout = self.readout() if step % self.config.readout_every == 0 else {}
            return {"ema": self.momentum(step), **found, **readout}

        return StepResult(loss, monitors)

    @torch.no_grad()
    def readout(self) -> dict[str, float]:
        """`state_readout` of the clips that the loader would draw first; nothing if no state varies."""
        reader, size = self.loader.reader, self.config.batch_size
        clips = [reader.read(step) for step in range(-(-READOUT_CLIPS // size))]
        states = torch.from_numpy(np.concatenate([batch.states[:, -1] for batch in clips]))
        if not varies(states).any():
            return {}
        videos = (normalise_pixels(torch.from_numpy(batch.frames)) for batch in clips)
        features = [target_features(self.target_encoder, video).mean(1) for video in videos]
        return {"state_readout": state_readout(torch.cat(features), states)}

    def after_step(self, step: int) -> None:
        """Let the target encoder follow."""
        update_ema(self.target_encoder, self.context_encoder, self.momentum(step))

    def momentum(self, step: int) -> float:
        """The EMA momentum of a step."""
        start, end = self.config.ema
        return linear(start, end, step, self.config.steps)


def clip_loader(source: ClipSource, config: PretrainConfig, seed: int) -> ClipLoader:
    """The clips of a pretraining."""
    if config.shard_window:
        draws: ClipDraws = EpochDraws(
            source.lengths, source.shards, config.shard_window, config.frames, config.stride, seed
        )
    else:
        draws = ClipDraws(source.lengths, config.frames, config.stride, seed)
    (smallest, largest), (narrowest, widest) = config.crop_scale, config.crop_aspect
    augmentation = Augmentation((smallest, largest), (narrowest, widest), config.flip)
    return ClipLoader(ClipReader(source, draws, augmentation, config.batch_size), config.steps, config.workers)
