"""The closed-loop benchmark: the planner, random actions and staying still on the same held-out scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.planning.closed_loop import Scene, planning_policy, random_policy, run_episode, still_policy
from vjepa.planning.cross_entropy import CrossEntropyPlanner
from vjepa.planning.parallel import model_of_process
from vjepa.planning.world_model import WorldModel

PLANNER, UNTRAINED, RANDOM, STILL = "", "_untrained", "_random", "_still"
"""The arms, by the suffix that their numbers carry; the second plans with a world model on an untrained encoder."""
REACHED_M = 0.05
"""How near the hand must end to where the goal image shows it, in tasks that are about the hand alone."""


@dataclass(frozen=True)
class EpisodeJob:
    """One episode of a benchmark.

    Attributes:
        benchmark: its name in the metrics.
        task: the simulator's name of the task.
        seed: of the scene and of every arm.
        about_hand: whether success is where the hand ends, rather than what the environment says.
        goal_light: the goal image is shown as first x pixel + second.
        keep_frames: whether the planner's frames come back.
    """

    benchmark: str
    task: str
    seed: int
    about_hand: bool
    goal_light: tuple[float, float]
    keep_frames: bool


@dataclass(frozen=True)
class Trial:
    """What the arms did in one scene of T actions.

    Attributes:
        job: what was asked for.
        distances_m: arm -> `float [T + 1]`, from the hand to where it is in the goal image.
        success: arm -> `bool [T]`, the environment's flag.
        goal_success: the flag for what the goal image shows.
        seconds: `float [T]`, planning time of each action.
        goal_image: as the planner saw it.
        frames: `uint8 [T + 1, H, W, 3]` of the planner's arm, if asked for.
    """

    job: EpisodeJob
    distances_m: dict[str, np.ndarray]
    success: dict[str, np.ndarray]
    goal_success: bool
    seconds: np.ndarray
    goal_image: np.ndarray
    frames: np.ndarray | None

    def reached(self, arm: str) -> bool:
        """Success at the last step."""
        return bool(self.distances_m[arm][-1] < REACHED_M if self.job.about_hand else self.success[arm][-1])

    def outcome(self, arm: str) -> dict[str, bool | float]:
        """What is measured of an arm in this scene, by the metric's name."""
        return {
            "success": self.reached(arm),
            "success_ever": bool(self.success[arm].any()),
            "final_distance_cm": 100 * float(self.distances_m[arm][-1]),
        }


def in_other_light(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """`uint8` pixels as factor x pixel + offset."""
    return np.round(image.astype(np.float64) * factor + offset).clip(0, 255).astype(np.uint8)


def play(
    model: WorldModel,
    job: EpisodeJob,
    open_scene: Callable[[EpisodeJob], Scene],
    planner: CrossEntropyPlanner,
    actions: int,
    untrained: Path | None = None,
) -> Trial:
    """Let every arm act in the scene that `open_scene(job)` gives; `untrained` is the second arm's bundle, if any."""
    scene = open_scene(job)
    goal_image = in_other_light(scene.goal_image, *job.goal_light)
    policies = {
        PLANNER: planning_policy(model, planner, goal_image, job.seed),
        **(
            {UNTRAINED: planning_policy(model_of_process(untrained), planner, goal_image, job.seed)}
            if untrained
            else {}
        ),
        RANDOM: random_policy(model, planner.max_move, job.seed),
        STILL: still_policy(model),
    }
    try:
        arms = {arm: run_episode(scene.env, policy, actions) for arm, policy in policies.items()}
    finally:
        scene.env.close()
    hand = model.planned
    return Trial(
        job=job,
        distances_m={
            arm: np.linalg.norm(recording.states[:, hand] - scene.goal_state[hand], axis=1)
            for arm, recording in arms.items()
        },
        success={arm: recording.success for arm, recording in arms.items()},
        goal_success=scene.goal_success,
        seconds=arms[PLANNER].seconds,
        goal_image=goal_image,
        frames=arms[PLANNER].frames if job.keep_frames else None,
    )


def closed_loop_values(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """One value an episode for every metric of a benchmark, rates as `bool`, by name and arm.

    `success_expert` is the environment's flag where the goal image was taken: what a planner that ends exactly there
    would be given.
    """
    values: dict[str, np.ndarray] = {}
    for arm in trials[0].distances_m:
        found = [trial.outcome(arm) for trial in trials]
        values |= {f"{name}{arm}": np.array([outcome[name] for outcome in found]) for name in found[0]}
    values["success_expert"] = np.array([trial.goal_success for trial in trials])
    return values


def outcomes(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """One row for each scene and arm: `benchmark`, `seed`, `arm` and what `Trial.outcome` holds."""
    return [
        {"benchmark": trial.job.benchmark, "seed": trial.job.seed, "arm": arm.strip("_") or "planner"}
        | trial.outcome(arm)
        for trial in trials
        for arm in trial.distances_m
    ]


def recordings(trials: Sequence[Trial]) -> dict[str, np.ndarray]:
    """The trials that kept their frames, as arrays of equal length; a shorter episode repeats its last frame.

    Returns:
        `frames` `uint8 [E, T, H, W, 3]`, `goals` `uint8 [E, H, W, 3]`, `distances_m` `float32 [E, T]`, `names` and
        `success` `bool [E]`.
    """
    kept = [(trial, trial.frames, trial.distances_m[PLANNER]) for trial in trials if trial.frames is not None]
    steps = np.arange(max(len(frames) for _, frames, _ in kept))
    return {
        "frames": np.stack([frames[steps.clip(max=len(frames) - 1)] for _, frames, _ in kept]),
        "goals": np.stack([trial.goal_image for trial, _, _ in kept]),
        "distances_m": np.stack([far[steps.clip(max=len(far) - 1)] for _, _, far in kept]).astype(np.float32),
        "names": np.array([trial.job.benchmark for trial, _, _ in kept]),
        "success": np.array([trial.reached(PLANNER) for trial, _, _ in kept]),
    }
