"""The world model as two ONNX graphs with free batch and context length."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from vjepa.errors import UserError
from vjepa.posttraining.world_model import WorldModel

TRACED = 2
"""Batch and context length of the example: the exporter takes 0 and 1 for fixed sizes."""


class EncoderGraph(nn.Module):
    """`frames` `uint8 [B, S, S, 3]` -> `latents` `float32 [B, N, D]`."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        """Pixel normalisation is part of the graph."""
        return self.model.encode(frames)


class PredictorGraph(nn.Module):
    """`latents` `[B, T, N, D]`, `actions` `[B, T, A]`, `states` `[B, T, S]` -> `next_latents` `[B, N, D]`."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """One world-model step, in physical units."""
        return self.model.step(latents, actions, states)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter: it prints its progress and warns of its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def export_graphs(model: WorldModel, folder: Path, opset: int) -> None:
    """Write `encoder.onnx` and `predictor.onnx` into `folder`.

    Args:
        model: in evaluation mode, on the CPU.
        folder: exists.
        opset: ONNX operator set, 18 or later.

    Raises:
        UserError: the exporter can't express the model in this operator set.
    """
    size, predictor = model.encoder.image_size, model.predictor
    frames = torch.zeros(TRACED, size, size, 3, dtype=torch.uint8)
    latents = torch.zeros(TRACED, TRACED, model.tokens[0] * model.tokens[1], model.width)
    actions = torch.zeros(TRACED, TRACED, predictor.actions)
    states = torch.zeros(TRACED, TRACED, predictor.states)
    batch, context = Dim("batch"), Dim("context", max=max(model.max_context, TRACED))
    export_graph(EncoderGraph(model), {"frames": frames}, "latents", {0: batch}, folder / "encoder.onnx", opset)
    inputs = {"latents": latents, "actions": actions, "states": states}
    path = folder / "predictor.onnx"
    export_graph(PredictorGraph(model), inputs, "next_latents", {0: batch, 1: context}, path, opset)


def export_graph(
    graph: nn.Module, inputs: dict[str, Tensor], output: str, dynamic: dict[int, Any], path: Path, opset: int
) -> None:
    """Trace one graph; all inputs share the `dynamic` dimensions."""
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval(),
                tuple(inputs.values()),
                path,
                dynamo=True,
                opset_version=opset,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=dict.fromkeys(inputs, dynamic),
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, ValueError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(f"can't export {path.name} with export.opset {opset}: {reason}") from error
    assert program is not None  # it is, with dynamo
    written = program.model.opset_imports[""]
    if written != opset:  # the exporter keeps its own and goes on when it can't convert
        raise UserError(f"can't export {path.name} with export.opset {opset}: the exporter gives {written}")
