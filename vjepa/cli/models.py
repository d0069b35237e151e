"""`vjepa models`: the table of sizes, computed from the networks themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.sizes import SIZES, TUBELET, named_action_predictor, named_encoder, named_predictor

FRAMES = 16
WIDTH = 100  # characters that the table needs
BYTES = 4  # of a float32
TRAINED = 4  # float32 copies of what learns: weights, gradients and AdamW's two moments


@dataclass(frozen=True)
class Row:
    """One model; its networks hold shapes and no numbers.

    Attributes:
        name: e.g. `vit_large 256`.
        family: `2`, `2.1` or `2-AC`.
        encoder: the encoder.
        predictor: the predictor that goes with it.
    """

    name: str
    family: str
    encoder: VisionTransformer
    predictor: nn.Module


def models() -> Iterator[Row]:
    """The models of the papers and of the releases, and smaller ones of the same make."""
    with torch.device("meta"):
        for name in SIZES:
            for image_size in (256, 384) if name in ("vit_large", "vit_huge", "vit_giant") else (256,):
                if name != "vit_gigantic":  # there is none of V-JEPA 2
                    yield Row(f"{name} {image_size}", "2", named_encoder(name, image_size), named_predictor(name))
        for name in ("vit_base", "vit_large", "vit_giant", "vit_gigantic"):
            distilled = name in ("vit_base", "vit_large")
            predictor = partial(named_predictor, name, "2.1")
            yield Row(
                f"{name} 384",
                "2.1",
                named_encoder(name, 384, "2.1"),
                predictor(teacher="vit_gigantic") if distilled else predictor(depth=24),
            )
        yield Row("vit_giant 256", "2-AC", named_encoder("vit_giant"), named_action_predictor("vit_giant"))


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def training_bytes(row: Row) -> int:
    """Float32 memory of training without activations: with the teacher in pretraining, the frozen encoder in 2-AC."""
    encoder, predictor = parameters(row.encoder), parameters(row.predictor)
    return BYTES * (encoder + TRAINED * predictor + (TRAINED * encoder if row.family != "2-AC" else 0))


def table() -> Table:
    """All models."""
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("model", no_wrap=True)
    shown.add_column("V-JEPA", no_wrap=True)
    shown.add_column("depth x width", no_wrap=True)
    for column in ("encoder", "predictor", f"tokens of\n{FRAMES} frames", "weights\nGB", "training\nGB"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in models():
        encoder = row.encoder
        tokens = encoder.grid[0] * encoder.grid[1] * FRAMES // TUBELET
        counts = parameters(encoder), parameters(row.predictor)
        shown.add_row(
            row.name,
            row.family,
            f"{encoder.depth} x {encoder.width}",
            *(f"{count / 1e6:,.0f} M" for count in counts),
            f"{tokens:,}",
            f"{BYTES * sum(counts) / 1e9:.1f}",
            f"{training_bytes(row) / 1e9:.1f}",
        )
    shown.caption = (
        "float32, without activations; training: weights, gradients and AdamW's moments, beside the teacher\n"
        "(2-AC: beside the frozen encoder)"
    )
    return shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table whole: a narrow terminal wraps its lines, where a cut number would say another."""
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table())
