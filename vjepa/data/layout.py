"""What the numbers of a data set's states and actions are; shards carry it, and widths follow from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from vjepa.data.episode import STATE_NAMES
from vjepa.data.poses import actions_between
from vjepa.errors import DataError
from vjepa.files import write_json

LAYOUT = "layout.json"
PROFILE = "profile.json"
"""What the data are like (`vjepa.gates.drift`): beside them, and in the bundle of the model that learned from them."""


@dataclass(frozen=True)
class Layout:
    """Names and units, in order.

    Attributes:
        state_names, state_units: S of them; none where there is video alone.
        action_names, action_units: A of them.
        pose: whether a state is the hand's pose and the gripper, as in `STATE_NAMES`.
        derived: whether an action is what leads from one state to the next, rather than a recorded command.
    """

    state_names: tuple[str, ...]
    state_units: tuple[str, ...]
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    pose: bool
    derived: bool

    def require_states(self, shards: Path) -> None:
        """Refuse videos alone.

        Raises:
            DataError: there are no states.
        """
        if not self.state_names:
            raise DataError(
                f"{shards} holds videos without states: an encoder can learn from them (dvc repro pretrain), "
                "a world model can't"
            )

    def actions_between(self, states: np.ndarray) -> np.ndarray:
        """Actions that lead from each state to the next, `float32 [T, S] -> [T - 1, S]`; poses turn by rotations."""
        if self.pose:
            return actions_between(states)
        return np.diff(states.astype(np.float64), axis=0).astype(np.float32)


def layout_of(names: tuple[str, ...], units: tuple[str, ...], pose: bool) -> Layout:
    """The layout of states whose actions are derived from them."""
    return Layout(names, units, tuple(f"d{name}" for name in names), units, pose, derived=True)


POSES = layout_of(STATE_NAMES, ("m", "m", "m", "rad", "rad", "rad", "1"), pose=True)
"""The default: the hand's pose and the gripper."""


def write_layout(folder: Path, layout: Layout) -> None:
    """Write `layout.json` into a shards folder."""
    write_json(folder / LAYOUT, asdict(layout))


def read_layout(shards: Path) -> Layout:
    """The layout of a shards folder.

    Raises:
        DataError: it is missing or damaged.
    """
    path = shards / LAYOUT
    try:
        return TypeAdapter(Layout).validate_json(path.read_text(), extra="forbid")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: curate the raw data again") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {' '.join(str(error).split())}") from error
