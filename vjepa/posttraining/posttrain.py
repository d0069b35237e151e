"""Post-training: windows of latents computed once, the loss on them, and the held-out error beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vjepa.config import PosttrainConfig
from vjepa.data.clips import ClipSampler, LoadedEpisodes
from vjepa.data.episode import Episode
from vjepa.nn.encoder import VisionTransformer
from vjepa.posttraining.loss import rollout_loss, teacher_forcing_loss
from vjepa.posttraining.windows import ENCODE_BATCH, Between, LatentEpisodes, WindowDraws
from vjepa.posttraining.world_model import WorldModel
from vjepa.statistics import Estimate, mean, ratio
from vjepa.training.loop import Run, StepResult
from vjepa.training.parallel import Share, World, whole_state
from vjepa.training.schedule import WarmupStableDecay


class ActionObjective(nn.Module):
    """The predictor of a world model with its loss, as one module that can be spread over processes."""

    def __init__(self, model: WorldModel, rollout: int) -> None:
        super().__init__()
        self.predictor, self.predict, self.rollout = model.predictor, model.predict, rollout

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the loss; see `teacher_forcing_loss` and `rollout_loss`."""
        forced, predicted = teacher_forcing_loss(self.predict, latents, actions, states)
        return forced, rollout_loss(self.predict, latents, actions, states, predicted[:, 0], self.rollout)


class Posttraining:
    """The action-conditioned predictor and one step of its training.

    Attributes:
        model: the world model; only its predictor learns.
        run: the loop's state; `run.log` holds the curves.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        episodes: Sequence[Episode],
        config: PosttrainConfig,
        seed: int,
        folder: Path,
        data_identity: Any,
        world: World | None = None,
        between: Between | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.config, self.world = config, world or World()
        self.share = Share.of(config.batch_size, self.world, config.engine)
        self.draws = WindowDraws(LoadedEpisodes(episodes).lengths, config.frames, config.strides, seed)
        states, actions = episodes[0].states.shape[1], episodes[0].actions.shape[1]
        self._new_model = partial(
            WorldModel,
            encoder,
            config.pool,
            actions,
            states,
            config.width,
            config.depth,
            config.heads,
            config.frames - 1,
            config.strides[-1],
        )
        self.model = self._new_model().to(self.world.device)
        self.latents = LatentEpisodes(self.model, episodes, "training episodes", config.strides, between)
        self.model.fit_statistics(
            torch.cat(self.latents.tokens), torch.cat(self.latents.states), torch.cat(self.latents.actions[1])
        )
        identity = {name: value for name, value in asdict(config).items() if name != "engine"}
        self.run = Run(
            folder=folder,
            objective=ActionObjective(self.model, config.rollout),
            modules={"predictor": self.model.predictor},
            schedule=WarmupStableDecay(
                config.steps,
                config.warmup,
                config.cooldown,
                config.learning_rate,
                config.final_learning_rate,
                config.start_learning_rate,
            ),
            weight_decay=config.weight_decay,
            share=lambda step: self.share,
            engine=config.engine,
            world=self.world,
            identity=[seed, identity, data_identity],
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
        )

    def train(self, title: str = "posttrain") -> None:
        """Train to the end of the schedule, from the run's checkpoint if it has one; `title` names it on the screen."""
        self.run.train(title, self)

    def take_step(self, step: int, part: int) -> StepResult:
        """The loss of a pass: both terms weigh alike."""
        first = self.share.first + part * self.share.micro_batch
        mine = slice(first, first + self.share.micro_batch)
        chosen, starts, strides = (part[mine] for part in self.draws.draw(step, self.share.total))
        with self.run.waiting():
            windows = self.latents.windows(self.model, chosen, starts, self.config.frames, strides)
        forced, rolled = self.run.objective(*windows)
        return StepResult(
            forced + rolled, lambda: {"teacher_forcing": float(forced.detach()), "rollout": float(rolled.detach())}
        )

    def trained(self) -> WorldModel:
        """The world model, whole, in evaluation mode; every process has to ask."""
        model = self._new_model()
        model.load_state_dict(whole_state(self.model))
        return model.eval()

    def after_step(self, step: int) -> None:
        """Nothing follows: no teacher learns here."""

    def judge(self, step: int, numbers: Mapping[str, float]) -> None:
        """Nothing is judged: the encoder, frozen, can't collapse."""


@torch.no_grad()
def evaluate(model: WorldModel, episodes: Sequence[Episode], frames: int, seed: int) -> dict[str, Estimate]:
    """L1 of the next latents on held-out windows, beside copying the last frame and the same model misled.

    Returns:
        `latent_l1`, `latent_l1_copy_last` (the next frame is as this one), `latent_l1_shuffled_actions` (each window is
        given the actions of a window of another episode) and `latent_error_share` (the first as a share of the second:
        L1 of one encoder's latents can't be held against another's, this can; there is none where nothing moves and
        copying is perfect), with intervals over episodes.
    """
    clips = ClipSampler(episodes, frames, stride=1, seed=seed)
    latents = LatentEpisodes(model, episodes, "held-out episodes")
    every = clips.every(per_episode=3)
    others = windows_of_other_episodes(every.episodes, np.random.default_rng(seed))
    errors: dict[str, list[Tensor]] = {"latent_l1": [], "latent_l1_copy_last": [], "latent_l1_shuffled_actions": []}
    z_all, a_all, s_all = latents.windows(model, every.episodes, every.starts, frames)
    for part in torch.arange(len(every.starts)).split(ENCODE_BATCH):
        z, a, s = z_all[part], a_all[part], s_all[part]
        wrong = a_all[others[part]]
        guesses = {
            "latent_l1": model.predict(z[:, :-1], a, s[:, :-1]),
            "latent_l1_copy_last": z[:, :-1],
            "latent_l1_shuffled_actions": model.predict(z[:, :-1], wrong, s[:, :-1]),
        }
        for name, guess in guesses.items():
            errors[name].append((guess - z[:, 1:]).abs().mean((1, 2, 3)).cpu())
    found = {name: torch.cat(values).numpy() for name, values in errors.items()}
    estimates = {name: mean(values, every.episodes) for name, values in found.items()}
    if found["latent_l1_copy_last"].any():
        estimates["latent_error_share"] = ratio(found["latent_l1"], found["latent_l1_copy_last"], every.episodes)
    return estimates


def windows_of_other_episodes(episodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each window one of another episode, each window once: `int64 [M]`, given the episode of each, `int64 [M]`.

    With a single episode there is none; with one that holds more than half of the windows not for all.
    """
    order = rng.permutation(len(episodes))
    order = order[np.argsort(rng.permutation(episodes.max() + 1)[episodes[order]], kind="stable")]
    others = np.empty_like(order)
    others[order] = np.roll(order, np.bincount(episodes).max())  # past the longest run of windows of one episode
    return others
