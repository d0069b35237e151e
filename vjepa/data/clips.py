"""Clips out of episodes held in memory, drawn by step number so that a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vjepa.data.episode import Episode
from vjepa.errors import DataError


@dataclass
class ClipBatch:
    """Clips of one batch.

    Attributes:
        frames: `uint8 [B, T, H, W, 3]`.
        states: `float32 [B, T, S]`.
        episodes: `int64 [B]`, index into the sampler's episodes.
        starts: `int64 [B]`, frame of the episode at which the clip starts.
    """

    frames: np.ndarray
    states: np.ndarray
    episodes: np.ndarray
    starts: np.ndarray


class ClipSampler:
    """Draws clips of `frames` frames, `stride` sampled frames apart.

    Args:
        episodes: shorter ones than a clip are never drawn.
        seed: the batch of a step depends on the seed and the step alone.

    Raises:
        DataError: no episode is long enough.
    """

    def __init__(self, episodes: Sequence[Episode], frames: int, stride: int, seed: int) -> None:
        self.episodes, self.frames, self.stride, self.seed = episodes, frames, stride, seed
        self.span = (frames - 1) * stride + 1
        self.usable = np.array([i for i, e in enumerate(episodes) if len(e.frames) >= self.span], np.int64)
        if len(self.usable) == 0:
            raise DataError(f"none of {len(episodes)} episodes has the {self.span} frames that a clip spans")

    def draw(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Episodes and start frames of the batch at `step`: two `int64 [size]`."""
        rng = np.random.default_rng((self.seed, step))
        chosen = self.usable[rng.integers(len(self.usable), size=size)]
        room = np.array([len(self.episodes[i].frames) - self.span + 1 for i in chosen])
        return chosen, rng.integers(room)

    def batch(self, step: int, size: int) -> ClipBatch:
        """The batch of `size` clips at `step`."""
        chosen, starts = self.draw(step, size)
        return self.cut(chosen, starts)

    def cut(self, chosen: np.ndarray, starts: np.ndarray) -> ClipBatch:
        """The clips that start at `starts` in the episodes `chosen`."""
        index = [np.arange(self.frames) * self.stride + start for start in starts]
        frames = np.stack([self.episodes[i].frames[at] for i, at in zip(chosen, index, strict=True)])
        states = np.stack([self.episodes[i].states[at] for i, at in zip(chosen, index, strict=True)])
        return ClipBatch(frames, states, chosen, starts)

    def every(self, per_episode: int) -> ClipBatch:
        """For evaluation: `per_episode` clips of each usable episode, spread evenly over it (fewer if it is short)."""
        pairs = []
        for i in self.usable:
            room = len(self.episodes[i].frames) - self.span
            pairs += [(i, start) for start in np.unique(np.linspace(0, room, per_episode).round().astype(int))]
        chosen, starts = np.array(pairs, np.int64).T
        return self.cut(chosen, starts)
