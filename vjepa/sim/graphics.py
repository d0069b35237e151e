"""Off-screen rendering on a CPU: which OpenGL library, and what to leave out so that a frame takes 5 ms, not 100.

Software rendering pays by the triangle. Shadows, reflections and multisampling go first (a factor of ten); then the
robot's meshes are thinned to what 128 pixels can show (67,000 triangles to 13,000: another factor of two).
"""

from __future__ import annotations

import atexit
import ctypes.util
import importlib
import os

import mujoco
import numpy as np

from vjepa.errors import UserError
from vjepa.sim.look import Distractor

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
INSTALL = "apt-get install -y libegl1 libgl1 libopengl0 libgl1-mesa-dri"
THINNING = 0.01  # m: vertices of a mesh in the same cube of this size become one


def choose_library() -> None:
    """Unless MUJOCO_GL is set, set it to the first off-screen library of this machine and let MuJoCo use that.

    Raises:
        UserError: there is none; the message has the command that installs one.
    """
    # Mesa's rasteriser: episodes run in several processes, so threads of its own would only take cores from them.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if "MUJOCO_GL" in os.environ:
        return
    found = [name for name, library in LIBRARIES.items() if ctypes.util.find_library(library)]
    if not found:
        raise UserError(f"the simulator needs EGL or OSMesa to render without a screen; install EGL: {INSTALL}")
    os.environ["MUJOCO_GL"] = found[0]
    importlib.reload(mujoco.gl_context)  # MuJoCo reads the variable when it is imported, long before this


class Camera:
    """Renders one model from a fixed camera.

    Args:
        model: its quality settings are lowered and its meshes thinned; what collides with what does not change.
        name: the model's camera.
        size: pixels on each side.

    Raises:
        UserError: no off-screen OpenGL can be used; the message has the command that installs one.
    """

    def __init__(self, model: mujoco.MjModel, name: str, size: int) -> None:
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0
        thin_meshes(model, THINNING)
        self._name = name
        choose_library()
        try:
            self._renderer = mujoco.Renderer(model, size, size)
        except Exception as error:  # EGL, OSMesa and MuJoCo each raise kinds of their own, down to AttributeError
            library = os.environ["MUJOCO_GL"]
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UserError(
                f"the simulator can't render without a screen (MUJOCO_GL={library}: {reason}); install EGL: {INSTALL}"
            ) from error
        # Registered after MuJoCo's own, so it runs before: a context freed after EGL has ended is an error.
        atexit.register(self.close)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0  # sites mark the targets, which must not be seen

    def render(self, data: mujoco.MjData, distractor: Distractor | None = None) -> np.ndarray:
        """The picture of the present moment, with a distractor if there is one: `uint8 [size, size, 3]`."""
        self._renderer.update_scene(data, self._name, self._options)
        if distractor is not None:
            add_to_picture(self._renderer.scene, distractor)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the OpenGL context; happens by itself when Python ends."""
        atexit.unregister(self.close)
        self._renderer.close()


def add_to_picture(scene: mujoco.MjvScene, distractor: Distractor) -> None:
    """Add a distractor to what is drawn: the physics never meets it, so the model needs no change."""
    kind = mujoco.mjtGeom.mjGEOM_BOX if distractor.box else mujoco.mjtGeom.mjGEOM_SPHERE
    size = np.full(3, distractor.radius)
    colour = np.append(distractor.rgb, 1).astype(np.float32)
    mujoco.mjv_initGeom(scene.geoms[scene.ngeom], kind, size, distractor.position, np.eye(3).ravel(), colour)
    scene.ngeom += 1


def thin_meshes(model: mujoco.MjModel, cell: float) -> None:
    """Merge mesh vertices that share a cube of side `cell` (m), for rendering: collisions use the convex hulls.

    Triangles that collapse or double are dropped by moving the others to the front of the mesh's part of the arrays.
    """
    for mesh in range(model.nmesh):
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[first : first + count]
        part = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
        _, chosen, cube_of = np.unique(np.floor(vertices / cell), axis=0, return_index=True, return_inverse=True)
        faces = chosen[cube_of.ravel()][model.mesh_face[part]]
        _, once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
        a, b, c = faces[once].T
        kept = np.sort(once[(a != b) & (b != c) & (a != c)])
        start, stop = part.start, part.start + len(kept)
        model.mesh_face[start:stop] = faces[kept]
        for corner in (model.mesh_facenormal, model.mesh_facetexcoord):
            corner[start:stop] = corner[part][kept]
        model.mesh_facenum[mesh] = len(kept)
