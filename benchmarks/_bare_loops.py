"""The steps of pretraining and post-training as a page of torch writes them: no loader, log, check or checkpoint."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VJEPA2Model

from vjepa.config import PosttrainConfig, PretrainConfig
from vjepa.nn.encoder import gather_tokens
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions
from vjepa.posttraining.posttrain import ActionObjective
from vjepa.pretraining.loss import Masks
from vjepa.pretraining.pretrain import JepaObjective
from vjepa.training.schedule import WarmupStableDecay, linear, parameter_groups, update_ema

Batch = tuple[Tensor, Tensor, Masks]
"""What the context and what the target encoder sees, `[B, 3, T, H, W]` each, and the masks."""


@dataclass
class Trained:
    """What a loop did.

    Attributes:
        rate: steps a second.
        losses: by step; of a run with a log those that it holds.
    """

    rate: float
    losses: dict[int, float]


def descend(
    learning: nn.Module,
    config: PretrainConfig | PosttrainConfig,
    loss_of: Callable[[int], Tensor],
    after_step: Callable[[int], None] = lambda step: None,
) -> Trained:
    """The loop that all of them share."""
    optimizer = torch.optim.AdamW(parameter_groups([learning], config.weight_decay))
    schedule = WarmupStableDecay(
        config.steps, config.warmup, config.cooldown, config.learning_rate, config.final_learning_rate
    )
    losses = {}
    started = time.perf_counter()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.at(step)
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        optimizer.step()
        after_step(step)
        losses[step] = loss.item()
    return Trained(config.steps / (time.perf_counter() - started), losses)


def momentum(config: PretrainConfig, step: int) -> float:
    """Of the teacher."""
    start, end = config.ema
    return linear(start, end, step, config.steps)


def pretrain(objective: JepaObjective, config: PretrainConfig, batches: Sequence[Batch]) -> Trained:
    """Our own networks and loss: what is left of a step's time without everything around it."""

    def follow(step: int) -> None:
        update_ema(objective.target_encoder, objective.context_encoder, momentum(config, step))

    return descend(objective, config, lambda step: objective(*batches[step])[0], follow)


def pretrain_transformers(
    model: VJEPA2Model, config: PretrainConfig, batches: Sequence[Batch], visible_only: bool
) -> Trained:
    """`transformers`' model with a teacher: V-JEPA 2's loss, without the dense context loss, which it can't give.

    Its encoder runs on all tokens and the predictor is given the visible ones, as `VJEPA2Model.forward` does; with
    `visible_only` its layers are called one by one on the visible tokens, as the paper has it.
    """
    model.train()
    teacher = copy.deepcopy(model.encoder).requires_grad_(False)

    def loss_of(step: int) -> Tensor:
        seen, target, masks = batches[step]
        with torch.no_grad():
            features = teacher(target.transpose(1, 2)).last_hidden_state
            targets = F.layer_norm(features, features.shape[-1:])
        losses = []
        for context, hidden in masks:
            if visible_only:
                predicted = predict_from_visible(model, seen.transpose(1, 2), context, hidden)
            else:
                output = model(seen.transpose(1, 2), context_mask=[context], target_mask=[hidden])
                predicted = output.predictor_output.last_hidden_state
            losses.append(F.l1_loss(predicted, gather_tokens(targets, hidden)))
        return torch.stack(losses).mean()

    def follow(step: int) -> None:
        update_ema(teacher, model.encoder, momentum(config, step))

    return descend(model, config, loss_of, follow)


def predict_from_visible(model: VJEPA2Model, pixels: Tensor, context: Tensor, hidden: Tensor) -> Tensor:
    """The predicted features of the masked tokens, by `transformers`' layers on the visible ones alone."""
    tokens = model.encoder.embeddings(pixels)
    count = tokens.shape[1]
    features = gather_tokens(tokens, context)
    for layer in model.encoder.layer:
        features = layer(features, context)[0]
    features = model.encoder.layernorm(features)
    whole = features.new_zeros(len(features), count, features.shape[-1])  # its predictor picks the visible ones itself
    whole = whole.scatter(1, context.unsqueeze(-1).expand_as(features), features)
    return model.predictor(whole, [context], [hidden]).last_hidden_state


@torch.no_grad()
def loss_of_all_tokens(objective: JepaObjective, batch: Batch) -> float:
    """V-JEPA 2's loss by our networks if the context encoder saw all tokens, as `transformers`' does."""
    seen, target, masks = batch
    targets = objective.target_encoder(target)
    targets = F.layer_norm(targets, targets.shape[-1:])
    features = objective.context_encoder(seen)
    positions = grid_positions(*objective.context_encoder.token_grid(seen))
    predictor: Predictor = objective.predictor
    losses = [
        F.l1_loss(
            predictor(gather_tokens(features, context), context, hidden, positions), gather_tokens(targets, hidden)
        )
        for context, hidden in masks
    ]
    return float(torch.stack(losses).mean())


def posttrain(
    objective: ActionObjective, config: PosttrainConfig, windows: Sequence[tuple[Tensor, Tensor, Tensor]]
) -> Trained:
    """Our own world model and loss, on windows of latents that were cut before."""
    return descend(objective, config, lambda step: torch.stack(objective(*windows[step])).sum())
