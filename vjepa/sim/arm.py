"""The simulated arm as a gymnasium environment: images and states out, differences of poses in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from vjepa.config import Variation
from vjepa.sim.scene import Scene

BENCHMARK_FIRST_SEED = 1_000_000
"""Scenes of training data come from seeds below this."""
MAX_MOVE = 0.08
"""m: what the hand can move on each axis in one step of 10 control steps and come to rest."""
REACH = np.array([MAX_MOVE] * 3 + [np.pi] * 3 + [1], np.float32)
EXPERT_STEPS, EXPERT_LOOKS = 400, 2  # control steps that the scripted expert gets, and between two looks at it
AT_REST, PATIENCE = 0.005, 60  # m/s; control steps without a better moment after which the expert is stopped
CALMER = 0.7  # a moment is better than the best so far if the hand is slower by this factor: fewer pictures to render
TO_REST = 20  # control steps in which the hand goes the last centimetres to the middle of the goal and comes to rest
IDLE_SCENES = 3  # scenes kept for reuse in a process, at 85 MB each

Observation = dict[str, Any]
"""`image` (`uint8 [S, S, 3]`) and `state` (`float32 [7]`)."""
Outcome = tuple[Observation, float, bool, bool, dict[str, Any]]
"""Observation, reward, terminated, truncated, info."""

_idle: list[Scene] = []


@dataclass
class Goal:
    """Where the scripted expert succeeds.

    Attributes:
        image: `uint8 [S, S, 3]`.
        state: `float32 [7]`.
        success: Meta-World's flag there.
    """

    image: np.ndarray
    state: np.ndarray
    success: bool


class SimulatedArm(gymnasium.Env[Observation, np.ndarray]):
    """An arm on a table with one task's objects.

    An observation holds `image` (`uint8 [S, S, 3]`) and `state` (`float32 [7]`: x, y, z in m from the robot's base,
    Euler xyz extrinsic in rad with 0 for fingers straight down, gripper closedness). An action (`float32 [7]`) is the
    wanted difference of states: displacements are tracked to 0.3 cm, at most 8 cm on each axis; the hand can't turn, so
    the three angles are ignored. The reward is the success flag, in the info as `success`. Episodes do not end.

    Args:
        task: Meta-World's name, e.g. `reach-v3`.
        seed: with the task, it fixes places, light, colours and camera.
        image_size: pixels on each side.
        variation: how much light, colours and camera differ between seeds.
        steps_per_frame: control steps of 12.5 ms in a step.

    Raises:
        UserError: no such task, or no way to render.
    """

    def __init__(self, task: str, seed: int, image_size: int, variation: Variation, steps_per_frame: int) -> None:
        self.task, self.seed, self.image_size = task, seed, image_size
        self.variation, self.steps_per_frame = variation, steps_per_frame
        self.scene = borrow_scene(task, image_size)
        image = Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = Dict(image=image, state=Box(-np.inf, np.inf, (7,), np.float32))
        self.action_space = Box(-REACH, REACH, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Set the scene up, exactly as before, or the scene of another seed if one is given."""
        super().reset(seed=seed)
        self.seed = self.seed if seed is None else seed
        self.scene.reset(self.seed, self.variation)
        return self.observe(), {"success": self.scene.success()}

    def step(self, action: np.ndarray) -> Outcome:
        """Carry an action out and look."""
        reach = np.clip(action, -REACH, REACH)
        self.scene.move(reach[:3], float(reach[6]), self.steps_per_frame)
        return self._outcome()

    def step_expert(self, noise: np.ndarray, limit: float) -> Outcome:
        """Let the scripted expert act for one step; `noise` and `limit` as in `Scene.follow_expert`."""
        self.scene.follow_expert(noise, limit, self.steps_per_frame)
        return self._outcome()

    def bring_to(self, place: np.ndarray) -> None:
        """Bring the hand to a place (`[3]`, m) far away, at the speed of steps, without looking."""
        for _ in range(10):
            way = place - self.scene.hand()
            self.scene.move(np.clip(way, -MAX_MOVE, MAX_MOVE), 0.0, self.steps_per_frame)
            if np.abs(way).max() < MAX_MOVE:
                break

    def observe(self) -> Observation:
        """What the camera and the joints show now."""
        return {"image": self.scene.render(), "state": self.scene.state()}

    def close(self) -> None:
        """Hand the scene back for reuse; the arm can't be used afterwards."""
        if hasattr(self, "scene"):
            return_scene(self.scene)
            del self.scene

    def _outcome(self) -> Outcome:
        success = self.scene.success()
        return self.observe(), float(success), False, False, {"success": success}


def make_env(task: str, seed: int, image_size: int, variation: Variation, steps_per_frame: int) -> SimulatedArm:
    """A simulated arm (see `SimulatedArm`); cheap where one of the same task was closed before (6 ms, not 0.7 s)."""
    return SimulatedArm(task, seed, image_size, variation, steps_per_frame)


def expert_goal(env: SimulatedArm) -> Goal:
    """Where the scripted expert succeeds in a copy of the environment's scene; the environment does not change.

    Some experts press a button and let go: the goal is the moment of success at which the hand moves least. Where the
    expert never succeeds, it is where it ends. The expert of the reach tasks brings the wrist to where the fingertips
    are wanted, 4.5 cm below it, and ends at the edge of what counts as success: there the hand goes on to the middle.
    """
    best: Goal | None = None
    least, since = np.inf, 0
    with closing(make_env(env.task, env.seed, env.image_size, env.variation, env.steps_per_frame)) as copy:
        scene = copy.scene
        scene.reset(env.seed, env.variation)
        for _ in range(EXPERT_STEPS // EXPERT_LOOKS):
            scene.follow_expert(np.zeros(3), MAX_MOVE * EXPERT_LOOKS / 10, EXPERT_LOOKS)
            speed = float(np.linalg.norm(scene.velocity()))
            if scene.success() and speed < CALMER * least:
                best, least, since = Goal(scene.render(), scene.state(), True), speed, 0
            since += EXPERT_LOOKS
            if best is not None and (least < AT_REST or since > PATIENCE):
                break
        if about_hand(env.task):
            scene.move(scene.to_target(), 0.0, TO_REST)
            best = Goal(scene.render(), scene.state(), scene.success())
        return best or Goal(scene.render(), scene.state(), False)


def about_hand(task: str) -> bool:
    """Whether a task is about where the hand is, and nothing else."""
    return task.startswith("reach-")


def borrow_scene(task: str, image_size: int) -> Scene:
    """A scene that nobody uses: an idle one of this process, else a new one."""
    for scene in _idle:
        if (scene.task, scene.image_size) == (task, image_size):
            _idle.remove(scene)
            return scene
    return Scene(task, image_size)


def return_scene(scene: Scene) -> None:
    """Keep a scene for whoever needs the same task next; the longest unused one makes room."""
    _idle.append(scene)
    if len(_idle) > IDLE_SCENES:
        _idle.pop(0).close()
