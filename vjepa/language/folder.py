"""The projector on disk: `model.safetensors`, and `config.json` with its sizes and the language model it speaks to."""

from __future__ import annotations

from pathlib import Path

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.config import AlignConfig
from vjepa.errors import UserError
from vjepa.files import atomic_directory
from vjepa.language.questions import Kind
from vjepa.nn.projector import Projector

MODEL_TYPE = "vjepa2_projector"


def save_projector(path: Path, projector: Projector, config: AlignConfig, kinds: list[Kind]) -> None:
    """Write the folder; `config` says which language model and which clips it was trained with, `kinds` the prompts."""
    description = {
        "model_type": MODEL_TYPE,
        "projector": projector.sizes,
        "language_model": config.language_model,
        "frames": config.frames,
        "stride": config.stride,
        "prompts": {kind.name: kind.prompt for kind in kinds},
    }
    with atomic_directory(path) as folder:
        write_folder(folder, description, projector.state_dict())


def load_projector(path: Path) -> Projector:
    """Read what `save_projector` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or holds another model.
    """
    config, tensors = read_folder(path)
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(f"{path} holds a {config.get('model_type')!r} model, not a projector")
    projector = Projector(**config["projector"])
    try:
        projector.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"{path / 'model.safetensors'} does not fit its config.json: {' '.join(str(error).split())}"
        ) from error
    return projector.eval()
