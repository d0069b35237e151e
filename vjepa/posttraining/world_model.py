"""The world model: frozen encoder, latents as the predictor wants them, and one step into the future."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match, shapes_of
from vjepa.checkpoints.model_config import CONFIG, OwnSettings
from vjepa.files import atomic_directory
from vjepa.nn.action_predictor import ActionPredictor
from vjepa.nn.encoder import MIN_FEATURE_SCALE, VisionTransformer, encode_frames, pool_tokens

ENCODER = "encoder."
MIN_SCALE = 1e-2  # in the unit of a state or action; what hardly varies in the data must not be blown up to noise


class WorldModel(nn.Module):
    """V-JEPA 2-AC (paper, sec. 3.1): frames to latents, and latents, actions and states to the next latents.

    Latents are the encoder's tokens of a single frame, averaged over squares of `pool` x `pool` patches,
    layer-normalised, then centred and scaled for each place of the grid and feature by their statistics over the
    training frames. What never changes (the table) says nothing about the robot, and what rarely changes says much when
    it does: with one scale for all places the energy has more valleys far from the goal.

    Args:
        encoder: frozen.
        pool: patches on each side of a latent token.
        actions: width of an action, A.
        states: width of a state, S.
        width: features inside the predictor.
        depth: blocks of the predictor.
        heads: attention heads of the predictor.
        max_context: time steps the predictor was trained on.
        max_stride: frames of its data that a time step spanned at most.
    """

    latent_mean: Tensor
    latent_scale: Tensor
    action_scale: Tensor
    state_mean: Tensor
    state_scale: Tensor

    def __init__(
        self,
        encoder: VisionTransformer,
        pool: int,
        actions: int,
        states: int,
        width: int,
        depth: int,
        heads: int,
        max_context: int,
        max_stride: int = 1,
    ) -> None:
        super().__init__()
        if encoder.grid[0] % pool or encoder.grid[1] % pool:
            raise ValueError(f"a grid of {encoder.grid} patches can't be pooled by {pool}")
        self.encoder, self.pool, self.max_context, self.max_stride = encoder, pool, max_context, max_stride
        self.tokens = (encoder.grid[0] // pool, encoder.grid[1] // pool)
        self.width = encoder.width
        self.predictor = ActionPredictor(encoder.width, self.tokens, actions, states, width, depth, heads)
        places = self.tokens[0] * self.tokens[1]
        self.register_buffer("latent_mean", torch.zeros(places, encoder.width))
        self.register_buffer("latent_scale", torch.ones(places, encoder.width))
        self.register_buffer("action_scale", torch.ones(actions))
        self.register_buffer("state_mean", torch.zeros(states))
        self.register_buffer("state_scale", torch.ones(states))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.latent_mean.device

    def pooled_tokens(self, frames: Tensor) -> Tensor:
        """`uint8 [B, H, W, 3] -> [B, N, D]`: encoded, pooled and layer-normalised, before the data's statistics."""
        pooled = pool_tokens(encode_frames(self.encoder, frames), self.encoder.grid, self.pool)
        return F.layer_norm(pooled, pooled.shape[-1:])

    def encode(self, frames: Tensor) -> Tensor:
        """Latents of single frames: `uint8 [B, H, W, 3] -> [B, N, D]`."""
        return (self.pooled_tokens(frames) - self.latent_mean) / self.latent_scale

    def predict(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """`[B, T, N, D]`, `[B, T, A]`, `[B, T, S]` in physical units -> the next latents of every step, alike."""
        return self.predictor(latents, actions / self.action_scale, (states - self.state_mean) / self.state_scale)

    def step(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """The latents that follow the last step: as `predict`, but `[B, N, D]`."""
        return self.predict(latents, actions, states)[:, -1]

    def fit_statistics(self, tokens: Tensor, states: Tensor, actions: Tensor) -> None:
        """Take the normalisation from training data: `pooled_tokens` `[M, N, D]`, states `[M, S]`, actions `[K, A]`."""
        self.latent_mean.copy_(tokens.mean(0))
        self.latent_scale.copy_(tokens.std(0).clamp_min(MIN_FEATURE_SCALE))
        self.state_mean.copy_(states.mean(0))
        self.state_scale.copy_(states.std(0).clamp_min(MIN_SCALE))
        self.action_scale.copy_(actions.std(0).clamp_min(MIN_SCALE))


class WorldModelSettings(OwnSettings):
    """What `config.json` says of a world model; see `WorldModel`."""

    KIND: ClassVar[str] = "vjepa2_ac"
    pool: PositiveInt
    actions: PositiveInt
    states: PositiveInt
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt
    max_context: PositiveInt
    max_stride: PositiveInt


def save_world_model(path: Path, model: WorldModel) -> None:
    """Write everything but the encoder: `model.safetensors` and `config.json`."""
    span = {"max_context": model.max_context, "max_stride": model.max_stride}
    settings = WorldModelSettings.of(model.predictor, pool=model.pool, **span)
    with atomic_directory(path) as folder:
        write_folder(folder, settings.model_dump(), own_tensors(model))


def own_tensors(model: WorldModel) -> dict[str, Tensor]:
    """All but those of the encoder."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(ENCODER)}


def load_world_model(path: Path, encoder: VisionTransformer) -> WorldModel:
    """Read what `save_world_model` wrote and join it to the encoder it was trained on; in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or does not fit the encoder.
    """
    config, tensors = read_folder(path)
    sizes = WorldModelSettings.read(config, path).sizes()
    wanted = shapes_of(lambda: own_tensors(WorldModel(encoder, **sizes)), path / CONFIG, "world model on this encoder")
    found = require_match(tensors, wanted, f"{path} does not fit the encoder")
    model = WorldModel(encoder, **sizes)
    model.load_state_dict(found, strict=False)
    return model.eval()
