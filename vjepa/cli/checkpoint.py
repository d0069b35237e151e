"""`vjepa checkpoint inspect` and `vjepa checkpoint convert`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vjepa.checkpoints.action_predictor import FOLDER, load_action_predictor, save_action_predictor
from vjepa.checkpoints.classifier import load_classifier
from vjepa.checkpoints.encoder import PretrainedEncoder, load_pretrained, save_encoder
from vjepa.checkpoints.folder import read_folder
from vjepa.checkpoints.matching import ignored
from vjepa.checkpoints.model_config import CONFIG
from vjepa.checkpoints.official import (
    ENCODERS,
    PREDICTOR,
    Unwritten,
    is_action_predictor,
    open_official,
    read_action_predictor,
    read_official,
    save_official,
)
from vjepa.cli.arguments import positive
from vjepa.errors import UserError
from vjepa.nn.action_predictor import ActionPredictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare both commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="list the networks of a file or folder, their tensors and sizes")
    inspect.add_argument("path", type=Path, help="official .pt file, or folder with config.json")
    inspect.add_argument("--tensors", action="store_true", help="list every tensor")
    inspect.set_defaults(run=run_inspect)
    convert = actions.add_parser(
        "convert", help="write the encoder and its predictor in another form (.pt: official; else a folder)"
    )
    convert.add_argument("source", type=Path, help="official .pt file, or folder with config.json")
    convert.add_argument("target", type=Path, help="NAME.pt for the official form, else a folder for transformers")
    add_reading_arguments(convert)
    convert.set_defaults(run=run_convert)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """What an official file can't say of itself; `read_models` takes it."""
    group = parser.add_argument_group("official files (they hold no settings)")
    group.add_argument("--entry", choices=ENCODERS, help="which encoder (default: as the released files are read)")
    group.add_argument("--image-size", type=positive, help="pixels on each side (default 256; V-JEPA 2.1: 384)")
    group.add_argument("--frames", type=positive, help="frames of its training clips (default 64)")
    group.add_argument("--heads", type=positive, help="attention heads (default: those of the released size)")
    group.add_argument("--predictor-heads", type=positive, help="likewise for the predictor")
    group.add_argument("--mask-tokens", type=positive, help="likewise, of the predictor (released: 10; V-JEPA 2.1: 8)")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="a tensor (with * for anything), or an official file's entry (opt), to go without; may be repeated",
    )


def read_models(path: Path, options: argparse.Namespace) -> PretrainedEncoder:
    """The models of a folder (an encoder's or a classifier's) or of an official file.

    Raises:
        UserError: they can't be read exactly, or options for official files were given for a folder.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    said = Unwritten(
        options.image_size, options.frames or 64, options.heads, options.predictor_heads, options.mask_tokens
    )
    if not path.is_dir():
        return read_official(path, said, options.entry, options.ignore)
    if said != Unwritten() or options.entry:
        raise UserError(f"{path} is a folder, whose {CONFIG} says it all: options for official files are of no use")
    return load_classifier(path, options.ignore)[0] if is_classifier(path) else load_pretrained(path, options.ignore)


def is_classifier(path: Path) -> bool:
    """Whether a folder says that it holds a classifier of `transformers`."""
    try:
        config = json.loads((path / CONFIG).read_text())
        return config.get("architectures") == ["VJEPA2ForVideoClassification"]
    except (OSError, ValueError, AttributeError):
        return False  # what is wrong with it is named by the one who reads it


def run_convert(options: argparse.Namespace) -> None:
    """Convert; a target that is there is not replaced."""
    source, target = options.source, options.target
    if target.exists():
        raise UserError(f"{target} is there already: choose another name or remove it")
    action = None
    if source.exists() and not ignored(PREDICTOR, options.ignore):
        action = find_action_predictor(source, options)
    if action is not None and not source.is_dir():
        options.ignore = [*options.ignore, PREDICTOR]  # it is taken, only not as that of pretraining
    models = read_models(source, options)
    require_nothing_lost(source, target, models, action, options.ignore)
    if target.suffix == ".pt":
        save_official(target, models.encoder, action or models.predictor)
    else:
        save_encoder(target, models.encoder, models.predictor, models.frames)
        if action is not None:
            save_action_predictor(target / FOLDER, action)
    encoder = models.encoder
    kinds = {"predictor": models.predictor, "action-conditioned predictor": action}
    predictors = [name for name, predictor in kinds.items() if predictor is not None]
    what = " and ".join(["encoder", *predictors]) if predictors else "encoder, without a pretraining predictor,"
    entry = f" ({models.entry})" if models.entry else ""
    Console(soft_wrap=True, markup=False, highlight=False).print(
        f"wrote {what} of {source}{entry} to {target}: "
        f"{encoder.depth} x {encoder.width}, {encoder.heads} heads, {encoder.image_size} px"
    )


def require_nothing_lost(
    source: Path,
    target: Path,
    models: PretrainedEncoder,
    action: ActionPredictor | None,
    ignore: Sequence[str],
) -> None:
    """Refuse to leave a network behind that was not named as ignored, and predictors of other latents.

    Raises:
        UserError: naming it.
    """
    encoder = models.encoder
    if action is not None and (action.latent_width, action.grid) != (encoder.width, encoder.grid):
        raise UserError(
            f"{source}: its action-conditioned predictor takes {action.latent_width} features on a grid of "
            f"{action.grid}, its encoder gives {encoder.width} on {encoder.grid}"
        )
    if target.suffix == ".pt" and action is not None and models.predictor is not None:
        raise UserError(f"{source} holds two predictors and {target} can hold one: ignore predictor.* or {FOLDER}")
    if source.is_dir() and is_classifier(source) and not ignored("classifier", ignore):
        raise UserError(
            f"{source} holds a classifier, for which {target} has no place: ignore classifier to go without"
        )


def find_action_predictor(source: Path, options: argparse.Namespace) -> ActionPredictor | None:
    """The predictor of V-JEPA 2-AC, if a file or folder has one; its latents are those of the encoder's grid."""
    if source.is_dir():
        there = (source / FOLDER).exists() and not ignored(FOLDER, options.ignore)
        return load_action_predictor(source / FOLDER) if there else None
    file = open_official(source)
    if not is_action_predictor(file.networks.get(PREDICTOR, {})):
        return None
    rest = [*options.ignore, PREDICTOR]
    encoder = read_models(source, argparse.Namespace(**{**vars(options), "ignore": rest})).encoder
    return read_action_predictor(source, encoder.grid, options.predictor_heads, options.ignore)


def run_inspect(options: argparse.Namespace) -> None:
    """Show what is there, without building anything from it."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if not options.path.exists():
        raise UserError(f"{options.path} does not exist")
    if options.path.is_dir():
        config, tensors = read_folder(options.path)
        console.print(f"{options.path}: a folder of type {config.get('model_type')!r}")
        networks, others = grouped(tensors), {}
        if (options.path / FOLDER).exists():
            networks[FOLDER] = read_folder(options.path / FOLDER)[1]
    else:
        file = open_official(options.path)
        console.print(f"{options.path}: an official file")
        networks, others = file.networks, file.others
    table = Table("network", "tensors", "parameters", "type", box=box.SIMPLE_HEAD)
    for name, tensors in networks.items():
        kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
        count = sum(tensor.numel() for tensor in tensors.values())
        table.add_row(name, f"{len(tensors):,}", f"{count:,}", ", ".join(kinds))
    console.print(table)
    if others:
        console.print(f"beside them: {', '.join(map(str, others))}")
    if options.tensors:
        for name, tensors in networks.items():
            for key, tensor in tensors.items():
                console.print(f"{name}  {key}  {list(tensor.shape)}")


def grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A folder's tensors by the network that they belong to."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        network, _, rest = name.removeprefix("vjepa2.").partition(".")
        groups.setdefault(network, {})[rest] = tensor
    return groups
