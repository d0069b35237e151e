"""Actions as differences of poses (reference: V-JEPA 2-AC's data, paper sec. 3.1)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def actions_between(states: np.ndarray) -> np.ndarray:
    """Actions that lead from each state to the next: `float32 [T, 7] -> [T - 1, 7]`.

    A state is x, y, z (m), Euler xyz extrinsic (rad) and gripper closedness; an action is the displacement, the Euler
    angles of R' R^T, and the change of closedness.
    """
    if states.ndim != 2 or states.shape[1] != 7:
        raise ValueError(f"expected states of shape [T, 7], not {states.shape}")
    rotations = Rotation.from_euler("xyz", states[:, 3:6])
    turned = (rotations[1:] * rotations[:-1].inv()).as_euler("xyz")
    moved = np.diff(states[:, :3].astype(np.float64), axis=0)
    gripped = np.diff(states[:, 6:].astype(np.float64), axis=0)
    return np.concatenate([moved, turned, gripped], axis=1).astype(np.float32)
