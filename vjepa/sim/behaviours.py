"""What the arm does in an episode: cover the workspace, follow an expert, or move at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vjepa.config import CollectConfig
from vjepa.sim.arm import BENCHMARK_FIRST_SEED, Outcome, SimulatedArm, make_env

WORKSPACE_LOW, WORKSPACE_HIGH = np.array([-0.3, 0.42, 0.06]), np.array([0.26, 0.92, 0.42])
"""m: where the hand can go and be seen by the camera."""
ARRIVED = 0.02  # m from a way-point
Behaviour = Callable[[SimulatedArm, np.ndarray], Outcome]
"""Acts on the arm, given its state `float32 [7]`, and returns what `SimulatedArm.step` does."""
PACE = (0.4, 1.0)  # a way-point is approached at a share of the largest move
REGRIP = 0.3  # how often a new way-point comes with another opening of the gripper


@dataclass
class Recording:
    """An episode of T frames.

    Attributes:
        frames: `uint8 [T, S, S, 3]`.
        states: `float32 [T, 7]`.
        success: `bool [T]`, Meta-World's flag at each frame.
    """

    frames: np.ndarray
    states: np.ndarray
    success: np.ndarray


def record_episode(config: CollectConfig, task: str, seed: int, index: int) -> Recording:
    """Make episode `index` of a collection; it depends on the arguments alone.

    Args:
        config: shares and strengths of the behaviours, length, size, looks.
        task: Meta-World's name.
        seed: of the collection.
        index: of the episode in the collection; gives the scene's seed too.
    """
    rng = np.random.default_rng((seed, index))
    scene_seed = (seed * 10_007 + index) % BENCHMARK_FIRST_SEED
    with make_env(task, scene_seed, config.image_size, config.variation, config.steps_per_frame) as arm:
        seen, info = arm.reset()
        draw = rng.random()
        if draw < config.waypoint_share:
            behave = way_points(config, rng)
        elif draw < config.waypoint_share + config.expert_share:
            behave = noisy_expert(config, rng)
        else:
            behave = random_moves(config, rng)
            arm.bring_to(rng.uniform(WORKSPACE_LOW, WORKSPACE_HIGH))
            seen = arm.observe()
        frames, states, success = [seen["image"]], [seen["state"]], [info["success"]]
        for _ in range(config.frames - 1):
            seen, _, _, _, info = behave(arm, seen["state"])
            frames.append(seen["image"])
            states.append(seen["state"])
            success.append(info["success"])
    return Recording(np.stack(frames), np.stack(states), np.array(success))


def way_points(config: CollectConfig, rng: np.random.Generator) -> Behaviour:
    """Go from one random place of the workspace to the next, each at its own pace."""
    target, pace, closedness = np.zeros(3), 0.0, 0.0

    def behave(arm: SimulatedArm, state: np.ndarray) -> Outcome:
        nonlocal target, pace, closedness
        if pace == 0 or np.linalg.norm(target - state[:3]) < ARRIVED:
            target, pace = rng.uniform(WORKSPACE_LOW, WORKSPACE_HIGH), rng.uniform(*PACE)
            closedness = rng.random() if rng.random() < REGRIP else float(state[6])
        limit = pace * config.max_move
        return arm.step(action_of(np.clip(target - state[:3], -limit, limit), closedness - state[6]))

    return behave


def noisy_expert(config: CollectConfig, rng: np.random.Generator) -> Behaviour:
    """Follow Meta-World's scripted expert; each frame has its own disturbance, so that it must correct itself."""
    return lambda arm, state: arm.step_expert(rng.normal(0, config.expert_noise, 3), config.max_move)


def random_moves(config: CollectConfig, rng: np.random.Generator) -> Behaviour:
    """Move by independent displacements, turned back where they would leave the workspace."""

    def behave(arm: SimulatedArm, state: np.ndarray) -> Outcome:
        displacement = rng.uniform(-config.max_move, config.max_move, 3)
        target = state[:3] + displacement
        outside = (target < WORKSPACE_LOW) | (target > WORKSPACE_HIGH)
        return arm.step(action_of(np.where(outside, -displacement, displacement), 0.0))

    return behave


def action_of(displacement: np.ndarray, closing: float) -> np.ndarray:
    """The action that moves the hand and closes the gripper: `float32 [7]`."""
    return np.array([*displacement, 0, 0, 0, closing], np.float32)
