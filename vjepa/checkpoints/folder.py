"""A model on disk: a folder with `config.json` and its tensors, in one `model.safetensors` or in several shards."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath
from typing import Any

from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vjepa.checkpoints.model_config import CONFIG
from vjepa.errors import UserError
from vjepa.files import write_json

TENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARD_BYTES = 5_000_000_000


def write_folder(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write a model into an existing folder (one of `vjepa.files.atomic_directory`).

    Tensors of more than `max_shard_bytes` together are spread over several files with an index, as `transformers` does.

    Raises:
        UserError: they can't be written, e.g. since the disk is full.
    """
    write_json(folder / CONFIG, config)
    split = split_torch_state_dict_into_shards(tensors, max_shard_size=max_shard_bytes)
    for name, members in split.filename_to_tensors.items():
        try:
            # transformers refuses files without this note
            save_file({member: tensors[member] for member in members}, folder / name, metadata={"format": "pt"})
        except SafetensorError as error:  # no OSError, even where the disk is full
            raise UserError(f"can't write {folder / name}: {' '.join(str(error).split())}") from error
    if split.is_sharded:
        write_json(folder / INDEX, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})


def read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The `config.json` and the tensors of a model folder.

    Raises:
        UserError: a file is missing or damaged, or the shards are not what their index says; the message names it.
    """
    try:
        config = json.loads((path / CONFIG).read_text())
        if not isinstance(config, dict):
            raise ValueError(f"{CONFIG} holds no settings")
        if (path / TENSORS).exists() or not (path / INDEX).exists():
            return config, load_file(path / TENSORS)
        return config, _read_shards(path, json.loads((path / INDEX).read_text()))
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise UserError(f"the model in {path} can't be read: {error}") from error


def _read_shards(path: Path, index: Any) -> dict[str, Tensor]:
    """The tensors of all shards; raises ValueError where they are not those of the index."""
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise ValueError(f"{INDEX} has no weight_map")
    for name in places.values():
        # Windows' rules on every system: they know both kinds of slash, and drives. They take "" and ".." for names.
        if not isinstance(name, str) or PureWindowsPath(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} lists {name!r}, which is no .safetensors file in the folder")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = load_file(path / name)
        listed = {tensor for tensor, file in places.items() if file == name}
        if wrong := sorted(listed ^ set(shard)):
            raise ValueError(f"{name} and {INDEX} differ in {', '.join(wrong)}")
        tensors |= shard
    return tensors
