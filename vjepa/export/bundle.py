"""Writing the bundle: both graphs, and everything that a robot's program must know to use them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.config import ExportConfig
from vjepa.data.episode import STATE_NAMES, Episode
from vjepa.data.poses import actions_between
from vjepa.errors import UserError
from vjepa.export.graphs import export_graphs
from vjepa.export.parity import measure_parity
from vjepa.files import atomic_directory, sha256_of, write_json
from vjepa.planning.bundle import FORMAT, GRAPHS, VERSION, Bundle
from vjepa.posttraining.world_model import WorldModel

STATE_UNITS = ("m", "m", "m", "rad", "rad", "rad", "1")
PLANNED = (0, 1, 2)
"""Columns that the planner searches: the position. The simulated hand neither turns nor grasps in the default data."""
BOUND_QUANTILES = (0.01, 0.99)


def write_bundle(
    path: Path, model: WorldModel, held_out: Sequence[Episode], config: ExportConfig, params: Any, metrics: Any
) -> dict[str, float]:
    """Export a world model into the folder `path`, which is replaced only when all of it is there and fits.

    Args:
        path: e.g. `models/onnx`.
        model: in evaluation mode, on the CPU.
        held_out: episodes at the encoder's image size: for parity, the time step and the bounds of actions.
        config: operator set, number of parity samples, and how large the difference may be.
        params: the settings it was made with, kept in the manifest.
        metrics: what was measured of it, kept in the manifest.

    Returns:
        `encoder_max_abs_error` and `predictor_max_abs_error`.

    Raises:
        UserError: the difference is too large, or the model can't be exported.
    """
    columns = model.predictor.states
    if not columns == model.predictor.actions == len(STATE_NAMES):
        raise UserError(f"only states of {', '.join(STATE_NAMES)} can be exported, not of {columns} columns")
    with atomic_directory(path) as folder:
        export_graphs(model, folder, config.opset)
        parity = measure_parity(model, folder, held_out, config.parity_samples)
        for name, error in parity.items():
            if not error <= config.max_abs_error:  # NaN is too large as well
                raise UserError(
                    f"ONNX Runtime differs from torch: {name} is {error:.2g}, above export.max_abs_error "
                    f"{config.max_abs_error:.2g}; {path} stays as it was"
                )
        write_json(folder / "bundle.json", manifest(model, folder, held_out, params, metrics, parity))
        Bundle.open(folder, threads=1)  # what the robot's side would refuse is not published
    return parity


def manifest(
    model: WorldModel, folder: Path, held_out: Sequence[Episode], params: Any, metrics: Any, parity: dict[str, float]
) -> dict[str, Any]:
    """The content of `bundle.json`; bounds are the 1 % and 99 % quantiles of actions in the held-out episodes."""
    actions = np.concatenate([actions_between(episode.states) for episode in held_out])
    low, high = np.quantile(actions, BOUND_QUANTILES, axis=0).round(5).tolist()
    intervals = np.concatenate([np.diff(episode.times) for episode in held_out])
    files = {name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size} for name in GRAPHS}
    return {
        "format": FORMAT,
        "version": VERSION,
        "preprocessing": {"image_size": model.encoder.image_size, "resize": "area", "channels": "rgb"},
        "tokens": {"rows": model.tokens[0], "columns": model.tokens[1], "width": model.width},
        "state": {"names": STATE_NAMES, "units": STATE_UNITS},
        "action": {
            "names": [f"d{name}" for name in STATE_NAMES],
            "units": STATE_UNITS,
            "low": low,
            "high": high,
            "planned": PLANNED,
        },
        "context": {"max": model.max_context},
        "time_step_s": round(float(np.median(intervals)), 6),
        "files": files,
        "provenance": {"git_revision": git_revision(), "params": params},
        "metrics": metrics,
        "parity": parity,
    }


def git_revision() -> str:
    """The commit of the working folder, with `-dirty` if its Python files differ; `unknown` where there is no git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
