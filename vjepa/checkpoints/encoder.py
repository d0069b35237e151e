"""Encoders on disk, in the layout of `transformers`' V-JEPA 2, so that `VJEPA2Model.from_pretrained` opens them as is.

A folder holds `config.json`, the tensors of the encoder and of its pretraining predictor, and
`video_preprocessor_config.json`. Reading is exact: every tensor that is missing, unexpected or of another shape is
named. A network that `transformers` has not (V-JEPA 2.1, or the corrected position encoding) lies in the same layout
under a `model_type` of its own: that library then refuses it rather than compute something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.checkpoints.folder import MAX_SHARD_BYTES, read_folder, write_folder
from vjepa.checkpoints.matching import require_match
from vjepa.checkpoints.transformers_names import ENCODER, PREDICTOR, from_transformers, to_transformers
from vjepa.config import EncoderConfig
from vjepa.errors import UserError
from vjepa.files import atomic_directory, write_json
from vjepa.nn.blocks import LAYER_NORM_EPS
from vjepa.nn.encoder import PIXEL_MEAN, PIXEL_STD, VisionTransformer
from vjepa.nn.predictor import Predictor

MODEL_TYPE, MODEL_TYPE_2_1 = "vjepa2", "vjepa2_1"
PROCESSOR = "video_preprocessor_config.json"
FIXED = {"in_chans": 3, "layer_norm_eps": LAYER_NORM_EPS, "qkv_bias": True, "hidden_act": "gelu"}
"""Settings of `transformers`' configuration that all V-JEPA 2 models share; no other values can be followed."""


@dataclass
class PretrainedEncoder:
    """What a model folder or an official file holds.

    Attributes:
        encoder: the one to be used, frozen.
        predictor: of pretraining, if it is there.
        frames: length of the clips that it was trained on.
    """

    encoder: VisionTransformer
    predictor: Predictor | None
    frames: int


def encoder_config(encoder: VisionTransformer, frames: int) -> dict[str, Any]:
    """The part of `config.json` that describes an encoder."""
    config: dict[str, Any] = {
        "model_type": MODEL_TYPE,
        "architectures": ["VJEPA2Model"],
        "patch_size": encoder.patch,
        "crop_size": encoder.image_size,
        "frames_per_clip": frames,
        "tubelet_size": encoder.tubelet,
        "hidden_size": encoder.width,
        "num_attention_heads": encoder.heads,
        "num_hidden_layers": encoder.depth,
        "mlp_ratio": encoder.mlp_ratio,
        **FIXED,
    }
    beyond = {
        "tiled_rope": encoder.tiled_rope,
        "rope_side": encoder.rope_side,
        "levels": list(encoder.levels),
        "image_patches": encoder.image_patches,
    }
    if beyond != {"tiled_rope": True, "rope_side": None, "levels": [], "image_patches": False}:
        config |= {"model_type": MODEL_TYPE_2_1, "architectures": ["VisionTransformer"]} | beyond
    return config


def predictor_config(predictor: Predictor) -> dict[str, Any]:
    """The part of `config.json` that describes a pretraining predictor."""
    config: dict[str, Any] = {
        "pred_hidden_size": predictor.width,
        "pred_num_attention_heads": predictor.heads,
        "pred_num_hidden_layers": predictor.depth,
        "pred_num_mask_tokens": len(predictor.mask_tokens),
        "pred_mlp_ratio": predictor.mlp_ratio,
    }
    beyond = {
        "pred_tiled_rope": predictor.tiled_rope,
        "pred_output_size": predictor.output_width,
        "pred_levels": predictor.levels,
        "pred_context_head": predictor.context_head,
        "pred_modalities": predictor.modalities,
    }
    plain = {
        "pred_tiled_rope": True,
        "pred_output_size": predictor.encoder_width,
        "pred_levels": 1,
        "pred_context_head": False,
        "pred_modalities": False,
    }
    if beyond != plain:
        config |= {"model_type": MODEL_TYPE_2_1, "architectures": ["VisionTransformer"]} | beyond
    return config


def processor_config(encoder: VisionTransformer) -> dict[str, Any]:
    """What `transformers`' video processor must do before the encoder."""
    return {
        "video_processor_type": "VJEPA2VideoProcessor",
        "size": {"shortest_edge": encoder.image_size},
        "crop_size": {"height": encoder.image_size, "width": encoder.image_size},
        "image_mean": PIXEL_MEAN,
        "image_std": PIXEL_STD,
    }


def encoder_from(config: Mapping[str, Any]) -> VisionTransformer:
    """The encoder that a `config.json` describes, with fresh weights; raises KeyError for a key that it lacks."""
    return VisionTransformer(
        config["crop_size"],
        config["patch_size"],
        config["tubelet_size"],
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["mlp_ratio"],
        tiled_rope=config.get("tiled_rope", True),
        rope_side=config.get("rope_side"),
        levels=config.get("levels", ()),
        image_patches=config.get("image_patches", False),
    )


def predictor_from(config: Mapping[str, Any]) -> Predictor:
    """The predictor that a `config.json` describes, with fresh weights; raises KeyError for a key that it lacks."""
    levels = config.get("pred_levels", 1)
    return Predictor(
        config["hidden_size"] * levels,
        config["pred_hidden_size"],
        config["pred_num_hidden_layers"],
        config["pred_num_attention_heads"],
        config["pred_mlp_ratio"],
        config["pred_num_mask_tokens"],
        tiled_rope=config.get("pred_tiled_rope", True),
        output_width=config.get("pred_output_size"),
        levels=levels,
        context_head=config.get("pred_context_head", False),
        modalities=config.get("pred_modalities", False),
    )


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
    config = encoder_config(encoder, frames)
    tensors = to_transformers(encoder.state_dict(), ENCODER)
    if predictor is not None:
        config |= predictor_config(predictor)
        tensors |= to_transformers(predictor.state_dict(), PREDICTOR)
    with atomic_directory(path) as folder:
        write_folder(folder, config, tensors, max_shard_bytes)
        write_json(folder / PROCESSOR, processor_config(encoder))


def load_pretrained(path: Path, prefix: str = "") -> PretrainedEncoder:
    """Read a folder written by `save_encoder` or by `transformers`, single or sharded.

    Args:
        path: the folder.
        prefix: of the tensors' names, where the model is part of another (`vjepa2.` in a classifier); tensors without
            it are then another's business.

    Raises:
        UserError: a file is missing or damaged, its settings are no V-JEPA 2's, or its tensors don't fit them.
    """
    config, tensors = read_folder(path)
    require_known(config, path)
    tensors = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    try:
        encoder = encoder_from(config)
        predictor = predictor_from(config) if any(name.startswith(PREDICTOR) for name in tensors) else None
    except KeyError as error:
        raise UserError(f"{path / 'config.json'} lacks the key {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path / 'config.json'} describes no V-JEPA 2: {error}") from error
    networks: dict[str, nn.Module] = {ENCODER: encoder} | ({PREDICTOR: predictor} if predictor else {})
    wanted: dict[str, Tensor] = {}
    for network, module in networks.items():
        wanted |= to_transformers(module.state_dict(), network)
    found = require_match(tensors, wanted, f"{path} does not fit its config.json")
    for network, module in networks.items():
        module.load_state_dict(from_transformers(found, module.state_dict(), network))
    return PretrainedEncoder(freeze(encoder), predictor, config.get("frames_per_clip", encoder.tubelet))


def require_known(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that would make the network compute something else."""
    kind = config.get("model_type")
    if kind not in (MODEL_TYPE, MODEL_TYPE_2_1):
        raise UserError(f"{path} holds a model of type {kind!r}, not {MODEL_TYPE!r} or {MODEL_TYPE_2_1!r}")
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise UserError(f"{path / 'config.json'}: {name} is {config[name]!r}, but only {value!r} can be followed")


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
    )


def untrained_encoder(like: VisionTransformer, seed: int) -> VisionTransformer:
    """The baseline of every result that depends on the encoder: the same network with random weights, frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = encoder_from(encoder_config(like, like.tubelet))
    return freeze(encoder)


def freeze(encoder: VisionTransformer) -> VisionTransformer:
    """Switch off training and gradients, in place."""
    module: nn.Module = encoder.eval()
    module.requires_grad_(False)
    return encoder
