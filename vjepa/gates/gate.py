"""The gate itself: shards pass it or a `GateError` says which expectation failed, in which column and rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa.config import ValidateConfig
from vjepa.errors import GateError
from vjepa.gates.expectations import Outcome, build_suites, evaluate
from vjepa.gates.pages import finish_pages
from vjepa.gates.tables import build_tables

NAMED = 4
"""Failed expectations that the error names; the pages list all."""


@dataclass
class Verdict:
    """What the gate found: rows of each table, and how every expectation fared."""

    rows: dict[str, int]
    outcomes: list[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The expectations that did not hold."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    def counts(self) -> dict[str, Any]:
        """Numbers of expectations evaluated and passed, and rows looked at in each table."""
        passed = len(self.outcomes) - len(self.failed)
        return {"expectations_evaluated": len(self.outcomes), "expectations_passed": passed, "rows": self.rows}

    def require(self, pages: Path) -> None:
        """Let good data pass.

        Raises:
            GateError: an expectation failed; the message names some of those, and `pages` as the place of the rest.
        """
        if self.failed:
            named = "; ".join(outcome.sentence() for outcome in self.failed[:NAMED])
            more = f"; and {len(self.failed) - NAMED} more" if len(self.failed) > NAMED else ""
            count = f"{len(self.failed)} of {len(self.outcomes)} expectations failed"
            raise GateError(f"{count}: {named}{more}. All of them: {pages}")


def check(shards: Path, config: ValidateConfig, fps: float, seed: int, docs: Path) -> Verdict:
    """Hold a shards folder against all expectations and write the pages that show them into the folder `docs`.

    Args:
        shards: written by curation.
        config: the limits.
        fps: frames a second that the shards should have.
        seed: draws the episodes that are opened.
        docs: an empty folder; `index.html` in it opens without a server or a network.

    Raises:
        DataError: there is no manifest to begin with.
    """
    tables = build_tables(shards, config.sampled_episodes, seed)
    verdict = Verdict(
        {name: len(table) for name, table in tables.items()}, evaluate(tables, build_suites(config, fps), docs)
    )
    finish_pages(docs, verdict.outcomes)
    return verdict
