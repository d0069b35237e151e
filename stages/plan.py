"""Plan from the ONNX bundle alone: offline on held-out episodes, and in closed loop in the simulator.

Reads models/onnx, models/untrained_onnx and the held-out part of data/shards; writes metrics/plan.json and plots/plan,
where outcomes.csv says of every scene and arm how it ended, so that two runs can be held against each other by scene.
No torch is imported: the stage does as a robot would. The planner, the same one with a world model on an encoder with
random weights (where post-training made one), random actions and staying still meet the same scenes.
"""
# ruff: noqa: E402 (torch is barred before anything that would use it is imported)

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


class NoTorch(MetaPathFinder):
    """Makes `import torch` fail, which shows that this program and its processes do without."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Refuse torch and leave everything else to the other finders."""
        if fullname.partition(".")[0] == "torch":
            raise ModuleNotFoundError("planning does without torch", name=fullname)


if __name__ in ("__main__", "__mp_main__"):  # the latter in processes that this program started
    sys.meta_path.insert(0, NoTorch())

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from stages.runner import main
from vjepa.config import ClosedLoopTask, CollectConfig, PlanConfig
from vjepa.data.shards import load_episodes
from vjepa.errors import UserError
from vjepa.files import atomic_directory, write_json
from vjepa.planning import Bundle, CrossEntropyPlanner, OfflineStep, Scene, WorldModel
from vjepa.planning.benchmark import EpisodeJob, closed_loop_values, outcomes, play, recordings
from vjepa.planning.offline import choose_steps, energy_landscape, evaluate_step, offline_values
from vjepa.planning.parallel import run_jobs
from vjepa.sim import expert_goal, make_env
from vjepa.sim.arm import BENCHMARK_FIRST_SEED, about_hand
from vjepa.sim.scene import STEP_S
from vjepa.statistics import Estimate, mean, rate

BUNDLE, UNTRAINED, PLOTS = Path("models/onnx"), Path("models/untrained_onnx"), Path("plots/plan")
STEP_TOLERANCE_S = 0.001
BY_MODEL = ("true_action_rank", "direction_error_deg", "action_error_cm")
"""What of the offline numbers hangs on the world model."""
RECORDED = 10  # closed-loop episodes whose frames are kept, spread over the benchmarks


def control_steps(time_step_s: float) -> int:
    """Control steps of the simulator in one step of the world model.

    Raises:
        UserError: it is no whole number of them.
    """
    steps = round(time_step_s / STEP_S)
    if steps < 1 or abs(steps * STEP_S - time_step_s) > STEP_TOLERANCE_S:
        raise UserError(
            f"the bundle's time step of {time_step_s} s is no multiple of the simulator's {STEP_S} s: "
            "closed loop needs curate.fps = 80 / a whole number"
        )
    return steps


def open_scene(job: EpisodeJob, benchmarks: Mapping[str, ClosedLoopTask], image_size: int, steps: int) -> Scene:
    """A held-out scene whose goal is where the scripted expert ends in it; an action takes `steps` control steps.

    The goal image is taken before anybody puts a distractor into the scene.
    """
    variation = benchmarks[job.benchmark].variation
    with closing(make_env(job.task, job.seed, image_size, replace(variation, distractor=0.0), steps)) as before:
        goal = expert_goal(before)
    env = make_env(job.task, job.seed, image_size, variation, steps)
    return Scene(env, goal.image, goal.state, goal.success)


def closed_loop_jobs(plan: PlanConfig) -> list[EpisodeJob]:
    """Every episode of every benchmark; the first ones of each keep their frames."""
    keep = max(1, RECORDED // max(1, len(plan.closed_loop)))
    return [
        EpisodeJob(
            benchmark=name,
            task=task.task,
            seed=plan.first_seed + i,
            about_hand=about_hand(task.task),
            goal_light=(task.goal_light[0], task.goal_light[1]),
            keep_frames=i < keep,
        )
        for name, task in plan.closed_loop.items()
        for i in range(task.episodes)
    ]


def estimates(values: Mapping[str, np.ndarray], groups: Sequence[str] | None = None) -> dict[str, Estimate]:
    """Each metric with its interval: a rate where the values are yes and no."""
    return {name: rate(v) if v.dtype == bool else mean(v, groups) for name, v in values.items()}


def run(plan: PlanConfig, collect: CollectConfig, seed: int) -> None:
    """Measure the planner beside its baselines and keep what the report shows."""
    if plan.first_seed < BENCHMARK_FIRST_SEED:
        raise UserError(f"plan.first_seed must be {BENCHMARK_FIRST_SEED} or more: scenes below may be training data")
    model = WorldModel(Bundle.open(BUNDLE))
    planner = CrossEntropyPlanner(**asdict(plan.planner))
    steps = choose_steps(
        (
            OfflineStep(episode.key, t, episode.frames[t], episode.states[t], episode.frames[t + 1], action)
            for episode in load_episodes(Path("data/shards"), "test")
            for t, action in enumerate(episode.actions)
        ),
        model,
        plan.offline_steps,
        seed,
    )
    look = partial(evaluate_step, planner=planner, random_actions=plan.offline_random, seed=seed)
    untrained = UNTRAINED if any(UNTRAINED.iterdir()) else None
    found = track(run_jobs(look, steps, BUNDLE, plan.workers), "plan: offline steps", len(steps))
    offline = offline_values(list(found))
    if untrained:
        rival = track(run_jobs(look, steps, untrained, plan.workers), "plan: offline, random weights", len(steps))
        values = offline_values(list(rival))
        offline |= {f"{name}_untrained": values[name] for name in BY_MODEL if name in values}

    metrics: dict[str, Any] = {"offline": estimates(offline, [step.key for step in steps])}
    pictures: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    if model.bundle.in_metres and len(model.planned) > 1:
        pictures["energy.npz"] = energy_landscape(model, steps, planner.max_move)
    if jobs := closed_loop_jobs(plan):
        steps_per_action = control_steps(model.bundle.time_step_s)
        scene = partial(open_scene, benchmarks=plan.closed_loop, image_size=collect.image_size, steps=steps_per_action)
        act = partial(play, open_scene=scene, planner=planner, actions=plan.actions, untrained=untrained)
        trials = list(track(run_jobs(act, jobs, BUNDLE, plan.workers), "plan: closed-loop episodes", len(jobs)))
        for name in plan.closed_loop:
            metrics[name] = estimates(closed_loop_values([trial for trial in trials if trial.job.benchmark == name]))
        metrics["seconds_per_action"] = mean([trial.seconds.mean() for trial in trials])
        pictures["episodes.npz"] = recordings(trials)
        rows = outcomes(trials)
    with atomic_directory(PLOTS) as folder:
        for name, arrays in pictures.items():
            np.savez_compressed(folder / name, **arrays)
        if rows:
            pd.DataFrame(rows).to_csv(folder / "outcomes.csv", index=False)
    write_json(Path("metrics/plan.json"), metrics)


if __name__ == "__main__":
    main(run)
