"""What the data must be, as Great Expectations suites, one a table; and how they are evaluated."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: its calls home stall machines without a network

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.data_context.types.base import ProgressBarsConfig

from vjepa.config import ValidateConfig
from vjepa.data.episode import STATE_NAMES
from vjepa.data.shards import SPLITS
from vjepa.gates.tables import NO_PROBLEM, ROW_NAMES

EXAMPLES = 5
"""Failing rows that an outcome names."""


@dataclass
class Outcome:
    """How one expectation fared.

    Attributes:
        suite: the table.
        expectation: Great Expectations' name of it.
        column: the column it is about.
        limits: what was asked, e.g. `min_value 0, max_value 1`.
        passed: whether it held in every row.
        rows: rows looked at.
        failing: rows in which it did not hold.
        examples: names and values of some of those.
    """

    suite: str
    expectation: str
    column: str
    limits: str
    passed: bool
    rows: int
    failing: int
    examples: list[str]

    def sentence(self) -> str:
        """Name, column, limits and rows in one line."""
        limits = f", {self.limits}" if self.limits else ""
        rows = f": {', '.join(self.examples)}" if self.examples else ""
        more = ", ..." if self.failing > len(self.examples) > 0 else ""
        what = f"{self.expectation}(column {self.column}{limits}) of {self.suite}"
        return f"{what} in {self.failing} of {self.rows} rows{rows}{more}"


def build_suites(config: ValidateConfig, fps: float) -> dict[str, list[gxe.Expectation]]:
    """The expectations on each table (see `vjepa.gates.tables`)."""
    exact = 1e-5  # float32 arithmetic repeated on another machine
    low, high = config.position_low, config.position_high
    return {
        "shards": [is_one_of("problem", [NO_PROBLEM])],
        "episodes": [
            *present("key", "split", "group", "task", "motion_m"),
            gxe.ExpectColumnValuesToBeUnique(column="key"),
            is_one_of("split", list(SPLITS)),
            *(is_one_of(f"splits_of_{what}", [1]) for what in ("key", "group", "content_sha256")),
            is_between("frames", 2, None),
            is_between("fps", fps - exact, fps + exact),
            is_between("duration_error_s", 0, config.time_tolerance),
            gxe.ExpectColumnValuesToBeBetween(column="motion_m", min_value=0, strict_min=True),
        ],
        "counts": [
            is_between("episodes_train", config.min_episodes_train, None),
            is_between("episodes_test", config.min_episodes_test, None),
            is_between("quarantined_share", 0, config.max_quarantined_share),
        ],
        "samples": [is_one_of("problem", [NO_PROBLEM]), is_one_of("length_difference", [0])],
        "states": [
            *present(*STATE_NAMES),
            *(is_between(name, low[axis], high[axis]) for axis, name in enumerate(STATE_NAMES[:3])),
            *(is_between(name, -6.2832, 6.2832) for name in STATE_NAMES[3:6]),  # rad, not degrees
            is_between("gripper", -exact, 1 + exact),
            is_between("contrast", 1, None),  # of 255: a picture, not one colour
        ],
        "actions": [
            *present("time_step_s", "largest_move_m", "difference_from_states"),
            is_between("time_step_s", 1 / fps - config.time_tolerance, 1 / fps + config.time_tolerance),
            is_between("largest_move_m", 0, config.max_move),
            is_between("difference_from_states", 0, exact),
        ],
    }


def present(*columns: str) -> list[gxe.Expectation]:
    """No value is missing or NaN."""
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def is_between(column: str, low: float, high: float | None) -> gxe.Expectation:
    """Every value is within limits, both included."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)


def is_one_of(column: str, values: Sequence[Any]) -> gxe.Expectation:
    """Every value is one of some."""
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values))


def evaluate(
    tables: Mapping[str, pd.DataFrame], suites: Mapping[str, list[gxe.Expectation]], docs: Path | None = None
) -> list[Outcome]:
    """Hold every table against its suite, and write Great Expectations' Data Docs into `docs`, if that is given."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("shards")
    outcomes = []
    for name, table in tables.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=suites[name]))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        result = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": table},
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": ROW_NAMES[name],
                "partial_unexpected_count": EXAMPLES,
            },
        )
        outcomes += [outcome_of(name, len(table), one) for one in result.results]
    if docs is not None:
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site: Any = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}
        context.add_data_docs_site(site_name="docs", site_config=site)
        context.build_data_docs()
    return outcomes


def outcome_of(suite: str, rows: int, result: Any) -> Outcome:
    """An outcome from Great Expectations' own result."""
    asked = dict(result.expectation_config.kwargs)
    asked.pop("batch_id", None)
    column = asked.pop("column")
    limits = ", ".join(f"{name} {shown(value)}" for name, value in asked.items())
    found = result.result
    examples = []
    for row in found.get("partial_unexpected_index_list") or []:
        names = [f"frame {row[name]}" if name == "frame" else str(row[name]) for name in ROW_NAMES[suite]]
        examples.append(" ".join(names) + ("" if column in ROW_NAMES[suite] else f" ({shown(row[column])})"))
    # An expectation that could not be evaluated (a column is missing) has no counts: it failed in every row.
    failing = 0 if result.success else found.get("unexpected_count", rows)
    return Outcome(suite, result.expectation_config.type, column, limits, result.success, rows, failing, examples)


def shown(value: Any) -> str:
    """A value in a message: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
