"""Video classifiers on disk: an encoder and the attentive probe on it, as others keep them.

`VJEPA2ForVideoClassification` opens the folder. The official code keeps probes alone, in `evals/*.pt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from vjepa.checkpoints.encoder import (
    PROCESSOR,
    PretrainedEncoder,
    encoder_config,
    load_pretrained,
    predictor_config,
    processor_config,
)
from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match
from vjepa.checkpoints.official import block_count, without_prefix
from vjepa.checkpoints.transformers_names import ENCODER, PREDICTOR, to_transformers
from vjepa.errors import UserError
from vjepa.files import atomic_directory, write_json
from vjepa.nn.attentive import AttentiveProbe
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor

INNER = "vjepa2."
THEIRS = [
    (r"^query_tokens$", "pooler.query_tokens"),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"pooler.self_attention_layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"pooler.self_attention_layers.\1.self_attn.*_proj."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"pooler.self_attention_layers.\1.self_attn.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.", r"pooler.self_attention_layers.\1.mlp."),
    (r"^cross_attention_block\.norm(\d)\.", r"pooler.cross_attention_layer.layer_norm\1."),
    (r"^cross_attention_block\.q\.", "pooler.cross_attention_layer.cross_attn.q_proj."),
    (r"^cross_attention_block\.kv\.", "pooler.cross_attention_layer.cross_attn.*_proj."),
    (r"^cross_attention_block\.mlp\.", "pooler.cross_attention_layer.mlp."),
    (r"^linear\.", "classifier."),
]
OFFICIAL = [
    (r"^cross_attention_block\.(q|kv)\.", r"pooler.cross_attention_block.xattn.\1."),
    (r"^linear\.", "linear."),
    (r"^", "pooler."),
]
"""Ours -> theirs, first match wins; `*` stands for each of several tensors that ours holds as one."""


def renamed(name: str, rules: list[tuple[str, str]]) -> list[str]:
    """The names of the tensors that one of ours is elsewhere, in the order of their rows."""
    for pattern, replacement in rules:
        if re.search(pattern, name):
            theirs = re.sub(pattern, replacement, name, count=1)
            return (
                [theirs.replace("*", part) for part in ("kv" if ".kv." in name else "qkv")]
                if "*" in theirs
                else [theirs]
            )
    raise KeyError(name)


def to_theirs(state: Mapping[str, Tensor], rules: list[tuple[str, str]]) -> dict[str, Tensor]:
    """A probe's tensors under other names."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        names = renamed(name, rules)
        theirs |= {n: part.contiguous() for n, part in zip(names, tensor.chunk(len(names)), strict=True)}
    return theirs


def give(
    probe: AttentiveProbe, theirs: Mapping[str, Tensor], rules: list[tuple[str, str]], where: str
) -> AttentiveProbe:
    """Give a probe its tensors from under other names; every difference is named."""
    fitting = require_match(theirs, to_theirs(probe.state_dict(), rules), where)
    own = {name: torch.cat([fitting[n] for n in renamed(name, rules)]) for name in probe.state_dict()}
    probe.load_state_dict(own)
    return probe.eval()


def save_classifier(path: Path, model: PretrainedEncoder, probe: AttentiveProbe, labels: list[str]) -> None:
    """Write a folder that `VJEPA2ForVideoClassification.from_pretrained` opens.

    Args:
        path: the folder.
        model: the encoder, and the predictor that `transformers` keeps inside (fresh where there is none).
        probe: without a grid, 4 x wide and with the encoder's heads, since `transformers` knows no other.
        labels: names of the classes, in the order of the outputs.

    Raises:
        UserError: `transformers` can't follow the probe or the encoder.
    """
    encoder = model.encoder
    config = encoder_config(encoder, model.frames)
    if config["model_type"] != "vjepa2":
        raise UserError("transformers has no classifiers on V-JEPA 2.1")
    if probe.positions is not None or probe.heads != encoder.heads or probe.mlp_ratio != 4:
        raise UserError("transformers' classifiers have no positions, the encoder's heads and an MLP ratio of 4")
    predictor = model.predictor or Predictor(encoder.width, 384, 1, 12)
    config |= {
        **predictor_config(predictor),
        "architectures": ["VJEPA2ForVideoClassification"],
        "num_pooler_layers": len(probe.blocks),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    inner = to_transformers(encoder.state_dict(), ENCODER) | to_transformers(predictor.state_dict(), PREDICTOR)
    tensors = {INNER + name: tensor for name, tensor in inner.items()} | to_theirs(probe.state_dict(), THEIRS)
    with atomic_directory(path) as folder:
        write_folder(folder, config, tensors)
        write_json(folder / PROCESSOR, processor_config(encoder))


def load_classifier(path: Path) -> tuple[PretrainedEncoder, AttentiveProbe, list[str]]:
    """Read a folder of `VJEPA2ForVideoClassification`: the encoder, the probe and the names of the classes.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its settings.
    """
    model = load_pretrained(path, INNER)
    config, tensors = read_folder(path)
    labels = config.get("id2label", {})
    encoder = model.encoder
    depth = config.get("num_pooler_layers", 3) + 1
    probe = AttentiveProbe(None, encoder.width, encoder.heads, depth, len(labels))
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(INNER)}
    give(probe, own, THEIRS, f"{path} does not fit its config.json")
    return model, probe, [labels[str(i)] for i in range(len(labels))]


def read_official_probe(path: Path, encoder: VisionTransformer) -> AttentiveProbe:
    """A probe of the official `evals/*.pt`, which belongs to an encoder of this width.

    Raises:
        UserError: the file can't be read, is refused, or is not one probe of this width; all differences are named.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        (state,) = content["classifiers"]
    except UnpicklingError as error:
        raise UserError(f"{path} is refused: it holds more than tensors and plain values") from error
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no file of one probe: {error}") from error
    theirs = {without_prefix(name): tensor for name, tensor in state.items()}
    classes = theirs["linear.weight"].shape[0] if "linear.weight" in theirs else 1
    depth = block_count(theirs, r"pooler\.blocks") + 1
    probe = AttentiveProbe(None, encoder.width, encoder.heads, depth, classes)
    return give(probe, theirs, OFFICIAL, str(path))
