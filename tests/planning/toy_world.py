"""A toy world whose optimum is known: a dot on black, latents that are linear in its place, actions that move it.

The state is (x, y, gripper); its widths differ from the default robot's on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vjepa.files import sha256_of

SIZE, VIEW = 16, 0.4  # pixels the encoder sees on each side, and metres they show
MIX = np.array([[10.0, 3.0, -2.0, 5.0], [-4.0, 8.0, 6.0, 1.0]], np.float32)  # place -> 2 tokens x 2 features


def draw(position: np.ndarray, size: int = 2 * SIZE) -> np.ndarray:
    """`uint8 [size, size, 3]`: a soft dot at `position` (m from the centre; x along columns)."""
    place = (np.arange(size) + 0.5) / size * VIEW - VIEW / 2
    blob = np.exp(-((place[None, :] - position[0]) ** 2 + (place[:, None] - position[1]) ** 2) / (2 * 0.03**2))
    return np.repeat((255 * blob).round().astype(np.uint8)[..., None], 3, axis=-1)


class DotEnvironment:
    """The dot moves as told, within the view; success is being within 2 cm of `goal`."""

    def __init__(self, start: np.ndarray, goal: np.ndarray, last_step: int = 100) -> None:
        self.start, self.goal, self.last_step, self.closed = start, goal, last_step, False

    def observe(self) -> dict[str, np.ndarray]:
        return {"image": draw(self.state[:2]), "state": self.state.astype(np.float32)}

    def reset(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self.state, self.steps = np.array([*self.start, 0.0]), 0
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        assert action.shape == (3,) and action.dtype == np.float32
        self.state[:2] = (self.state[:2] + action[:2]).clip(-0.15, 0.15)
        self.steps += 1
        success = bool(np.linalg.norm(self.state[:2] - self.goal) < 0.02)
        return self.observe(), 0.0, False, self.steps >= self.last_step, {"success": success}

    def close(self) -> None:
        self.closed = True


def graph(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, np.ndarray]) -> Any:
    """An ONNX model from nodes; inputs and outputs are name -> (element type, shape)."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "toy",
            [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
            [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


def encoder_graph() -> Any:
    """Latents = MIX^T x the centre of brightness."""
    place = ((np.arange(SIZE) + 0.5) / SIZE * VIEW - VIEW / 2).astype(np.float32)
    x, y = np.meshgrid(place, place)
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "channel"], ["grey"], keepdims=0),
        helper.make_node("Reshape", ["grey", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "places"], ["moments"]),
        helper.make_node("ReduceSum", ["row", "one"], ["mass"], keepdims=1),
        helper.make_node("Div", ["moments", "mass"], ["centre"]),
        helper.make_node("MatMul", ["centre", "mix"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "tokens"], ["latents"]),
    ]
    constants = {
        "channel": np.array([3]),
        "flat": np.array([-1, SIZE * SIZE]),
        "one": np.array([1]),
        "places": np.stack([x.ravel(), y.ravel()], axis=1),
        "mix": MIX,
        "tokens": np.array([-1, 2, 2]),
    }
    frames, latents = (TensorProto.UINT8, ["b", SIZE, SIZE, 3]), (TensorProto.FLOAT, ["b", 2, 2])
    return graph(nodes, {"frames": frames}, {"latents": latents}, constants)


def predictor_graph(action_gain: float, state_gain: float) -> Any:
    """Next latents = last latents + MIX^T x (action_gain x last action + state_gain x last state), x and y alone."""
    nodes = []
    for name in ("latents", "actions", "states"):
        nodes.append(helper.make_node("Gather", [name, "last"], [f"{name}_now"], axis=1))
    nodes += [
        helper.make_node("MatMul", ["actions_now", "by_action"], ["acted"]),
        helper.make_node("MatMul", ["states_now", "by_state"], ["stated"]),
        helper.make_node("Add", ["acted", "stated"], ["change"]),
        helper.make_node("Reshape", ["change", "tokens"], ["shaped"]),
        helper.make_node("Add", ["latents_now", "shaped"], ["next_latents"]),
    ]
    wide = np.concatenate([MIX, np.zeros((1, 4), np.float32)])
    constants = {
        "last": np.array(-1),
        "by_action": (action_gain * wide).astype(np.float32),
        "by_state": (state_gain * wide).astype(np.float32),
        "tokens": np.array([-1, 2, 2]),
    }
    inputs = {
        "latents": (TensorProto.FLOAT, ["b", "t", 2, 2]),
        "actions": (TensorProto.FLOAT, ["b", "t", 3]),
        "states": (TensorProto.FLOAT, ["b", "t", 3]),
    }
    return graph(nodes, inputs, {"next_latents": (TensorProto.FLOAT, ["b", 2, 2])}, constants)


def write_toy_bundle(folder: Path, action_gain: float = 1.0, state_gain: float = 0.0, max_stride: int = 1) -> Path:
    """A whole bundle of the toy world."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(encoder_graph(), folder / "encoder.onnx")
    onnx.save(predictor_graph(action_gain, state_gain), folder / "predictor.onnx")
    manifest = {
        "format": "vjepa-bundle",
        "version": 3,
        "preprocessing": {"image_size": SIZE, "resize": "area", "channels": "rgb"},
        "tokens": {"rows": 1, "columns": 2, "width": 2},
        "state": {"names": ["x", "y", "gripper"], "units": ["m", "m", "1"]},
        "action": {
            "names": ["dx", "dy", "dgripper"],
            "units": ["m", "m", "1"],
            "low": [-0.08, -0.08, -1],
            "high": [0.08, 0.08, 1],
            "derived": True,
            "planned": [0, 1],
        },
        "context": {"max": 2, "max_stride": max_stride},
        "time_step_s": 0.125,
        "files": {},
    }
    write_manifest(folder, manifest)
    return folder


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `bundle.json` with the hashes of the graphs as they are now."""
    manifest["files"] = {
        name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
        for name in ("encoder.onnx", "predictor.onnx")
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
