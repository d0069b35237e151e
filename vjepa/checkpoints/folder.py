"""A model on disk: a folder with `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vjepa.errors import UserError
from vjepa.files import write_json

CONFIG, TENSORS = "config.json", "model.safetensors"


def write_folder(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write both files into an existing folder (one of `vjepa.files.atomic_directory`).

    Raises:
        UserError: they can't be written, e.g. since the disk is full.
    """
    write_json(folder / CONFIG, config)
    try:
        # transformers refuses files without this note
        save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    except SafetensorError as error:  # no OSError, even where the disk is full
        raise UserError(f"can't write {folder / TENSORS}: {' '.join(str(error).split())}") from error


def read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `config.json` and the tensors of a model folder.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
        return config, load_file(path / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"the model in {path} can't be read: {error}") from error
