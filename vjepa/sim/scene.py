"""One Meta-World task in MuJoCo: set up by seed, driven in steps of 12.5 ms, seen from one camera.

A scene costs 0.7 s to build and 6 ms to set up again, so scenes are reused (see `arm.py`). Meta-World's own `step`
takes four times as long as the physics that it runs, for observations and rewards that only the expert and the success
flag need: here they are computed when asked for.
"""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import mujoco
import numpy as np
from metaworld.env_dict import ENV_CLS_MAP
from metaworld.policies import ENV_POLICY_MAP
from scipy.spatial.transform import Rotation

from vjepa.config import Variation
from vjepa.sim import look
from vjepa.sim.graphics import Camera
from vjepa.sim.tasks import sentence_of

EXPERTS: dict[str, Any] = dict(ENV_POLICY_MAP)
STEP_S = 0.0125
"""Seconds in a control step."""
CAMERA, CAMERA_POSITION = "corner2", (0.75, 0.075, 0.7)
COMMAND_M = 0.01  # what Meta-World's command of 1 moves the hand's target in a control step
DOWN = Rotation.from_quat([1, 0, 1, 0], scalar_first=True)  # the hand's orientation with the fingers straight down
FINGERS_OPEN_M, FINGERS_CLOSED_M = 0.1, 0.03  # between the finger tips
MOVED_BY_META_WORLD = ("body_pos", "body_quat", "site_pos")

# The weld that pulls the hand to its target is soft and lags by 5 to 8 control steps. Leading it by twice the error and
# braking by three steps' velocity leaves 0.24 cm (90 %: 0.44 cm) after 10 steps, with the hand at rest within 0.5 mm a
# step; 0.5 x error - 1.0 x velocity added to the target in each step left 1.3 cm (2.6 cm) and a hand still moving.
LEAD, BRAKE = 2.0, 3.0
SAG = np.array([0, 0, 0.0038])  # m, how far the arm's weight pulls it below the target
EXPERT_HOLD = 2  # control steps that an expert's command is held: a look costs it as much as ten steps of physics
GRIP = 5.0  # effort of the fingers for an error of the closedness of 1


class Scene:
    """A task's simulation with its camera.

    Args:
        task: Meta-World's name, e.g. `reach-v3`.
        image_size: pixels on each side.

    Raises:
        UserError: no such task, or no way to render.
    """

    def __init__(self, task: str, image_size: int) -> None:
        sentence_of(task)
        self.task, self.image_size = task, image_size
        self._world: Any = ENV_CLS_MAP[task]()
        # As Meta-World's own benchmark sets its tasks up: goal in the observation, places drawn at reset.
        self._world._partially_observable, self._world._set_task_called = False, True
        self._world._freeze_rand_vec, self._world.seeded_rand_vec = False, True
        del self._world.sawyer_observation_space  # a cached property, computed again with the goal's bounds
        self._limits = self._world.sawyer_observation_space
        self._model: mujoco.MjModel = self._world.model
        self._data: mujoco.MjData = self._world.data
        camera = self._model.camera(CAMERA)
        camera.pos[:] = CAMERA_POSITION
        half_turn = Rotation.from_euler("z", np.pi)  # Meta-World's camera hangs upside down
        camera.quat[:] = (Rotation.from_quat(camera.quat, scalar_first=True) * half_turn).as_quat(scalar_first=True)
        self._camera_id: int = camera.id
        self._camera = Camera(self._model, CAMERA, image_size)
        self._arrays = {name: getattr(self._model, name).copy() for name in (*MOVED_BY_META_WORLD, *look.CHANGED)}
        self._headlight = [colour.copy() for colour in look.headlight(self._model)]
        self._distractor: look.Distractor | None = None
        self._expert: Any = None

    def reset(self, seed: int, variation: Variation) -> None:
        """Set up the scene of a seed: the same one each time, whatever happened before."""
        for name, value in self._arrays.items():
            getattr(self._model, name)[:] = value
        for colour, value in zip(look.headlight(self._model), self._headlight, strict=True):
            colour[:] = value
        rng = np.random.default_rng((seed, zlib.crc32(self.task.encode())))
        look.dress(self._model, self._camera_id, variation, rng)
        self._distractor = look.draw_distractor(variation, rng)
        self._world.seed(seed)
        # Meta-World's reset sets the task up twice and keeps the second; once is enough.
        mujoco.mj_resetData(self._model, self._data)
        self._world.reset_model()
        mujoco.mj_forward(self._model, self._data)
        self._expert = EXPERTS[self.task]()

    def hand(self) -> np.ndarray:
        """Where the hand is: `float64 [3]`, m. Meta-World's robot base is the origin of the world."""
        return self._data.body("hand").xpos.copy()

    def to_target(self) -> np.ndarray:
        """From between the fingertips to where Meta-World's reach tasks want that: `float64 [3]`, m."""
        return self._world._target_pos - self._world.tcp_center

    def velocity(self) -> np.ndarray:
        """How fast the hand moves: `float64 [3]`, m/s."""
        spatial = np.zeros(6)
        body = self._data.body("hand").id
        mujoco.mj_objectVelocity(self._model, self._data, mujoco.mjtObj.mjOBJ_XBODY, body, spatial, 0)
        return spatial[3:]

    def closedness(self) -> float:
        """How far the gripper is closed: 0 open, 1 closed."""
        gap = np.linalg.norm(self._data.body("rightclaw").xpos - self._data.body("leftclaw").xpos)
        return float(np.clip((FINGERS_OPEN_M - gap) / (FINGERS_OPEN_M - FINGERS_CLOSED_M), 0, 1))

    def state(self) -> np.ndarray:
        """x, y, z (m), Euler xyz extrinsic (rad; 0 with the fingers straight down), closedness: `float32 [7]`.

        Angles are measured from the fingers pointing down, since Euler angles of the hand's own frame are degenerate
        there (a pitch of 90 degrees).
        """
        turned = Rotation.from_quat(self._data.body("hand").xquat, scalar_first=True) * DOWN.inv()
        return np.array([*self.hand(), *turned.as_euler("xyz"), self.closedness()], np.float32)

    def move(self, displacement: np.ndarray, closing: float, steps: int) -> None:
        """Move the hand by a displacement within the task's limits, and the fingers by a change of closedness.

        Args:
            displacement: `[3]`, m.
            closing: change of the closedness.
            steps: control steps, of which the hand needs 10 to arrive and come to rest.
        """
        target = np.clip(self.hand() + displacement, self._world.mocap_low, self._world.mocap_high)
        closed = np.clip(self.closedness() + closing, 0, 1)
        for _ in range(steps):
            error = target - self.hand()
            self._data.mocap_pos[0] = target + SAG + LEAD * error - BRAKE * STEP_S * self.velocity()
            self._run(GRIP * (closed - self.closedness()))
        mujoco.mj_forward(self._model, self._data)

    def follow_expert(self, noise: np.ndarray, limit: float, steps: int) -> None:
        """Let Meta-World's scripted expert act.

        Args:
            noise: `[3]`, added to its commands, which are within -1 and 1.
            limit: largest displacement of the hand's target on each axis over all `steps`, m.
            steps: control steps.
        """
        scale = min(1.0, limit / (COMMAND_M * steps))
        for step in range(steps):
            if step % EXPERT_HOLD == 0:
                mujoco.mj_forward(self._model, self._data)
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore", UserWarning
                    )  # commands beyond 1 are clipped, as they are meant to be
                    action = np.clip(self._expert.get_action(self._observe()), -1, 1)
            self._world.set_xyz_action(np.clip(action[:3] + noise, -1, 1) * scale)
            self._run(action[3])
        mujoco.mj_forward(self._model, self._data)

    def success(self) -> bool:
        """Meta-World's success flag for the present moment."""
        _, info = self._world.evaluate_state(self._observe(), np.zeros(4, np.float32))
        return bool(info["success"])

    def render(self) -> np.ndarray:
        """What the camera sees: `uint8 [image_size, image_size, 3]`."""
        return self._camera.render(self._data, self._distractor)

    def close(self) -> None:
        """Free the renderer."""
        self._camera.close()

    def _run(self, effort: float) -> None:
        """One control step."""
        self._data.mocap_quat[:] = (1, 0, 1, 0)
        effort = float(np.clip(effort, -1, 1))
        self._world.do_simulation([effort, -effort], self._world.frame_skip)

    def _observe(self) -> np.ndarray:
        """Meta-World's observation, clipped as its `step` does: `float64 [39]`."""
        return np.clip(self._world._get_obs(), self._limits.low, self._limits.high)
