"""What a scene looks like: light, colours and camera, drawn anew for every scene."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from vjepa.config import Variation

CHANGED = ("light_diffuse", "light_dir", "mat_rgba", "geom_rgba", "cam_pos")
"""The arrays of a model that a look changes; whoever dresses a model again restores them first."""


def dress(model: mujoco.MjModel, camera: int, variation: Variation, rng: np.random.Generator) -> None:
    """Give a model in its original look another one.

    The same numbers are drawn whatever the strengths, so that changing one property leaves the others as they were.

    Args:
        model: its lights, colours and the camera's place change.
        camera: the camera's number.
        variation: how strongly.
        rng: where the look is drawn from.
    """
    brightness, direction = rng.uniform(-1, 1, 1), rng.uniform(-1, 1, model.light_dir.shape)
    materials = rng.uniform(-1, 1, (model.nmat, 3))
    things = rng.uniform(-1, 1, (model.ngeom, 3))
    shift = rng.uniform(-1, 1, 3)

    scale = 1 + variation.light * brightness
    model.light_diffuse[:] *= scale
    model.vis.headlight.ambient[:] *= scale
    model.vis.headlight.diffuse[:] *= scale
    turned = model.light_dir + variation.light * direction
    model.light_dir[:] = turned / np.linalg.norm(turned, axis=1, keepdims=True)

    tint(model.mat_rgba, 1 + variation.colour * materials)
    # The arm keeps its colour, as a real one does; what stands on the table and has no material is an object.
    robot = robot_geoms(model)
    tint(model.geom_rgba, np.where(robot[:, None], 1, 1 + variation.colour * things))

    model.cam_pos[camera] += variation.camera * shift


def tint(rgba: np.ndarray, factors: np.ndarray) -> None:
    """Multiply colours `[N, 4]` by `factors` `[N, 3]`, in place; opacity stays."""
    rgba[:, :3] = np.clip(rgba[:, :3] * factors, 0, 1)


def robot_geoms(model: mujoco.MjModel) -> np.ndarray:
    """Which geometries belong to the robot: `bool [ngeom]`."""
    return np.asarray(model.body_rootid[model.geom_bodyid] == model.body("base").id)


def headlight(model: mujoco.MjModel) -> list[Any]:
    """The headlight's colours, which a look changes as well: two arrays that write through to the model."""
    return [model.vis.headlight.ambient, model.vis.headlight.diffuse]
