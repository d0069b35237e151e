"""What a scene looks like: light, colours, camera and a distractor, drawn anew for every scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vjepa.config import Variation

CHANGED = ("light_diffuse", "light_dir", "mat_rgba", "geom_rgba", "cam_pos")
"""The arrays of a model that a look changes; whoever dresses a model again restores them first."""

DEFAULT_RGBA = (0.5, 0.5, 0.5, 1)


DISTRACTOR_LOW, DISTRACTOR_HIGH = np.array([-0.35, 0.45]), np.array([0.35, 0.95])
"""x and y in m: where on the table a distractor lies."""
DISTRACTOR_RADIUS_M = (0.03, 0.06)


@dataclass(frozen=True)
class Distractor:
    """A ball or box that is seen and touches nothing.

    Attributes:
        box: whether it is a box, not a ball.
        position: `float [3]`, its centre, m.
        radius: half its height, m.
        rgb: `float [3]`, 0 to 1.
    """

    box: bool
    position: np.ndarray
    radius: float
    rgb: np.ndarray


def draw_distractor(variation: Variation, rng: np.random.Generator) -> Distractor | None:
    """A scene's distractor, if it has one. The same numbers are drawn whatever the share of scenes that have one."""
    drawn, box = rng.random(2)
    radius, rgb = rng.uniform(*DISTRACTOR_RADIUS_M), rng.random(3)
    place = rng.uniform(DISTRACTOR_LOW, DISTRACTOR_HIGH)
    return Distractor(box < 0.5, np.append(place, radius), radius, rgb) if drawn < variation.distractor else None


def dress(model: mujoco.MjModel, camera: int, variation: Variation, rng: np.random.Generator) -> None:
    """Give a model in its original look another one.

    The same numbers are drawn whatever the strengths, so that changing one property leaves the others as they were.

    Args:
        model: its lights, colours and the camera's place change.
        camera: the camera's number.
        variation: how strongly.
        rng: where the look is drawn from.
    """
    dimmed, direction = rng.random(1), rng.uniform(-1, 1, model.light_dir.shape)
    materials, things = rng.random((model.nmat, 3)), rng.random((model.ngeom, 3))
    shift = rng.uniform(-1, 1, 3)

    # Meta-World's light saturates the table, so more of it would not be seen: it only gets darker.
    brightness = 1 - variation.light * dimmed
    for light in (model.light_diffuse, *headlight(model)):
        light *= brightness
    turned = model.light_dir + variation.light * direction
    model.light_dir[:] = turned / np.linalg.norm(turned, axis=1, keepdims=True)

    model.mat_rgba[:, :3] *= 1 - variation.colour * materials
    painted = painted_geoms(model)
    model.geom_rgba[painted, :3] *= 1 - variation.colour * things[painted]

    model.cam_pos[camera] += variation.camera * shift


def painted_geoms(model: mujoco.MjModel) -> np.ndarray:
    """Which geometries are objects with a colour of their own: `bool [ngeom]`.

    The arm keeps its colour, as a real one does. A geometry in MuJoCo's default grey shows its material's colour; any
    other colour would take the material's place.
    """
    robot = model.body_rootid[model.geom_bodyid] == model.body("base").id
    default = (model.geom_rgba == DEFAULT_RGBA).all(axis=1) & (model.geom_matid >= 0)
    return np.asarray(~robot & ~default)


def headlight(model: mujoco.MjModel) -> list[Any]:
    """The headlight's colours, which a look changes as well: two arrays that write through to the model."""
    return [model.vis.headlight.ambient, model.vis.headlight.diffuse]
