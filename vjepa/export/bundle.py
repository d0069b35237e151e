"""Writing the bundle: both graphs, and everything that a robot's program must know to use them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.config import ExportConfig
from vjepa.data.episode import Episode
from vjepa.data.layout import PROFILE, Layout
from vjepa.errors import UserError
from vjepa.export.graphs import export_graphs
from vjepa.export.parity import measure_parity
from vjepa.files import atomic_directory, sha256_of, write_json
from vjepa.planning.bundle import FORMAT, GRAPHS, VERSION, Bundle
from vjepa.posttraining.world_model import WorldModel

PLANNED = (0, 1, 2)
"""Columns that the planner searches where an action moves a hand's pose: the position. The simulated hand neither turns
nor grasps in the default data. Of other actions it searches all columns that change."""
BOUND_QUANTILES = (0.01, 0.99)


def write_bundle(
    path: Path,
    model: WorldModel,
    held_out: Sequence[Episode],
    layout: Layout,
    config: ExportConfig,
    params: Any,
    metrics: Any,
    profile: Any,
) -> dict[str, float]:
    """Export a world model into the folder `path`, which is replaced only when all of it is there and fits.

    Args:
        path: e.g. `models/onnx`.
        model: in evaluation mode, on the CPU.
        held_out: episodes at the encoder's image size: for parity, the time step and the bounds of actions.
        layout: what the states and actions are.
        config: operator set, number of parity samples, and how large the difference may be.
        params: the settings it was made with, kept in the manifest.
        metrics: what was measured of it, kept in the manifest.
        profile: what its data were like (`vjepa.gates.drift`), which travels with it as `profile.json`.

    Returns:
        `encoder_max_abs_error` and `predictor_max_abs_error`.

    Raises:
        UserError: the difference is too large, or the model can't be exported.
    """
    widths = (model.predictor.states, model.predictor.actions)
    if widths != (len(layout.state_names), len(layout.action_names)):
        known = f"{len(layout.state_names)} and {len(layout.action_names)}"
        raise UserError(
            f"the world model takes states and actions of {widths[0]} and {widths[1]}, the data have {known}"
        )
    with atomic_directory(path) as folder:
        export_graphs(model, folder, config.opset)
        parity = measure_parity(model, folder, held_out, config.parity_samples)
        for name, error in parity.items():
            if not error <= config.max_abs_error:  # NaN is too large as well
                raise UserError(
                    f"ONNX Runtime differs from torch: {name} is {error:.2g}, above export.max_abs_error "
                    f"{config.max_abs_error:.2g}; {path} stays as it was"
                )
        write_json(folder / PROFILE, profile)
        write_json(folder / "bundle.json", manifest(model, folder, held_out, layout, params, metrics, parity))
        Bundle.open(folder, threads=1)  # what the robot's side would refuse is not published
    return parity


def manifest(
    model: WorldModel,
    folder: Path,
    held_out: Sequence[Episode],
    layout: Layout,
    params: Any,
    metrics: Any,
    parity: dict[str, float],
) -> dict[str, Any]:
    """The content of `bundle.json`; bounds are the 1 % and 99 % quantiles of actions in the held-out episodes."""
    actions = np.concatenate([episode.actions for episode in held_out])
    low, high = np.quantile(actions, BOUND_QUANTILES, axis=0).round(5).tolist()
    moves = [place for place, (least, most) in enumerate(zip(low, high, strict=True)) if least < most]
    planned = PLANNED if layout.pose and layout.derived else tuple(moves)
    intervals = np.concatenate([np.diff(episode.times) for episode in held_out])
    files = {
        name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
        for name in (*GRAPHS, PROFILE)
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "preprocessing": {"image_size": model.encoder.image_size, "resize": "area", "channels": "rgb"},
        "tokens": {"rows": model.tokens[0], "columns": model.tokens[1], "width": model.width},
        "state": {"names": layout.state_names, "units": layout.state_units, "pose": layout.pose},
        "action": {
            "names": layout.action_names,
            "units": layout.action_units,
            "derived": layout.derived,
            "scale": model.action_scale.tolist(),
            "low": low,
            "high": high,
            "planned": planned,
        },
        "context": {"max": model.max_context, "max_stride": model.max_stride},
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
