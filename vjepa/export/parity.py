"""How far the ONNX graphs are from torch on held-out frames and windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from vjepa.data.clips import ClipSampler
from vjepa.data.episode import Episode
from vjepa.errors import UserError
from vjepa.posttraining.world_model import WorldModel


@torch.no_grad()
def measure_parity(model: WorldModel, folder: Path, held_out: Sequence[Episode], samples: int) -> dict[str, float]:
    """Largest absolute differences between torch and ONNX Runtime's CPU provider.

    The encoder sees `samples` frames, together and one alone; the predictor sees real windows from them on, at every
    context length from 1 to the model's, so that a size which the exporter froze can't go unnoticed.

    Returns:
        `encoder_max_abs_error` and `predictor_max_abs_error`, in the unit of latents, whose deviation is about 1.

    Raises:
        UserError: a graph does not run at one of these sizes.
    """
    clips = ClipSampler(held_out, frames=model.max_context + 1, stride=1, seed=0).batch(0, samples)
    windows = zip(clips.episodes, clips.starts, strict=True)
    actions = torch.from_numpy(np.stack([held_out[i].actions[s : s + model.max_context] for i, s in windows]))
    states = torch.from_numpy(clips.states)
    frames = torch.from_numpy(clips.frames)
    latents = torch.stack([model.encode(step) for step in frames.unbind(1)], dim=1)

    encoder = Graph(folder / "encoder.onnx")
    encoder_errors = [
        encoder.difference(latents[:, 0], frames=frames[:, 0]),
        encoder.difference(latents[:1, 0], frames=frames[:1, 0]),
    ]
    predictor = Graph(folder / "predictor.onnx")
    predictor_errors = []
    for context in range(1, model.max_context + 1):
        for batch in {1, samples}:
            inputs = [value[:batch, :context] for value in (latents, actions, states)]
            names = ("latents", "actions", "states")
            expected = model.step(*inputs)
            predictor_errors.append(predictor.difference(expected, **dict(zip(names, inputs, strict=True))))
    return {"encoder_max_abs_error": max(encoder_errors), "predictor_max_abs_error": max(predictor_errors)}


class Graph:
    """An ONNX file with one output, run on the CPU."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def difference(self, expected: torch.Tensor, **inputs: torch.Tensor) -> float:
        """Largest absolute difference between the graph's output on `inputs` and `expected`."""
        try:
            (found,) = self.session.run(None, {name: value.numpy() for name, value in inputs.items()})
        except Exception as error:  # ONNX Runtime's errors have no common base class
            sizes = {name: list(value.shape) for name, value in inputs.items()}
            raise UserError(f"{self.path.name} does not run on {sizes}: {' '.join(str(error).split())}") from error
        if found.shape != tuple(expected.shape):
            raise UserError(f"{self.path.name} gives {list(found.shape)} where torch gives {list(expected.shape)}")
        return float(np.abs(found - expected.numpy()).max())
