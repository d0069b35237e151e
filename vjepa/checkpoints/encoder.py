"""Encoders on disk, in the layout of `transformers`' V-JEPA 2, so that `VJEPA2Model.from_pretrained` opens them as is.

A folder holds `config.json`, `model.safetensors` (encoder and pretraining predictor) and
`video_preprocessor_config.json`. Reading is exact: every tensor that is missing, unexpected or of another shape is
named.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.config import EncoderConfig
from vjepa.errors import UserError
from vjepa.files import atomic_directory, write_json
from vjepa.nn.blocks import LAYER_NORM_EPS
from vjepa.nn.encoder import PIXEL_MEAN, PIXEL_STD, VisionTransformer
from vjepa.nn.predictor import Predictor

# Ours -> theirs, first match wins; qkv is split in three separately.
RENAMES = [
    (r"^patch_embed\.", "encoder.embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layer.\1.attention."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"^norm\.", "encoder.layernorm."),
    (r"^mask_token$", "predictor.embeddings.mask_tokens"),
    (r"^predictor_embed\.", "predictor.embeddings.predictor_embeddings."),
    (r"^predictor_blocks\.(\d+)\.attn\.", r"predictor.layer.\1.attention."),
    (r"^predictor_blocks\.(\d+)\.", r"predictor.layer.\1."),
    (r"^predictor_norm\.", "predictor.layernorm."),
    (r"^predictor_proj\.", "predictor.proj."),
]


def their_name(ours: str) -> str:
    """The name that `transformers` gives a tensor of ours."""
    for pattern, replacement in RENAMES:
        if re.search(pattern, ours):
            return re.sub(pattern, replacement, ours)
    raise KeyError(ours)


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our encoder's or predictor's tensors under `transformers`' names, the fused qkv split in three."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed = their_name(name)
        if ".qkv." in renamed:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                theirs[renamed.replace("qkv", part)] = third.contiguous()
        else:
            theirs[renamed] = tensor.unsqueeze(0) if name == "mask_token" else tensor
    return theirs


def from_transformers(theirs: dict[str, Tensor], ours: dict[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors that a network of ours with the state `ours` needs, out of `transformers`' tensors.

    Raises:
        UserError: tensors are missing, left over, or have another shape; all of them are named.
    """
    wanted = to_transformers(ours)
    wrong = [f"{name} is missing" for name in wanted if name not in theirs]
    wrong += [f"{name} is unexpected" for name in theirs if name not in wanted]
    wrong += [
        f"{name} has shape {list(theirs[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in theirs and theirs[name].shape != tensor.shape
    ]
    if wrong:
        raise UserError(f"{where} does not fit its config.json: {'; '.join(wrong)}")
    found: dict[str, Tensor] = {}
    for name in ours:
        renamed = their_name(name)
        if ".qkv." in renamed:
            found[name] = torch.cat([theirs[renamed.replace("qkv", part)] for part in ("query", "key", "value")])
        else:
            found[name] = theirs[renamed].reshape(ours[name].shape)
    return found


def save_encoder(path: Path, encoder: VisionTransformer, predictor: Predictor, frames: int) -> None:
    """Write a folder that `load_encoder` and `transformers` open; `frames` is the length of its training clips."""
    config: dict[str, Any] = {
        "model_type": "vjepa2",
        "architectures": ["VJEPA2Model"],
        "patch_size": encoder.patch,
        "crop_size": encoder.image_size,
        "frames_per_clip": frames,
        "tubelet_size": encoder.tubelet,
        "hidden_size": encoder.width,
        "in_chans": 3,
        "num_attention_heads": encoder.heads,
        "num_hidden_layers": encoder.depth,
        "mlp_ratio": encoder.mlp_ratio,
        "layer_norm_eps": LAYER_NORM_EPS,
        "pred_hidden_size": predictor.predictor_embed.out_features,
        "pred_num_attention_heads": predictor.predictor_embed.out_features // predictor.head_dim,
        "pred_num_hidden_layers": len(predictor.predictor_blocks),
        "pred_num_mask_tokens": 1,
        "pred_mlp_ratio": predictor.mlp_ratio,
    }
    processor = {
        "video_processor_type": "VJEPA2VideoProcessor",
        "size": {"shortest_edge": encoder.image_size},
        "crop_size": {"height": encoder.image_size, "width": encoder.image_size},
        "image_mean": PIXEL_MEAN,
        "image_std": PIXEL_STD,
    }
    tensors = to_transformers(encoder.state_dict()) | to_transformers(predictor.state_dict())
    with atomic_directory(path) as folder:
        write_folder(folder, config, tensors)
        write_json(folder / "video_preprocessor_config.json", processor)


def load_encoder(path: Path) -> VisionTransformer:
    """Read the encoder of a folder written by `save_encoder` or by `transformers`; frozen and in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its `config.json`.
    """
    config, tensors = read_folder(path)
    try:
        encoder = VisionTransformer(
            config["crop_size"],
            config["patch_size"],
            config["tubelet_size"],
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["mlp_ratio"],
        )
    except KeyError as error:
        raise UserError(f"{path / 'config.json'} lacks the key {error}") from error
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("predictor.")}
    encoder.load_state_dict(from_transformers(tensors, encoder.state_dict(), path / "model.safetensors"))
    return freeze(encoder)


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
        encoder = VisionTransformer(
            like.image_size, like.patch, like.tubelet, like.width, like.depth, like.heads, like.mlp_ratio
        )
    return freeze(encoder)


def freeze(encoder: VisionTransformer) -> VisionTransformer:
    """Switch off training and gradients, in place."""
    module: nn.Module = encoder.eval()
    module.requires_grad_(False)
    return encoder
