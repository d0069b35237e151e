"""From a data set's columns to the state of `vjepa.data.episode`: which values, in which unit and convention.

What is already in the wanted form passes bit for bit. All rotations go through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from vjepa.config import GripperConfig, PositionConfig, RotationConfig, StateConfig

BEYOND = 0.05  # of the gripper's range, by which its sensor may err


class StateMapping(Protocol):
    """Makes states of columns.

    Attributes:
        needs: the columns, each with the number of values that it must have at least.
    """

    needs: dict[str, int]

    def states(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Columns `[T, W]` -> states `float32 [T, S]`; ValueError where values can't be what they are said to be."""


@dataclass
class ColumnAsItIs:
    """The state is one column, whatever it means."""

    column: str

    @property
    def needs(self) -> dict[str, int]:
        """That column."""
        return {self.column: 1}

    def states(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """`[T, W] -> float32 [T, W]`."""
        return columns[self.column].astype(np.float32)


class PoseMapping:
    """The state is the end effector's pose and the gripper, `float32 [T, 7]`; what a robot has not is 0."""

    def __init__(self, config: StateConfig) -> None:
        self.config = config
        self.needs: dict[str, int] = {}
        for column, places in self._used():
            self.needs[column] = max(self.needs.get(column, 0), max(places) + 1)

    def _used(self) -> list[tuple[str, list[int]]]:
        parts = [(self.config.position.column, list(self.config.position.at))]
        if self.config.rotation is not None:
            parts.append((self.config.rotation.column, list(self.config.rotation.at)))
        if self.config.gripper is not None:
            parts.append((self.config.gripper.column, [self.config.gripper.at]))
        return parts

    def states(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `StateMapping`."""
        position, rotation, gripper = self.config.position, self.config.rotation, self.config.gripper
        states = np.zeros((len(columns[position.column]), 7))
        states[:, :3] = metres(columns[position.column], position)
        if rotation is not None:
            states[:, 3:6] = euler_angles(columns[rotation.column], rotation)
        if gripper is not None:
            states[:, 6] = closedness(columns[gripper.column], gripper)
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
