"""Puts the page together: `report/index.html`, self-contained, and `report/figure.png`, one picture for the README.

The pages of the data gates go with it, in `report/docs`.

Equal inputs give equal bytes: no time stamps, no random ids, nothing of the machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.config import AlignConfig, CurateConfig, EncoderConfig, PlanConfig, PosttrainConfig, PretrainConfig
from vjepa.files import atomic_directory
from vjepa.report import data_section, examples, sections
from vjepa.report.examples import MaskPicture
from vjepa.report.experiments import newest_trials
from vjepa.report.figure import save_figure
from vjepa.report.html import render
from vjepa.report.inputs import Inputs
from vjepa.report.quantities import quantities
from vjepa.report.verdicts import PHRASES, compare, limits


@dataclass
class Settings:
    """The settings that the page quotes."""

    seed: int
    curate: CurateConfig
    encoder: EncoderConfig
    pretrain: PretrainConfig
    posttrain: PosttrainConfig
    align: AlignConfig
    plan: PlanConfig


def write_report(
    path: Path, inputs: Inputs, settings: Settings, clip: np.ndarray | None, masks: Sequence[MaskPicture]
) -> None:
    """Write the folder `path` with `index.html`, `figure.png` and, in `docs`, the pages of the data gates.

    Args:
        path: replaced as a whole once all files are complete.
        inputs: metrics, plots and episodes.
        settings: of the run.
        clip: a held-out clip `uint8 [T, H, W, 3]` on which the masks are shown; None if no episode is long enough.
        masks: what each mask generator leaves of it.
    """
    values = page_values(inputs, settings, clip, masks)
    page = render("page.html.j2", **values)
    with atomic_directory(path) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8")
        save_figure(folder / "figure.png", inputs.planned, values["tiles"])
        shutil.copytree(inputs.docs, folder / "docs")


def page_values(
    inputs: Inputs, settings: Settings, clip: np.ndarray | None, masks: Sequence[MaskPicture]
) -> dict[str, Any]:
    """Everything the template shows, by section."""
    found = {stage: list(quantities(stage, values)) for stage, values in inputs.metrics.items()}
    # planning first, as the chain's goal; data and export last
    order = ("plan", "posttrain", "probe", "align", "pretrain", "export", "validate", "curate")
    comparisons = [comparison for stage in order for comparison in compare(found[stage])]
    encoder = settings.encoder
    # half speed: at 8 frames a second a planned episode would be over in a second and a half
    frame_ms = round(2000 / settings.curate.fps)
    return {
        "facts": run_facts(inputs, settings),
        "tiles": sections.headline_tiles(comparisons),
        "statements": sections.statements(comparisons),
        "phrases": PHRASES,
        "limits": limits(comparisons, settings.seed),
        "panels": {stage: sections.panels(comparisons, stage) for stage in order},
        "curves": sections.curves(inputs, settings.pretrain.collapse),
        "mask_rows": [] if clip is None else examples.mask_rows(clip, masks, encoder.tubelet, encoder.patch),
        "cards": examples.planned_cards(inputs.planned, frame_ms),
        "energy": examples.energy_section(inputs.energy),
        "experiments": newest_trials(inputs.trials),
        "answers": examples.answer_cards(inputs.answers, inputs.episodes, settings.align.frames, settings.align.stride),
        "strips": data_section.film_strips(inputs.episodes),
        "data": data_section.data_summary(inputs.manifest, inputs.quarantine),
        "timings": sections.timing_rows(inputs.timings),
        "appendix": sections.every_number([quantity for stage in found for quantity in found[stage]]),
        "encoder": encoder,
    }


def run_facts(inputs: Inputs, settings: Settings) -> list[tuple[str, str]]:
    """What ran, in a few words and numbers each."""
    manifest, encoder, planner = inputs.manifest, settings.encoder, settings.plan.planner
    hours = float(manifest["duration_s"].sum()) / 3600
    length = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
    tasks = manifest["task"].nunique()
    pretrain, posttrain = settings.pretrain, settings.posttrain
    straight = f", straight moves of {planner.straight}" if planner.straight > 1 else ""
    return [
        ("Episodes", f"{len(manifest):,} of {tasks} {'task' if tasks == 1 else 'tasks'}, {length}"),
        ("Encoder", f"{encoder.image_size} px, patch {encoder.patch}, width {encoder.width}, depth {encoder.depth}"),
        ("Pretraining", f"{pretrain.steps:,} steps of {pretrain.batch_size} clips"),
        ("World model", f"{posttrain.steps:,} steps of {posttrain.batch_size} windows"),
        ("Planner", f"{planner.iterations} rounds of {planner.samples} plans, horizon {planner.horizon}{straight}"),
        ("Seed", f"{settings.seed}, one training run"),
    ]
