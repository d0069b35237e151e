"""Receding-horizon control of an environment, and the arms that a planner is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vjepa.planning.cross_entropy import CrossEntropyPlanner
from vjepa.planning.world_model import WorldModel

Policy = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Image `uint8 [H, W, 3]`, state `float32 [S]` and the number of the step -> action `float32 [A]`."""


class Environment(Protocol):
    """What is asked of a robot or a simulator: gymnasium's interface.

    An observation holds `image` (`uint8 [H, W, 3]`) and `state` (`float32 [S]`); `step`'s info holds `success`. `reset`
    brings back the same scene, so that every policy meets the same episode.
    """

    def reset(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observation and info of the first frame."""

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info."""

    def close(self) -> None:
        """Let go of the renderer or the robot."""


@dataclass(frozen=True)
class Scene:
    """An episode to be solved.

    Attributes:
        env: the environment.
        goal_image: `uint8 [H, W, 3]`.
        goal_state: `float32 [S]`, the robot's state in that image.
        goal_success: whether the environment counts what the image shows as success.
    """

    env: Environment
    goal_image: np.ndarray
    goal_state: np.ndarray
    goal_success: bool


@dataclass(frozen=True)
class Recording:
    """What happened in an episode of T actions.

    Attributes:
        frames: `uint8 [T + 1, H, W, 3]`.
        states: `float32 [T + 1, S]`.
        success: `bool [T]`, the environment's flag after each action.
        seconds: `float [T]`, time that the policy took for each action.
    """

    frames: np.ndarray
    states: np.ndarray
    success: np.ndarray
    seconds: np.ndarray


def run_episode(env: Environment, policy: Policy, actions: int) -> Recording:
    """Let a policy act from a reset on, `actions` times or until the environment ends the episode."""
    seen, _ = env.reset()
    frames, states, success, seconds = [seen["image"]], [seen["state"]], [], []
    for step in range(actions):
        started = time.perf_counter()
        action = policy(seen["image"], seen["state"], step)
        seconds.append(time.perf_counter() - started)
        seen, _, terminated, truncated, info = env.step(action)
        frames.append(seen["image"])
        states.append(seen["state"])
        success.append(bool(info["success"]))
        if terminated or truncated:
            break
    return Recording(np.stack(frames), np.stack(states), np.array(success), np.array(seconds))


def plan_episode(
    env: Environment,
    goal_image: np.ndarray,
    model: WorldModel,
    planner: CrossEntropyPlanner,
    actions: int,
    seed: int,
) -> Recording:
    """Steer an environment to a goal image: plan, take the first action, look, plan again."""
    return run_episode(env, planning_policy(model, planner, goal_image, seed), actions)


def planning_policy(model: WorldModel, planner: CrossEntropyPlanner, goal_image: np.ndarray, seed: int) -> Policy:
    """A policy that plans every action anew towards `goal_image` (`uint8 [H, W, 3]`)."""
    goal = model.encode(goal_image[None])[0]

    def act(image: np.ndarray, state: np.ndarray, step: int) -> np.ndarray:
        return planner.plan(model, image, state, goal, seed=(seed, step)).action

    return act


def random_policy(model: WorldModel, max_move: float, seed: int) -> Policy:
    """Displacements drawn evenly from the planner's box."""
    rng = np.random.default_rng(seed)
    return lambda image, state, step: model.actions_of(rng.uniform(-max_move, max_move, len(model.planned)))


def still_policy(model: WorldModel) -> Policy:
    """Never moves."""
    return lambda image, state, step: model.actions_of(np.zeros(len(model.planned)))
