"""Weights that a pretraining starts from instead of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vjepa.checkpoints.encoder import PretrainedEncoder, load_pretrained
from vjepa.checkpoints.official import PREDICTOR, Unwritten, is_action_predictor, open_official, read_official
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.errors import UserError
from vjepa.files import sha256_of
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor

IGNORED = ("opt", "scaler")
"""Entries of official files that are no weights."""
ENCODER_SIZES = ("patch", "tubelet", "width", "depth", "heads", "tiled_rope", "rope_side", "levels", "image_patches")
PREDICTOR_SIZES = (
    "encoder_width", "width", "depth", "heads", "tiled_rope", "output_width", "levels", "context_head", "modalities",
)  # fmt: skip


def identity_of(start: str | None) -> dict[str, str]:
    """The SHA-256 of each file of the weights, by name: a run does not go on from other ones."""
    if start is None:
        return {}
    path = Path(start)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    try:
        return {file.name: sha256_of(file) for file in files}
    except OSError as error:
        raise UserError(f"pretrain.start: {path} can't be read: {error.strerror}") from error


def give_weights(
    start: str, encoder: VisionTransformer, predictor: Predictor, settings: EncoderConfig, config: PretrainConfig
) -> None:
    """Put the weights of `start` into networks of the settings' sizes.

    The image size may differ: nothing in the networks hangs on it. Of the predictor's mask tokens the first is taken,
    the one that is trained on clips of one length. Where there is no predictor of pretraining, it starts afresh.

    Raises:
        UserError: they can't be read, or their sizes are not those of the settings; all differences are named.
    """
    path = Path(start)
    found = open_start(path, settings, config)
    require_sizes(path, "encoder", encoder, found.encoder, ENCODER_SIZES)
    encoder.load_state_dict(found.encoder.state_dict())
    if found.predictor is not None:
        require_sizes(path, "predictor", predictor, found.predictor, PREDICTOR_SIZES)
        state = found.predictor.state_dict()
        predictor.load_state_dict(state | {"mask_tokens": state["mask_tokens"][: len(predictor.mask_tokens)]})


def open_start(path: Path, settings: EncoderConfig, config: PretrainConfig) -> PretrainedEncoder:
    """The networks of a folder or an official file; what no official file says, heads above all, is as in the settings.

    Raises:
        UserError: they can't be read.
    """
    if path.is_dir():
        return load_pretrained(path)
    if not path.exists():
        raise UserError(f"pretrain.start: {path} does not exist")
    tensors = open_official(path).networks.get(PREDICTOR, {})
    ignore = [*IGNORED, PREDICTOR] if is_action_predictor(tensors) else list(IGNORED)
    said = Unwritten(
        image_size=settings.image_size,
        heads=settings.heads,
        predictor_heads=config.predictor_heads,
        mask_tokens=mask_tokens(tensors) or None,
    )
    return read_official(path, said, ignore=ignore)


def mask_tokens(tensors: Mapping[str, Tensor]) -> int:
    """How many an official predictor has."""
    return sum(name.startswith("mask_tokens.") for name in tensors)


def require_sizes(path: Path, what: str, wanted: Any, found: Any, names: tuple[str, ...]) -> None:
    """Refuse a network that is made otherwise than the settings say.

    Raises:
        UserError: naming all differences.
    """
    wrong = [
        f"{n} {getattr(found, n)}, not {getattr(wanted, n)}" for n in names if getattr(found, n) != getattr(wanted, n)
    ]
    hidden = [int(network.width * network.mlp_ratio) for network in (found, wanted)]
    if hidden[0] != hidden[1]:
        wrong.append(f"{hidden[0]} hidden features (width x mlp_ratio), not {hidden[1]}")
    if wrong:
        raise UserError(f"pretrain.start: the {what} of {path} is not that of the settings: {'; '.join(wrong)}")
