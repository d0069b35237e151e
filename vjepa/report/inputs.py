"""What the report is made from: metrics, plots, held-out episodes and the shards' manifest, read and checked.

Metrics files are required, since the page is about them. Plots and pictures may be missing or too few in a small run:
they are then empty here, and the page says so in their place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vjepa.data.episode import Episode
from vjepa.data.shards import load_episodes, read_manifest
from vjepa.errors import DataError, UserError
from vjepa.report.trials import Record, read_records

METRICS = ("curate", "validate", "pretrain", "posttrain", "probe", "align", "export", "plan")
"""The stages whose metrics file must be there."""
STAGES = ("collect", *METRICS)
"""The stages whose time is shown, in the chain's order; not the report's own, which changes with each run of it."""


@dataclass
class PlannedEpisodes:
    """Recordings of closed-loop episodes.

    Attributes:
        frames: `uint8 [E, T, H, W, 3]`; shorter episodes repeat their last frame.
        goals: `uint8 [E, H, W, 3]`.
        distances_m: `float32 [E, T]`, hand to goal, m.
        names: `<U [E]`, the benchmark's name in the metrics.
        success: `bool [E]`.
    """

    frames: np.ndarray
    goals: np.ndarray
    distances_m: np.ndarray
    names: np.ndarray
    success: np.ndarray


@dataclass
class EnergyLandscape:
    """Energy of actions around a held-out step.

    Attributes:
        offsets_m: `float32 [G]`, displacements tried along x and along y, m.
        energy: `float32 [G, G]`; `energy[i, j]` is that of the displacement `(offsets_m[i], offsets_m[j])` in (x, y).
        true_action: `float32 [7]`, the action that was taken.
        start, goal: `uint8 [H, W, 3]`, the frames before and after it.
        key: the episode.
    """

    offsets_m: np.ndarray
    energy: np.ndarray
    true_action: np.ndarray
    start: np.ndarray
    goal: np.ndarray
    key: str


@dataclass
class Inputs:
    """Everything the page shows; `curves` holds the stages' training logs by column, `episodes` the held-out split.

    `docs` is the folder of the gates' pages, which are published with the page; `trials` are those of `make ablation`.
    """

    metrics: dict[str, dict[str, Any]]
    timings: dict[str, dict[str, float]]
    curves: dict[str, pd.DataFrame]
    answers: list[dict[str, Any]]
    planned: PlannedEpisodes | None
    energy: EnergyLandscape | None
    manifest: pd.DataFrame
    quarantine: list[dict[str, Any]]
    episodes: list[Episode]
    docs: Path
    trials: list[Record]


def read_inputs(metrics: Path, plots: Path, shards: Path, docs: Path, trials: Path) -> Inputs:
    """Read `metrics/`, `plots/`, `data/shards/` and the file of trials; of `data/docs/` only see that it is there.

    Raises:
        UserError: a metrics file, the manifest or the gates' pages are missing, or a file can't be read; the message
            names it.
    """
    for stage in METRICS:
        if not (metrics / f"{stage}.json").is_file():
            raise UserError(f"{metrics / stage}.json is missing: run the stage {stage} first (dvc repro {stage})")
    if not (docs / "index.html").is_file():
        raise UserError(f"{docs / 'index.html'} is missing: run the stage validate first (dvc repro validate)")
    timings = metrics / "timings.json"
    planned = arrays(plots / "plan" / "episodes.npz", tuple(PlannedEpisodes.__annotations__))
    energy = arrays(plots / "plan" / "energy.npz", tuple(EnergyLandscape.__annotations__))
    quarantine = shards / "quarantine.json"
    answers = plots / "answers.json"
    return Inputs(
        metrics={stage: read_json(metrics / f"{stage}.json") for stage in METRICS},
        timings=read_json(timings) if timings.is_file() else {},
        curves={stage: read_curve(plots / f"{stage}.csv") for stage in ("pretrain", "posttrain")},
        answers=read_json(answers) if answers.is_file() else [],
        planned=PlannedEpisodes(**planned) if planned and len(planned["frames"]) else None,
        energy=EnergyLandscape(**{**energy, "key": str(energy["key"])}) if energy else None,
        manifest=read_manifest(shards),
        quarantine=read_json(quarantine) if quarantine.is_file() else [],
        episodes=sorted(load_episodes(shards, "test"), key=lambda episode: episode.key),
        docs=docs,
        trials=read_records(trials),
    )


def read_json(path: Path) -> Any:
    """A JSON file's content; `UserError` naming the file if it isn't JSON."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}; run the stage that writes it again") from error


def read_curve(path: Path) -> pd.DataFrame:
    """A training log with the column `step`; empty if the file is missing."""
    if not path.is_file():
        return pd.DataFrame({"step": []})
    try:
        curve = pd.read_csv(path)
    except ValueError as error:
        raise UserError(f"{path} can't be read: {error}; run the stage that writes it again") from error
    if "step" not in curve:
        raise UserError(f"{path} has no column 'step': run the stage {path.stem} again (dvc repro {path.stem})")
    return curve


def arrays(path: Path, names: tuple[str, ...]) -> Mapping[str, Any]:
    """The arrays `names` of an npz file; empty if the file is missing.

    Raises:
        DataError: the file is damaged, or one of the arrays is not in it.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} can't be used: {error}; run the stage plan again (dvc repro plan)") from error
