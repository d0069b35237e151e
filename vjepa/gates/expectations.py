"""Great Expectations as this project uses them: each with what to do when it fails, and how they are evaluated."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import: its calls home stall machines without a network

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig

from vjepa.gates.tables import ROW_NAMES

EXAMPLES = 5
"""Failing rows that an outcome names."""
NOTE = "info"
"""Severity of an expectation whose failure is told and stops nothing; all others stop the chain."""
RUN = RunIdentifier(run_name="gates", run_time=datetime(2000, 1, 1, tzinfo=UTC))
"""Name and time of every run in the pages: equal data give equal pages."""


@dataclass
class Outcome:
    """How one expectation fared.

    Attributes:
        suite: the table.
        expectation: Great Expectations' name of it.
        column: the column it is about.
        limits: what was asked, e.g. `min_value 0, max_value 1`.
        passed: whether it held in every row, or in as many as it asks for.
        rows: rows looked at.
        failing: rows in which it did not hold.
        examples: names and values of some of those.
        remedy: what to do where it failed.
        is_note: whether a failure stops nothing.
    """

    suite: str
    expectation: str
    column: str
    limits: str
    passed: bool
    rows: int
    failing: int
    examples: list[str]
    remedy: str
    is_note: bool

    def sentence(self) -> str:
        """Name, column, limits, rows and what to do in one line."""
        limits = f", {self.limits}" if self.limits else ""
        rows = f": {', '.join(self.examples)}" if self.examples else ""
        more = ", ..." if self.failing > len(self.examples) > 0 else ""
        what = f"{self.expectation}(column {self.column}{limits}) of {self.suite}"
        return f"{what} in {self.failing} of {self.rows} rows{rows}{more}. What to do: {self.remedy}"


def present(columns: Sequence[str], remedy: str) -> list[gxe.Expectation]:
    """No value is missing or NaN."""
    return [gxe.ExpectColumnValuesToNotBeNull(column=column, notes=remedy) for column in columns]


def is_unique(column: str, remedy: str) -> gxe.Expectation:
    """No value occurs twice."""
    return gxe.ExpectColumnValuesToBeUnique(column=column, notes=remedy)


def is_between(column: str, low: float | None, high: float | None, remedy: str, **more: Any) -> gxe.Expectation:
    """Every value is within limits, both included; `more` as Great Expectations names it."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, notes=remedy, **more)


def is_one_of(
    column: str, values: Sequence[Any], remedy: str, failing_share: float = 0.0, **more: Any
) -> gxe.Expectation:
    """Every value is one of some, or all but a share of them are; `more` as Great Expectations names it."""
    mostly = round(1 - failing_share, 9)  # 1 - 0.2 is a little less than 0.8 is
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), mostly=mostly, notes=remedy, **more)


def evaluate(
    tables: Mapping[str, pd.DataFrame], suites: Mapping[str, list[gxe.Expectation]], docs: Path | None = None
) -> list[Outcome]:
    """Hold every table against its suite, and write Great Expectations' Data Docs into `docs`, if that is given."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("data")
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
            run_id=RUN,
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
    config = result.expectation_config
    asked = dict(config.kwargs)
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
    is_note = config.severity == NOTE
    return Outcome(suite, config.type, column, limits, result.success, rows, failing, examples, config.notes, is_note)


def shown(value: Any) -> str:
    """A value in a message: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
