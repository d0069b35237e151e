"""The sides of the benchmark of training: the stages' own runs and the bare loops, on the same weights and batches."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import VJEPA2Model

from benchmarks import _bare_loops as bare
from vjepa.checkpoints.encoder import build_encoder, freeze, save_encoder
from vjepa.config import EncoderConfig, PosttrainConfig, PretrainConfig
from vjepa.data.episode_store import EpisodeStore
from vjepa.data.layout import read_layout
from vjepa.data.loader import ClipLoader
from vjepa.data.shards import load_episodes
from vjepa.posttraining.posttrain import ActionObjective, Posttraining
from vjepa.posttraining.windows import LatentEpisodes
from vjepa.pretraining.batches import PretrainBatches
from vjepa.pretraining.pretrain import JepaObjective, Pretraining

ENCODED = 64  # episodes of the post-training: their number does not change a step
SEED = 0


@dataclass
class Took:
    """A run of one side: its speed and losses, and the shares of its time that data took."""

    trained: bare.Trained
    loading: float = 0.0
    batches: float = 0.0


@contextmanager
def timed(owner: type, name: str) -> Iterator[list[float]]:
    """While this lasts, the seconds of each call of a method."""
    seconds: list[float] = []
    method = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - started)

    with patch.object(owner, name, measured):
        yield seconds


@dataclass
class Pretrained:
    """The sides of pretraining with one loss, over the same shards.

    Attributes:
        fresh: a training before its first step, and `objective` its networks and loss.
        batches: every step's, in memory: they do not hang on the loss.
    """

    shards: Path
    encoder: EncoderConfig
    config: PretrainConfig

    def __post_init__(self) -> None:
        self.fresh = self.new(self.shards)
        assert isinstance(self.fresh.objective, JepaObjective)
        self.objective = self.fresh.objective
        self.batches: list[bare.Batch] = []

    def prepare(self) -> list[bare.Batch]:
        """Draw the batches of all steps."""
        self.batches = [self.fresh.batches.of(step) for step in range(self.config.steps)]
        return self.batches

    def new(self, folder: Path) -> Pretraining:
        """A training that has not begun, on episodes of which none is decoded."""
        store = EpisodeStore(self.shards, "train", self.config.kept_mb * 2**20)
        return Pretraining(store, self.encoder, self.config, SEED, folder, "benchmark")

    def ours(self) -> Took:
        """As the stage trains."""
        with tempfile.TemporaryDirectory() as folder:
            training = self.new(Path(folder))
            with timed(ClipLoader, "batch") as loading, timed(PretrainBatches, "of") as batches:
                return run(training, loading, batches)

    def ceiling(self) -> Took:
        """The bare loop."""
        return Took(bare.pretrain(copy.deepcopy(self.objective), self.config, self.batches))

    def transformers(self, visible_only: bool) -> Took:
        """The bare loop over `transformers`' model with our weights."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder"
            save_encoder(path, self.fresh.context_encoder, self.fresh.predictor, self.config.frames)
            model = VJEPA2Model.from_pretrained(path)
        return Took(bare.pretrain_transformers(model, self.config, self.batches, visible_only))


@dataclass
class Posttrained:
    """The sides of post-training."""

    shards: Path
    encoder: EncoderConfig
    config: PosttrainConfig

    def __post_init__(self) -> None:
        self.episodes = load_episodes(self.shards, "train")[:ENCODED]
        self.between = read_layout(self.shards).actions_between
        self.fresh = self.new(self.shards)
        draws = [self.fresh.draws.draw(step, self.config.batch_size) for step in range(self.config.steps)]
        latents, model, frames = self.fresh.latents, self.fresh.model, self.config.frames
        self.windows = [latents.windows(model, chosen, starts, frames, strides) for chosen, starts, strides in draws]

    def new(self, folder: Path) -> Posttraining:
        """A training that has not begun, on a frozen encoder of random weights."""
        torch.manual_seed(SEED)
        encoder = freeze(build_encoder(self.encoder))
        return Posttraining(encoder, self.episodes, self.config, SEED, folder, "benchmark", None, self.between)

    def ours(self) -> Took:
        """As the stage trains; the latents are there before."""
        with tempfile.TemporaryDirectory() as folder:
            training = self.new(Path(folder))
            with timed(LatentEpisodes, "windows") as cutting:
                return run(training, cutting, cutting)

    def ceiling(self) -> Took:
        """The bare loop."""
        objective = ActionObjective(copy.deepcopy(self.fresh.model), self.config.rollout)
        return Took(bare.posttrain(objective, self.config, self.windows))


def run(training: Pretraining | Posttraining, loading: list[float], batches: list[float]) -> Took:
    """Train to the end."""
    started = time.perf_counter()
    training.train()
    seconds = time.perf_counter() - started
    losses = {int(row["step"]): row["loss"] for row in training.run.log}
    trained = bare.Trained(training.config.steps / seconds, losses)
    return Took(trained, sum(loading) / seconds, sum(batches) / seconds)
