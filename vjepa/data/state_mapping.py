"""From a data set's columns to states and actions: which values, in which unit and convention.

What is already in the wanted form passes bit for bit. All rotations go through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from vjepa.config import ColumnConfig, GripperConfig, PositionConfig, RotationConfig, SourceConfig, StateConfig
from vjepa.data.layout import POSES, Layout, layout_of

BEYOND = 0.05  # of the gripper's range, by which its sensor may err


class StateMapping:
    """Makes states, and actions where these were recorded, of columns.

    Attributes:
        needs: the columns, each with the number of values that it must have at least.
        layout: what the states and actions are.
        between: how the actions of the rows between two sampled frames become one; None where they are derived.
    """

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.between = None if config.action is None else config.action.between
        commands = [] if config.action is None else config.action.columns
        self.needs: dict[str, int] = {}
        for column, places in [*pose_columns(config.state), *((c.column, c.at) for c in (*config.columns, *commands))]:
            self.needs[column] = max(self.needs.get(column, 0), max(places) + 1)
        states = POSES if config.state is not None else layout_of(*names_and_units(config.columns), pose=False)
        if commands:
            names, units = names_and_units(commands)
            states = Layout(states.state_names, states.state_units, names, units, states.pose, derived=False)
        self.layout = states

    def states(self, columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
        """Columns `[T, W]` of so many rows -> states `float32 [T, S]`.

        Raises:
            ValueError: values can't be what they are said to be.
        """
        if self.config.state is not None:
            return pose_states(columns, self.config.state)
        return chosen_values(columns, self.config.columns, rows)

    def commands(self, columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray | None:
        """Columns `[T, W]` -> the recorded action of every row, `float32 [T, A]`; None where actions are derived."""
        return None if self.config.action is None else chosen_values(columns, self.config.action.columns, rows)


def pose_columns(config: StateConfig | None) -> list[tuple[str, list[int]]]:
    """The columns of a pose, each with its places."""
    if config is None:
        return []
    parts = [(config.position.column, list(config.position.at))]
    if config.rotation is not None:
        parts.append((config.rotation.column, list(config.rotation.at)))
    if config.gripper is not None:
        parts.append((config.gripper.column, [config.gripper.at]))
    return parts


def names_and_units(columns: Sequence[ColumnConfig]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A name, e.g. `observation.state[3]`, and a unit for each value."""
    names = tuple(f"{column.column}[{place}]" for column in columns for place in column.at)
    return names, tuple(column.unit for column in columns for _ in column.at)


def chosen_values(columns: Mapping[str, np.ndarray], chosen: Sequence[ColumnConfig], rows: int) -> np.ndarray:
    """The values that are named, one after the other: `float32 [T, S]`."""
    parts = [columns[column.column][:, list(column.at)] for column in chosen]
    return np.concatenate([np.zeros((rows, 0)), *parts], axis=1).astype(np.float32)


def pose_states(columns: Mapping[str, np.ndarray], config: StateConfig) -> np.ndarray:
    """The end effector's pose and the gripper, `float32 [T, 7]`; what a robot has not is 0.

    Raises:
        ValueError: a rotation is none.
    """
    states = np.zeros((len(columns[config.position.column]), 7))
    states[:, :3] = metres(columns[config.position.column], config.position)
    if config.rotation is not None:
        states[:, 3:6] = euler_angles(columns[config.rotation.column], config.rotation)
    if config.gripper is not None:
        states[:, 6] = closedness(columns[config.gripper.column], config.gripper)
    return states.astype(np.float32)


def metres(values: np.ndarray, config: PositionConfig) -> np.ndarray:
    """`[T, W] -> float64 [T, 3]`, m."""
    return values[:, list(config.at)].astype(np.float64) * {"m": 1.0, "cm": 0.01, "mm": 0.001}[config.unit]


def euler_angles(values: np.ndarray, config: RotationConfig) -> np.ndarray:
    """`[T, W] -> float64 [T, 3]`, Euler xyz extrinsic, rad; rows that hold NaN or infinity stay so.

    Raises:
        ValueError: a row is no rotation: a quaternion or a matrix of zeros, or a mirroring.
    """
    chosen = values[:, list(config.at)].astype(np.float64)
    if (config.convention, config.unit) == ("xyz", "rad"):
        return chosen
    angles = np.full((len(chosen), 3), np.nan)
    finite = np.isfinite(chosen).all(1)
    if finite.any():
        angles[finite] = rotations(chosen[finite], config).as_euler("xyz")
    return angles


def rotations(values: np.ndarray, config: RotationConfig) -> Rotation:
    """`float64 [T, 3, 4, 6 or 9]` in the convention that the settings name."""
    degrees = config.unit == "deg"
    match config.convention:
        case "quaternion xyzw" | "quaternion wxyz":
            return Rotation.from_quat(values, scalar_first=config.convention.endswith("wxyz"))
        case "rotation vector":
            return Rotation.from_rotvec(values, degrees=degrees)
        case "matrix":
            return from_matrices(values.reshape(-1, 3, 3))
        case "6d columns" | "6d rows":
            first, second = values[:, :3], values[:, 3:]
            matrices = np.stack([first, second, np.cross(first, second)], axis=-1)
            return from_matrices(matrices if config.convention == "6d columns" else matrices.transpose(0, 2, 1))
        case sequence:  # Euler angles: lower case extrinsic, upper case intrinsic, as in scipy
            return Rotation.from_euler(sequence, values, degrees=degrees)


def from_matrices(matrices: np.ndarray) -> Rotation:
    """Nearest rotations of `[T, 3, 3]`; ValueError where a matrix is singular or mirrors."""
    determinants = np.linalg.det(matrices)
    if (determinants < 1e-6).any():
        row = int(determinants.argmin())
        raise ValueError(f"row {row} is no rotation: its determinant is {determinants[row]:.3g}")
    return Rotation.from_matrix(matrices)


def closedness(values: np.ndarray, config: GripperConfig) -> np.ndarray:
    """`[T, W] -> float64 [T]`: 0 at what is called open, 1 at what is called closed.

    A little beyond is as far as it goes; what is farther off is left for the gates to name.
    """
    closed = (values[:, config.at].astype(np.float64) - config.open) / (config.closed - config.open)
    return np.where(np.abs(closed - 0.5) <= 0.5 + BEYOND, closed.clip(0, 1), closed)
