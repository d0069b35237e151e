"""What the data are like, as a small file that travels with the model; and how far new data are from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from vjepa.data.layout import Layout
from vjepa.errors import DataError
from vjepa.gates.tables import NO_PROBLEM

LEVELS = (np.arange(20) + 0.5) / 20
"""Quantiles by which a profile holds a distribution."""
BOTH = "both"
LEAST_SPREAD = {"picture": 10.0}
"""Of 255: pictures of one lamp hardly differ, and what is a small difference in light stays one."""
ROUNDING = 1e-3
"""The least spread of all else: a column that never moved does not drift by its last digits."""


@dataclass
class Profile:
    """Distributions of the data that a model learns from.

    Attributes:
        episodes, frames: in all.
        quantities: 20 quantiles of each: `state x`, `action dx`, `picture brightness`, ...
        tasks: share of the episodes by sentence.
    """

    episodes: int
    frames: int
    quantities: dict[str, list[float]]
    tasks: dict[str, float]


def build_profile(
    tables: Mapping[str, pd.DataFrame], manifest: pd.DataFrame, layout: Layout, fps: float, image_size: int
) -> Profile:
    """The profile of shards: tasks of all episodes, distributions of the sampled ones (see `vjepa.gates.clips`)."""

    def columns() -> Iterator[tuple[str, pd.Series | list[float]]]:
        yield "frames a second", [fps]
        yield "picture size", [float(image_size)]
        for table, kind, names in (
            ("pictures", "picture", ("brightness", "contrast")),
            ("states", "state", layout.state_names),
            ("actions", "action", layout.action_names),
        ):
            for name in names if table in tables else ():
                yield f"{kind} {name}", tables[table][name].dropna()

    quantities = {
        name: [float(f"{q:.5g}") for q in np.quantile(values, LEVELS)]
        for name, values in columns()
        if len(values)  # a column without a single number fails its own gate
    }
    tasks = (manifest["task"].value_counts().sort_index() / len(manifest)).round(5)
    return Profile(
        len(manifest), int(manifest["frames"].sum()), quantities, {str(t): float(s) for t, s in tasks.items()}
    )


def read_profile(path: Path) -> Profile:
    """A profile that was written as JSON.

    Raises:
        DataError: it is missing, or is none.
    """
    try:
        profile = Profile(**json.loads(path.read_text()))
        numbers = np.array([*profile.quantities.values()], np.float64)
        if numbers.shape != (len(profile.quantities), len(LEVELS)) or not np.isfinite(numbers).all():
            raise ValueError(f"each quantity needs {len(LEVELS)} numbers")
        return Profile(int(profile.episodes), int(profile.frames), profile.quantities, dict(profile.tasks))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: validate.reference names the data/profile.json of what a model learned from; null "
            "compares with nothing"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no data profile: {error}; take the data/profile.json of a run of validate"
        ) from error


def drift_tables(new: Profile, old: Profile, manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables `drift`, one row a quantity, and `tasks`, one row an episode."""
    rows = [drift_row(name, new, old) for name in {**old.quantities, **new.quantities}]
    unknown = manifest["task"].where(~manifest["task"].isin(list(old.tasks)), NO_PROBLEM)
    return {"drift": pd.DataFrame(rows), "tasks": pd.DataFrame({"key": manifest["key"], "unknown_task": unknown})}


def drift_row(name: str, new: Profile, old: Profile) -> dict[str, object]:
    """How far a quantity's distribution went: the Wasserstein distance in units of the older one's deviation."""
    found = [profile.quantities.get(name) for profile in (new, old)]
    now, before = ("absent" if values is None else f"{np.median(values):.4g}" for values in found)
    row: dict[str, object] = {"quantity": name, "medians": f"median {now}, was {before}", "distance": np.nan}
    if found[0] is None or found[1] is None:
        return row | {"found_in": "the reference alone" if found[0] is None else "the new data alone"}
    spread = max(float(np.std(found[1])), LEAST_SPREAD.get(name.split()[0], ROUNDING))
    return row | {"found_in": BOTH, "distance": wasserstein_distance(*found) / spread}
