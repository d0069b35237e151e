"""The gate itself: shards pass it or a `GateError` says which expectation failed, in which column and rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vjepa.config import CurateConfig, ValidateConfig
from vjepa.data.layout import Layout, read_layout
from vjepa.data.shards import read_manifest
from vjepa.errors import GateError
from vjepa.gates.clips import clip_tables, open_all
from vjepa.gates.drift import Profile, build_profile, drift_tables, read_profile
from vjepa.gates.expectations import Outcome, evaluate
from vjepa.gates.pages import finish_pages
from vjepa.gates.suites import LEFT_OUT, build_suites
from vjepa.gates.tables import draw, manifest_tables

NAMED = 4
"""Failed expectations that the error names; the pages list all."""


@dataclass
class Verdict:
    """What the gate found: rows of each table, how every expectation fared, and what the data are like."""

    rows: dict[str, int]
    outcomes: list[Outcome]
    profile: Profile

    @property
    def failed(self) -> list[Outcome]:
        """The expectations that did not hold and stop the chain."""
        return [outcome for outcome in self.outcomes if not outcome.passed and not outcome.is_note]

    @property
    def notes(self) -> list[Outcome]:
        """The expectations that did not hold and stop nothing."""
        return [outcome for outcome in self.outcomes if not outcome.passed and outcome.is_note]

    @property
    def required(self) -> int:
        """How many expectations there are whose failure stops the chain."""
        return sum(not outcome.is_note for outcome in self.outcomes)

    def counts(self) -> dict[str, Any]:
        """Numbers of expectations evaluated and passed, of notes, and rows looked at in each table."""
        return {
            "expectations_evaluated": self.required,
            "expectations_passed": self.required - len(self.failed),
            "notes": len(self.notes),
            "rows": self.rows,
        }

    def require(self, pages: Path) -> None:
        """Let good data pass.

        Raises:
            GateError: an expectation failed; the message names `pages` and, in an indented line each, some that failed.
        """
        if self.failed:
            lines = [outcome.sentence() for outcome in self.failed[:NAMED]]
            lines += [f"and {len(self.failed) - NAMED} more"] if len(self.failed) > NAMED else []
            count = f"{len(self.failed)} of {self.required} expectations failed"
            raise GateError("\n  ".join([f"{count}; {pages} shows all of them:", *lines]))


def build_tables(
    shards: Path, manifest: pd.DataFrame, layout: Layout, config: ValidateConfig, fps: float, seed: int
) -> dict[str, pd.DataFrame]:
    """All tables of a shards folder but those of drift; the episodes that are opened are drawn by `seed`.

    Raises:
        DataError: a list that curation wrote is missing or can't be read.
    """
    tables = manifest_tables(shards, manifest, list(LEFT_OUT))
    drawn = draw(shards, manifest, tables["shards"], config.sampled_episodes, seed)
    opened = [one for _, rows in drawn.groupby("shard") for one in open_all(shards, rows, layout)]
    if not opened:
        return tables
    return {**tables, **clip_tables(opened, layout, fps, config.min_picture_change, config.min_contrast)}


def check(shards: Path, config: ValidateConfig, curate: CurateConfig, seed: int, docs: Path) -> Verdict:
    """Hold a shards folder against all expectations and write the pages that show them into the folder `docs`.

    Args:
        shards: written by curation.
        config: the limits.
        curate: what the shards should be.
        seed: draws the episodes that are opened.
        docs: an empty folder; `index.html` in it opens without a server or a network.

    Raises:
        DataError: there is no manifest or layout to begin with, or no profile at `config.reference`.
    """
    manifest, layout = read_manifest(shards), read_layout(shards)
    tables = build_tables(shards, manifest, layout, config, curate.fps, seed)
    profile = build_profile(tables, manifest, layout, curate.fps, curate.image_size)
    if config.reference is not None:
        tables |= drift_tables(profile, read_profile(Path(config.reference)), manifest)
    outcomes = evaluate(tables, build_suites(config, curate, layout), docs)
    finish_pages(docs, outcomes)
    return Verdict({name: len(table) for name, table in tables.items()}, outcomes, profile)
