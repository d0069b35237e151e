"""Pretraining: the loss on random clips and masks, the teacher's update, and what would show a collapse."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from vjepa.checkpoints.encoder import build_encoder
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.clips import ClipSource
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor
from vjepa.pretraining.batches import PretrainBatches
from vjepa.pretraining.loss import Masks, Networks, jepa_loss
from vjepa.pretraining.phases import phase_at, phases_of
from vjepa.pretraining.pixels import PixelObjective
from vjepa.pretraining.start import give_weights, identity_of
from vjepa.pretraining.watch import distance_agreement, require_learning, state_readout, varies, watch
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import World, whole_state
from vjepa.training.schedule import WarmupStableDecay, linear, update_ema

HOW = ("workers", "kept_mb", "cooldown_micro_batch", "keep", "engine")
"""Settings that do not change what is learned: a run may go on with others."""


class JepaObjective(Networks):
    """The networks of V-JEPA 2 with their loss, as one module that can be spread over processes."""

    def __init__(
        self,
        context_encoder: VisionTransformer,
        target_encoder: VisionTransformer,
        predictor: Predictor,
        context_weight: float,
    ) -> None:
        super().__init__(context_encoder, target_encoder, predictor)
        self.context_weight = context_weight

    def forward(self, seen: Tensor, target: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """See `jepa_loss`."""
        return jepa_loss(
            self.context_encoder, self.target_encoder, self.predictor, seen, masks, self.context_weight, target
        )


class Pretraining:
    """The networks of V-JEPA 2 and one step of their training.

    Args:
        source: where the clips that are learned from are cut.
        watched: where those of the read-outs are; None: the same.

    Attributes:
        context_encoder: learns by gradient.
        target_encoder: its exponential moving average: the encoder that is kept.
        predictor: learns by gradient.
        run: the loop's state; `run.log` holds the curves.

    Raises:
        UserError: a step's clips can't be shared by the processes (`phases_of`), or the weights to start from are not
            of the settings' sizes.
    """

    def __init__(
        self,
        source: ClipSource,
        encoder: EncoderConfig,
        config: PretrainConfig,
        seed: int,
        folder: Path,
        data_identity: Any,
        world: World | None = None,
        watched: ClipSource | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.encoder_config, self.config, self.world = encoder, config, world or World()
        self.context_encoder: VisionTransformer = build_encoder(encoder)
        self.predictor = new_predictor(encoder, config)
        if config.start:
            give_weights(config.start, self.context_encoder, self.predictor, encoder, config)
        self.target_encoder: VisionTransformer = copy.deepcopy(self.context_encoder).requires_grad_(False)
        phases = phases_of(encoder, config, self.world)
        self.batches = PretrainBatches(source, self.context_encoder, config, seed, phases, watched)
        self.objective = new_objective(self.context_encoder, self.target_encoder, self.predictor, config)
        identity = {name: value for name, value in asdict(config).items() if name not in HOW}
        self.run = Run(
            folder=folder,
            objective=self.objective,
            modules={
                "context_encoder": self.context_encoder,
                "target_encoder": self.target_encoder,
                "predictor": self.predictor,
            },
            schedule=WarmupStableDecay(
                config.steps,
                config.warmup,
                config.cooldown,
                config.learning_rate,
                config.final_learning_rate,
                config.start_learning_rate,
            ),
            weight_decay=config.weight_decay,
            share=lambda step: phase_at(phases, step).share,
            engine=config.engine,
            world=self.world,
            identity=[seed, encoder, identity, data_identity, identity_of(config.start)],
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            partly_used=encoder.image_patches,
        )
        if isinstance(self.objective, FSDPModule):
            for name in ("clip_features", "token_features"):
                register_fsdp_forward_method(self.objective, name)

    def train(self) -> None:
        """Train to the end of the schedule, from the run's checkpoint if it has one.

        Raises:
            UserError: see `Run.train`; or an episode can't be read, or a process that reads was killed.
        """
        with self.batches.running():
            self.run.train("pretrain", self)

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of a pass."""
        device = self.world.device
        with self.run.waiting():
            seen, target, masks = self.batches.of(step, part)
        masks = [(context.to(device), hidden.to(device)) for context, hidden in masks]
        target = target.to(device)
        loss, targets = self.run.objective(seen.to(device), target, masks)

        @torch.no_grad()
        def monitors() -> dict[str, float]:
            readout = self.readout() if step % self.config.readout_every == 0 else {}
            features = self.objective.token_features(target) if targets is None else targets
            return {"ema": self.momentum(step), **watch(features.float()), **readout}

        return StepResult(loss, monitors)

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """Stop a run whose features have collapsed."""
        require_learning(numbers, self.config.collapse, step)

    @torch.no_grad()
    def readout(self) -> dict[str, float]:
        """`state_readout` and `distance_agreement` of the read-out's clips.

        The latter is of their last frames, each alone. Nothing if no state varies.
        """
        features, latents, states = [], [], []
        for videos, ends in self.batches.first_clips():
            for part in videos.split(self.batches.phases[0].share.micro_batch):
                clips = part.to(self.world.device)
                last = clips[:, :, -1:].expand(-1, -1, self.encoder_config.tubelet, -1, -1)
                features.append(self.objective.clip_features(clips).cpu())
                latents.append(self.objective.token_features(last).cpu())
                _, *grid = self.context_encoder.token_grid(last)  # of a first phase it may be smaller than later
            states.append(torch.from_numpy(ends))
        known = torch.cat(states)
        if not varies(known).any():
            return {}
        return {
            "state_readout": state_readout(torch.cat(features), known),
            "distance_agreement": distance_agreement(torch.cat(latents), known, grid),
        }

    def after_step(self, step: int) -> None:
        """Let the target encoder follow."""
        update_ema(self.target_encoder, self.context_encoder, self.momentum(step))

    def momentum(self, step: int) -> float:
        """The EMA momentum of a step."""
        start, end = self.config.ema
        return linear(start, end, step, self.config.steps)

    def trained(self) -> tuple[VisionTransformer, Predictor]:
        """The target encoder and the predictor, whole and on the CPU; every process has to ask."""
        encoder, predictor = build_encoder(self.encoder_config), new_predictor(self.encoder_config, self.config)
        encoder.load_state_dict(whole_state(self.target_encoder))
        predictor.load_state_dict(whole_state(self.predictor))
        return encoder, predictor


def new_objective(
    context_encoder: VisionTransformer, target_encoder: VisionTransformer, predictor: Predictor, config: PretrainConfig
) -> JepaObjective | PixelObjective:
    """The networks with the loss that the settings ask for."""
    if config.predict == "pixels":
        return PixelObjective(context_encoder, target_encoder, predictor)
    return JepaObjective(context_encoder, target_encoder, predictor, config.context_weight)


def new_predictor(encoder: EncoderConfig, config: PretrainConfig) -> Predictor:
    """A predictor with random weights, of the sizes of the settings."""
    levels = len(encoder.levels) or 1
    pixels = 3 * encoder.tubelet * encoder.patch**2
    return Predictor(
        encoder.width * levels,
        config.predictor_width,
        config.predictor_depth,
        config.predictor_heads,
        config.predictor_mlp_ratio,
        tiled_rope=encoder.tiled_rope,
        output_width=pixels if config.predict == "pixels" else None,
        levels=levels,
        context_head=config.context_head,
        modalities=encoder.image_patches,
    )
