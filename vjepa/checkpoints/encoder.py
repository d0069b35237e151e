"""Encoders on disk, in the layout of `transformers`' V-JEPA 2, so that `VJEPA2Model.from_pretrained` opens them as is.

A folder holds `config.json`, the tensors of the encoder and of its pretraining predictor, and
`video_preprocessor_config.json`. Reading is exact: every tensor that is missing, unexpected or of another shape is
named. A network that `transformers` has not lies in the same layout (see `vjepa.checkpoints.model_config`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.checkpoints.folder import MAX_SHARD_BYTES, read_folder, write_folder
from vjepa.checkpoints.matching import ignored, require_match, shapes_of
from vjepa.checkpoints.model_config import (
    CONFIG,
    PROCESSOR,
    EncoderSettings,
    PredictorSettings,
    folder_config,
    processor_config,
    require_model_type,
)
from vjepa.checkpoints.names import ENCODER_RULES, PREDICTOR, PREDICTOR_RULES, Rules, from_theirs, to_theirs
from vjepa.config import EncoderConfig
from vjepa.files import atomic_directory, write_json
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor


@dataclass
class PretrainedEncoder:
    """What a model folder or an official file holds.

    Attributes:
        encoder: the one to be used, frozen.
        predictor: of pretraining, if it is there.
        frames: length of the clips that it was trained on.
        entry: of the official file, from which the encoder was taken.
    """

    encoder: VisionTransformer
    predictor: Predictor | None
    frames: int
    entry: str | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Those of both networks under `transformers`' names."""
        theirs = to_theirs(self.encoder.state_dict(), ENCODER_RULES)
        return theirs | (to_theirs(self.predictor.state_dict(), PREDICTOR_RULES) if self.predictor else {})


def save_encoder(
    path: Path,
    encoder: VisionTransformer,
    predictor: Predictor | None,
    frames: int,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a folder that `load_encoder` and `transformers` open; `frames` is the length of its training clips.

    Without a predictor `transformers` starts one with random weights, and says so.
    """
    tensors = PretrainedEncoder(encoder, predictor, frames).tensors()
    with atomic_directory(path) as folder:
        write_folder(folder, folder_config(encoder, predictor, frames), tensors, max_shard_bytes)
        write_json(folder / PROCESSOR, processor_config(encoder))


def load_pretrained(path: Path, ignore: Sequence[str] = ()) -> PretrainedEncoder:
    """Read a folder written by `save_encoder` or by `transformers`, single or sharded.

    Args:
        path: the folder.
        ignore: names of tensors to go without, `*` for anything; `predictor.*` leaves the predictor out.

    Raises:
        UserError: a file is missing or damaged, its settings are no V-JEPA 2's, or its tensors don't fit them.
    """
    return pretrained_from(path, *read_folder(path), ignore)


def pretrained_from(
    path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], ignore: Sequence[str] = ()
) -> PretrainedEncoder:
    """The networks of a folder's content; arguments and errors as `load_pretrained`."""
    require_model_type(config, path)
    settings = EncoderSettings.read(config, path)
    builds: list[tuple[EncoderSettings | PredictorSettings, Rules]] = [(settings, ENCODER_RULES)]
    if any(name.startswith(PREDICTOR) and not ignored(name, ignore) for name in tensors):
        builds.append((PredictorSettings.read(config, path), PREDICTOR_RULES))

    def fresh() -> dict[str, Tensor]:
        parts = [to_theirs(part.build().state_dict(), rules) for part, rules in builds]
        return {name: tensor for part in parts for name, tensor in part.items()}

    wanted = shapes_of(fresh, path / CONFIG, "V-JEPA 2")
    found = require_match(tensors, wanted, f"{path} does not fit its {CONFIG}", ignore)
    encoder, predictor = [*(give(part.build(), found, rules) for part, rules in builds), None][:2]
    return PretrainedEncoder(freeze(encoder), predictor, settings.frames_per_clip)


def give(network: Any, theirs: Mapping[str, Tensor], rules: Rules) -> Any:
    """A network with the tensors that it has under their names."""
    network.load_state_dict(from_theirs(theirs, network.state_dict(), rules))
    return network


def load_encoder(path: Path) -> VisionTransformer:
    """The encoder of a model folder (see `load_pretrained`), frozen and in evaluation mode."""
    return load_pretrained(path).encoder


def build_encoder(config: EncoderConfig) -> VisionTransformer:
    """An encoder with fresh weights."""
    return VisionTransformer(
        config.image_size,
        config.patch,
        config.tubelet,
        config.width,
        config.depth,
        config.heads,
        config.mlp_ratio,
        config.tiled_rope,
        levels=config.levels,
        image_patches=config.image_patches,
    )


def untrained_encoder(like: VisionTransformer, seed: int) -> VisionTransformer:
    """The baseline of every result that depends on the encoder: the same network with random weights, frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = EncoderSettings.of(like, like.tubelet).build()
    return freeze(encoder)


def freeze(encoder: VisionTransformer) -> VisionTransformer:
    """Switch off training and gradients, in place."""
    module: nn.Module = encoder.eval()
    module.requires_grad_(False)
    return encoder
