"""What the states of a clip say about it: where the hand ends and which way it moved. No torch, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vjepa.data.clips import ClipSampler

DIRECTIONS = (("left", "right"), ("back", "forward"), ("down", "up"))
"""Words for a negative and a positive displacement along x, y and z, as the robot sees it: +y is ahead, +z is up."""


@dataclass
class ClipTable:
    """Every clip that a sampler can cut, and its facts.

    Attributes:
        episodes: `int64 [M]`, index into the sampler's episodes.
        starts: `int64 [M]`, frame of the episode at which the clip starts.
        displacement: `float32 [M, 3]`, the hand at the clip's last frame minus at its first, m.
        hand: `float32 [M, 3]`, the hand at the clip's last frame, m.
        halves: `float32 [M, 2]`, how far the hand gets in the first and in the second half of the clip, m.
        tasks: `<U [M]`, the episode's task sentence.
    """

    episodes: np.ndarray
    starts: np.ndarray
    displacement: np.ndarray
    hand: np.ndarray
    halves: np.ndarray
    tasks: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, index: np.ndarray) -> ClipTable:
        """Some of the clips, by their number or by a mask."""
        return ClipTable(*(getattr(self, field.name)[index] for field in fields(self)))


def tabulate(sampler: ClipSampler, pose: bool = True) -> ClipTable:
    """The facts of every clip of the sampler's usable episodes, in the order (episode, start).

    Without hand poses nothing is known of the hand: it stays at 0, which no question asks about.
    """
    rooms = [len(sampler.episodes[i].frames) - sampler.span + 1 for i in sampler.usable]
    episodes = np.repeat(sampler.usable, rooms)
    starts = np.concatenate([np.arange(room) for room in rooms])
    states = [sampler.episodes[i].states for i in sampler.usable]
    positions = [of_one[:, :3] if pose else np.zeros((len(of_one), 3), np.float32) for of_one in states]
    at_first, at_middle, at_last = (
        np.concatenate([p[offset : offset + room] for p, room in zip(positions, rooms, strict=True)])
        for offset in (0, (sampler.span - 1) // 2, sampler.span - 1)
    )
    halves = np.stack([np.linalg.norm(at_middle - at_first, axis=1), np.linalg.norm(at_last - at_middle, axis=1)], 1)
    tasks = np.repeat([sampler.episodes[i].task for i in sampler.usable], rooms)
    return ClipTable(episodes, starts, at_last - at_first, at_last, halves, tasks)


def main_direction(displacement: np.ndarray, min_move: float) -> np.ndarray:
    """The one of six directions in which the hand moved farthest.

    Args:
        displacement: `float [M, 3]`, m.
        min_move: m; a shorter way along that axis is no clear motion.

    Returns:
        `int64 [M]`: 2 * axis + 1 for the axis's positive direction, 2 * axis for its negative one, -1 if unclear.
    """
    axis = np.abs(displacement).argmax(1)
    along = np.take_along_axis(displacement, axis[:, None], 1)[:, 0]
    return np.where(np.abs(along) >= min_move, 2 * axis + (along > 0), -1)
