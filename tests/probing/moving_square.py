"""A toy world: a square, coloured by its task, whose place in the picture is the hand's x (column) and z (row)."""

import numpy as np

from vjepa.data.episode import Episode
from vjepa.data.layout import POSES

SIZE, FRAMES = 16, 8
TASKS = {"redden": (230, 40, 40), "darken": (10, 10, 40)}


def moving_square(number: int, step: tuple[float, float, float], task: str = "redden") -> Episode:
    """An episode whose hand starts in the middle and moves by `step` m between two frames."""
    states = np.zeros((FRAMES, 7), np.float32)
    states[:, :3] = np.arange(FRAMES)[:, None] * np.array(step) - np.array(step) * (FRAMES - 1) / 2
    frames = np.full((FRAMES, SIZE, SIZE, 3), 90, np.uint8)
    for frame, (x, _, z) in zip(frames, states[:, :3], strict=True):
        column, row = (int(np.clip(SIZE / 2 + 20 * place, 2, SIZE - 2)) for place in (x, -z))
        frame[row - 2 : row + 2, column - 2 : column + 2] = TASKS[task]
    return Episode(f"square-{number:03d}", task, frames, np.arange(FRAMES) / 8, states, POSES.actions_between(states))


def moving_squares(count: int, seed: int = 0) -> list[Episode]:
    """Episodes that move left, right, down or up, and of either task, in all combinations and at random speeds."""
    rng = np.random.default_rng(seed)
    ways = np.array([(-1, 0, 0), (1, 0, 0), (0, 0, -1), (0, 0, 1)])
    tasks = list(TASKS)
    return [
        moving_square(i, tuple(ways[i % 4] * rng.uniform(0.04, 0.08)), tasks[i // 4 % len(tasks)]) for i in range(count)
    ]
