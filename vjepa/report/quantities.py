"""What the metrics files hold, as a list of named quantities, and how each is called and written on the page.

Names carry the meaning: the unit and the direction that is better come from a name's words, a
baseline is `<name>_<suffix>` beside `<name>`. So a new metric or a new arm appears on the page without a change here;
the tables below only give known names better words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["%", "m", "cm", "°", "s", "GB", ""]

BASELINES = {
    "untrained": "an encoder with random weights",
    "majority": "always guessing the most frequent class",
    "mean_guess": "always guessing the mean position",
    "copy_last": "copying the last frame",
    "shuffled_actions": "the same model, actions shuffled",
    "blind": "a language model without video",
    "random": "random actions",
    "still": "staying still",
}

# Stands beside a quantity like a baseline, but is no rival: what it reaches is what the goal image shows.
REFERENCES = {"expert": "the expert that made the goal image"}

LABELS = {
    "task_accuracy": "Which task a clip shows",
    "motion_accuracy": "Which way the hand moves",
    "hand_error_cm": "Where the hand is, error",
    "latent_l1": "Predicted latents, L1 to the true ones",
    "latent_error_share": "Error of predicted latents as a share of copying the last frame's",
    "state_readout": "Linear read-out of the state (R²)",
    "distance_agreement": "Agreement of distances between latents and between states",
    "answer_accuracy": "Answers about a clip",
    "true_action_rank": "Rank of the true action's energy (0 best, 1 worst)",
    "direction_error_deg": "Angle between planned and true direction",
    "action_error_cm": "Distance between planned and true displacement",
    "success": "Success at the last step",
    "success_ever": "Success at any step",
    "final_distance_cm": "Distance to the goal at the end",
    "seconds_per_action": "Time to plan one action",
}

# Expected from chance alone, by definition of the quantity rather than by measurement.
CHANCE = {"true_action_rank": 0.5}


@dataclass(frozen=True)
class Quantity:
    """One number of a metrics file; `low` and `high` (95 % interval) and `n` are None where it has no interval.

    `name` is its path in the file joined by dots, e.g. `reach.success_random`.
    """

    file: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def group(self) -> str:
        """The path without the last part: `reach` of `reach.success`, empty at the top."""
        return self.name.rpartition(".")[0]

    @property
    def heading(self) -> str:
        """The innermost group for readers: `Left right` of `kinds.left_right.answer_accuracy`."""
        return spaced(self.group.rpartition(".")[2])

    @property
    def last(self) -> str:
        """The last part of the path."""
        return self.name.rpartition(".")[2]

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval; a number without one is its own interval."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


def quantities(file: str, values: Mapping[str, Any], prefix: str = "") -> Iterator[Quantity]:
    """Every number of a metrics file, depth first in the file's order; texts and lists are no quantities."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
            yield Quantity(file, name, float(value["value"]), value.get("low"), value.get("high"), value.get("n"))
        elif isinstance(value, Mapping):
            yield from quantities(file, value, f"{name}.")
        elif isinstance(value, int | float):
            yield Quantity(file, name, float(value))


def baseline_suffix(name: str, names: set[str]) -> str | None:
    """The suffix that makes `name` a baseline or reference of another of `names`, or None."""
    for suffix in (*BASELINES, *REFERENCES):
        if name.endswith(f"_{suffix}") and name.removesuffix(f"_{suffix}") in names:
            return suffix
    return None


def better(name: str) -> Literal["higher", "lower"] | None:
    """Which direction of a quantity is better; None if its name does not say."""
    last = name.rpartition(".")[2]
    words = last.split("_")
    if {"accuracy", "success", "agreement", "readout"} & set(words):
        return "higher"
    by_end = words[-1] in ("l1", "m", "cm") or words[-2:] == ["action", "rank"]  # an effective rank is another matter
    if "error" in words or by_end or words[0] == "seconds":
        return "lower"
    return None


def unit(name: str) -> Unit:
    """The unit in which a quantity is shown; shares of one become percent."""
    words = name.rpartition(".")[2].split("_")
    if {"accuracy", "success", "share"} & set(words):
        return "%"
    ends: dict[str, Unit] = {"m": "m", "cm": "cm", "deg": "°", "gb": "GB", "seconds": "s"}
    return ends.get(words[-1]) or ends.get(words[0]) or ""


def label(name: str) -> str:
    """Words for the last part of a name."""
    last = name.rpartition(".")[2]
    return LABELS.get(last, spaced(last))


def spaced(name: str) -> str:
    """A name for readers: `reach_other_light` -> `Reach other light`."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def number(value: float, unit: Unit = "") -> str:
    """A number to about three figures, without its unit; `0.8765` in percent is `88`."""
    if unit == "%":
        return f"{100 * value:z.0f}"  # never -0
    size = abs(value)
    if value == 0:
        return "0"
    if size < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}" if size >= 1 else f"{value:.3f}"


def plain(quantity: Quantity) -> str:
    """A quantity as the appendix shows it: counts in full, measured ones with their unit."""
    if quantity.n is None and quantity.value == int(quantity.value):
        return f"{int(quantity.value):,}"
    return with_unit(quantity.value, unit(quantity.name))


def with_unit(value: float, unit: Unit) -> str:
    """A number with its unit: `88 %`, `26.1°`, `3.10 cm`."""
    text = number(value, unit)
    return text + unit if unit in ("°", "") else f"{text}\N{NO-BREAK SPACE}{unit}"


def interval(quantity: Quantity, unit: Unit) -> str:
    """The interval as `[76, 95]`; empty if there is none."""
    if quantity.low is None or quantity.high is None:
        return ""
    return f"[{number(quantity.low, unit)}, {number(quantity.high, unit)}]"
