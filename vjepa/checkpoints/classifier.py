"""Video classifiers on disk: an encoder and the attentive probe on it, as others keep them.

`VJEPA2ForVideoClassification` opens the folder. The official code keeps probes alone, in `evals/*.pt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vjepa.checkpoints.encoder import PretrainedEncoder, give, pretrained_from
from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match
from vjepa.checkpoints.model_config import BEYOND, CONFIG, PROCESSOR, folder_config, processor_config
from vjepa.checkpoints.names import Rules, to_theirs
from vjepa.checkpoints.official import block_count, load_plain, without_prefixes
from vjepa.errors import UserError
from vjepa.files import atomic_directory, write_json
from vjepa.nn.attentive import AttentiveProbe
from vjepa.nn.blocks import LAYER_NORM_EPS
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor

INNER = "vjepa2."
PROBE_HEADS = 16
"""Heads of every official probe, whatever the encoder."""
PROBE_EPS = 1e-5
"""The epsilon that the official probes' layer norms were trained with; `transformers`' port has the encoder's."""
THEIRS: Rules = [
    (r"^query_tokens$", "pooler.query_tokens"),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"pooler.self_attention_layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"pooler.self_attention_layers.\1.self_attn.{q,k,v}_proj."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"pooler.self_attention_layers.\1.self_attn.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.", r"pooler.self_attention_layers.\1.mlp."),
    (r"^cross_attention_block\.norm(\d)\.", r"pooler.cross_attention_layer.layer_norm\1."),
    (r"^cross_attention_block\.q\.", "pooler.cross_attention_layer.cross_attn.q_proj."),
    (r"^cross_attention_block\.kv\.", "pooler.cross_attention_layer.cross_attn.{k,v}_proj."),
    (r"^cross_attention_block\.mlp\.", "pooler.cross_attention_layer.mlp."),
    (r"^linear\.", "classifier."),
]
OFFICIAL: Rules = [
    (r"^cross_attention_block\.(q|kv)\.", r"pooler.cross_attention_block.xattn.\1."),
    (r"^linear\.", "linear."),
    (r"^", "pooler."),
]


def fill(
    probe: AttentiveProbe, theirs: dict[str, Tensor], rules: Rules, where: str, ignore: Sequence[str] = ()
) -> AttentiveProbe:
    """Give a probe its tensors from under their names; every difference is named."""
    fitting = require_match(theirs, to_theirs(probe.state_dict(), rules), where, ignore)
    return give(probe, fitting, rules).eval()


def save_classifier(path: Path, model: PretrainedEncoder, probe: AttentiveProbe, labels: list[str]) -> None:
    """Write a folder that `VJEPA2ForVideoClassification.from_pretrained` opens.

    Args:
        path: the folder.
        model: the encoder, and the predictor that `transformers` keeps inside (fresh where there is none).
        probe: without a grid, 4 x wide and with the encoder's heads, since `transformers` knows no other.
        labels: names of the classes, in the order of the outputs.

    Raises:
        UserError: `transformers` can't follow the probe or the encoder, or the labels are not one a class.
    """
    classes = probe.linear.out_features
    if len(set(labels)) != classes:
        raise UserError(f"{classes} classes need as many different labels, not {len(set(labels))}")
    encoder = model.encoder
    inner = PretrainedEncoder(encoder, model.predictor or Predictor(encoder.width, 384, 1, 12), model.frames)
    config = folder_config(encoder, inner.predictor, model.frames)
    if config["model_type"] == BEYOND["model_type"]:
        raise UserError("transformers has no classifiers on V-JEPA 2.1")
    if probe.positions is not None or probe.heads != encoder.heads or probe.mlp_ratio != 4:
        raise UserError("transformers' classifiers have no positions, the encoder's heads and an MLP ratio of 4")
    if probe.norm_eps != LAYER_NORM_EPS:
        raise UserError(f"transformers' classifiers have a norm epsilon of {LAYER_NORM_EPS}, not {probe.norm_eps}")
    config |= {
        "architectures": ["VJEPA2ForVideoClassification"],
        "num_pooler_layers": len(probe.blocks),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    tensors = {INNER + name: tensor for name, tensor in inner.tensors().items()}
    with atomic_directory(path) as folder:
        write_folder(folder, config, tensors | to_theirs(probe.state_dict(), THEIRS))
        write_json(folder / PROCESSOR, processor_config(encoder))


def load_classifier(path: Path, ignore: Sequence[str] = ()) -> tuple[PretrainedEncoder, AttentiveProbe, list[str]]:
    """Read a folder of `VJEPA2ForVideoClassification`: the encoder, the probe and the names of the classes.

    Args:
        path: the folder.
        ignore: names of tensors to go without, `*` for anything, those of the encoder without `vjepa2.`.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its settings.
    """
    config, tensors = read_folder(path)
    inner = {name.removeprefix(INNER): tensor for name, tensor in tensors.items() if name.startswith(INNER)}
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(INNER)}
    model = pretrained_from(path, config, inner, ignore)
    classes = len(own["classifier.bias"]) if "classifier.bias" in own else 1
    layers, named = config.get("num_pooler_layers", 3), config.get("id2label") or {}
    if type(layers) is not int or layers < 0:
        raise UserError(f"{path / CONFIG}: num_pooler_layers is {layers!r}, no number of layers")
    if not isinstance(named, dict) or not set(named) <= {str(i) for i in range(classes)}:
        raise UserError(f"{path / CONFIG}: id2label does not name {classes} classes from 0 on")
    probe = AttentiveProbe(None, model.encoder.width, model.encoder.heads, layers + 1, classes)
    fill(probe, own, THEIRS, f"{path} does not fit its {CONFIG}", ignore)
    return model, probe, [str(named.get(str(i), f"LABEL_{i}")) for i in range(classes)]


def read_official_probe(path: Path, encoder: VisionTransformer, heads: int = PROBE_HEADS) -> AttentiveProbe:
    """A probe with one query of the official `evals/*.pt`, which belongs to an encoder of this width.

    Raises:
        UserError: the file can't be read, is refused, or is not one probe of this width; all differences are named.
    """
    content = load_plain(path)
    probes = content.get("classifiers") if isinstance(content, dict) else None
    if not isinstance(probes, list) or len(probes) != 1 or not isinstance(probes[0], dict):
        raise UserError(f"{path} is no file of one probe")
    theirs = without_prefixes(probes[0], str(path))
    classes = len(theirs["linear.bias"]) if "linear.bias" in theirs else 1
    depth = block_count(theirs, r"pooler\.blocks") + 1
    if encoder.width % heads:
        raise UserError(f"{path}: {heads} heads can't share the encoder's width of {encoder.width}")
    probe = AttentiveProbe(None, encoder.width, heads, depth, classes, norm_eps=PROBE_EPS)
    return fill(probe, theirs, OFFICIAL, str(path))
