"""Many episodes by several processes, in an order and with contents that do not depend on how many processes."""

from __future__ import annotations

from collections.abc import Iterator

from vjepa.config import CollectConfig
from vjepa.errors import UserError
from vjepa.processes import worker_pool
from vjepa.sim.arm import MAX_MOVE
from vjepa.sim.behaviours import Recording, record_episode
from vjepa.sim.tasks import sentence_of

EPISODES_PER_JOB = 8  # of one task, so that a process builds few scenes; 6 MB at 128 px and 16 frames

Job = tuple[CollectConfig, str, int, range]


def collect_episodes(config: CollectConfig, seed: int) -> Iterator[tuple[str, Recording]]:
    """Every episode that the settings ask for, task after task: the task's sentence and the recording.

    Raises:
        UserError: a setting can't be used, there is no way to render, or a process was killed.
    """
    check(config)
    jobs = list(jobs_of(config, seed))
    with worker_pool(config.workers, "set collect.workers lower") as pool:
        for job, recordings in zip(jobs, pool.map(record_job, jobs), strict=True):
            for recording in recordings:
                yield sentence_of(job[1]), recording


def check(config: CollectConfig) -> None:
    """Refuse settings that would only fail, or mislead, after a while."""
    for task, episodes in config.tasks.items():
        sentence_of(task)
        if episodes < 1:
            raise UserError(f"collect.tasks: {task} has {episodes} episodes; leave it out or ask for at least 1")
    if not config.tasks:
        raise UserError("collect.tasks is empty: name at least one Meta-World task, e.g. reach-v3: 100")
    if config.max_move > MAX_MOVE:
        raise UserError(f"collect.max_move is {config.max_move} m; the hand follows at most {MAX_MOVE} m a frame")
    if config.image_size % 2 or not 16 <= config.image_size <= 640:
        raise UserError(f"collect.image_size is {config.image_size}; it must be even and between 16 and 640 pixels")
    if config.frames < 2 or config.steps_per_frame < 1 or config.workers < 1:
        raise UserError("collect: frames must be 2 or more, steps_per_frame and workers 1 or more")
    if min(config.waypoint_share, config.expert_share, 1 - config.waypoint_share - config.expert_share) < 0:
        raise UserError("collect: waypoint_share and expert_share must be between 0 and 1, and 1 at most together")


def jobs_of(config: CollectConfig, seed: int) -> Iterator[Job]:
    """The episodes in portions, each of one task; episodes are counted through over all tasks."""
    first = 0
    for task, episodes in config.tasks.items():
        stop = first + episodes
        for start in range(first, stop, EPISODES_PER_JOB):
            yield config, task, seed, range(start, min(start + EPISODES_PER_JOB, stop))
        first = stop


def record_job(job: Job) -> list[Recording]:
    """Record a portion, in a process of its own."""
    config, task, seed, episodes = job
    return [record_episode(config, task, seed, index) for index in episodes]
