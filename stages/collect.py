"""Collect simulated robot episodes as a LeRobot v3.0 data set: data/raw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stages.runner import main
from vjepa.config import CollectConfig
from vjepa.data.episode import STATE_NAMES
from vjepa.data.lerobot_writer import Column, LeRobotWriter
from vjepa.data.poses import actions_between
from vjepa.files import atomic_directory
from vjepa.sim.behaviours import Recording
from vjepa.sim.collection import collect_episodes
from vjepa.sim.scene import STEP_S

RAW = Path("data/raw")
CAMERA = "observation.images.corner"
COLUMNS = {
    "observation.state": Column("float32", STATE_NAMES),
    "action": Column("float32", STATE_NAMES),
    "next.success": Column("bool"),
}


def run(collect: CollectConfig, data_seed: int) -> None:
    """Record every episode and write them as they come."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with atomic_directory(RAW) as folder, progress:
        fps = 1 / (STEP_S * collect.steps_per_frame)
        writer = LeRobotWriter(folder, fps, CAMERA, collect.image_size, COLUMNS, robot="sawyer")
        bar = progress.add_task("episodes", total=sum(collect.tasks.values()))
        for sentence, recording in collect_episodes(collect, data_seed):
            writer.add_episode(recording.frames, columns_of(recording), sentence)
            progress.update(bar, advance=1, description=sentence)
        writer.finalize()


def columns_of(recording: Recording) -> dict[str, np.ndarray]:
    """The data set's columns: a frame's action leads to the next frame and its success is what that leads to.

    The last frame has no next one: its action is zero and its success the frame's own.
    """
    actions = actions_between(recording.states)
    return {
        "observation.state": recording.states,
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]),
        "next.success": np.append(recording.success[1:], recording.success[-1]),
    }


if __name__ == "__main__":
    main(run)
