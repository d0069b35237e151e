"""Clips of episodes, drawn by step number alone, so that a resumed run sees what it would have seen.

What is drawn hangs on the episodes' lengths and not on where their frames are: in memory (`LoadedEpisodes`) or in
shards (`vjepa.data.episode_store.EpisodeStore`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vjepa.data.episode import Episode
from vjepa.errors import DataError


@dataclass
class ClipBatch:
    """Clips of one batch.

    Attributes:
        frames: `uint8 [B, T, H, W, 3]`.
        states: `float32 [B, T, S]`.
        episodes: `int64 [B]`, index into the source's episodes.
        starts: `int64 [B]`, frame of the episode at which the clip starts.
    """

    frames: np.ndarray
    states: np.ndarray
    episodes: np.ndarray
    starts: np.ndarray


class ClipSource(Protocol):
    """Episodes that clips are cut from.

    Attributes:
        lengths: `int64 [E]`, frames of each episode.
        shards: `int64 [E]`, number of the shard that holds each of them.
    """

    lengths: np.ndarray
    shards: np.ndarray

    def clip(self, episode: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames `uint8 [T, H, W, 3]` and states `float32 [T, S]` of an episode at the places `at`, `int64 [T]`."""


class LoadedEpisodes:
    """Episodes in memory as a source of clips."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.episodes = episodes
        self.lengths = np.array([len(episode.frames) for episode in episodes], np.int64)
        self.shards = np.zeros(len(episodes), np.int64)

    def clip(self, episode: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `ClipSource`."""
        return self.episodes[episode].frames[at], self.episodes[episode].states[at]


class ClipDraws:
    """Draws clips of `frames` frames, `stride` sampled frames apart: any episode, any start, alike at every step.

    Args:
        lengths: `int64 [E]`, frames of each episode; those shorter than a clip are never drawn.
        seed: the batch of a step depends on the seed and the step alone.

    Raises:
        DataError: no episode is long enough.
    """

    def __init__(self, lengths: np.ndarray, frames: int, stride: int, seed: int) -> None:
        self.lengths, self.frames, self.stride, self.seed = lengths, frames, stride, seed
        self.span = (frames - 1) * stride + 1
        self.usable: np.ndarray = np.flatnonzero(lengths >= self.span)
        if len(self.usable) == 0:
            raise DataError(f"none of {len(lengths)} episodes has the {self.span} frames that a clip spans")

    def draw(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Episodes and start frames of the batch at `step`: two `int64 [size]`."""
        rng = np.random.default_rng((self.seed, step))
        chosen = self.usable[rng.integers(len(self.usable), size=size)]
        return chosen, rng.integers(self.room(chosen))

    def room(self, chosen: np.ndarray) -> np.ndarray:
        """In how many places a clip can start, in each of these episodes."""
        return self.lengths[chosen] - self.span + 1

    def cut_from(self, source: ClipSource, chosen: np.ndarray, starts: np.ndarray) -> ClipBatch:
        """The clips that start at `starts` in the episodes `chosen`."""
        within = np.arange(self.frames) * self.stride
        clips = [source.clip(int(i), within + start) for i, start in zip(chosen, starts, strict=True)]
        return ClipBatch(np.stack([c[0] for c in clips]), np.stack([c[1] for c in clips]), chosen, starts)


class EpochDraws(ClipDraws):
    """Draws every usable episode once an epoch, at a start by chance, so that batches in a row touch few shards.

    The shards are shuffled, `window` of them at a time are opened, and their episodes shuffled among each other: a
    larger window mixes better, a smaller one reads less. All of it hangs on the seed and the epoch's number.

    Args:
        lengths: as for `ClipDraws`.
        shards: `int64 [E]`, the shard of each episode.
        window: shards from which a batch is drawn.
    """

    def __init__(
        self, lengths: np.ndarray, shards: np.ndarray, window: int, frames: int, stride: int, seed: int
    ) -> None:
        super().__init__(lengths, frames, stride, seed)
        self.shards, self.window = shards, window
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """See `ClipDraws`; the size of batches must be the same at all steps."""
        numbers = np.arange(step * size, (step + 1) * size)
        epochs, places = np.divmod(numbers, len(self.usable))
        parts = [(self.epoch(int(epoch)), places[epochs == epoch]) for epoch in np.unique(epochs)]
        chosen, starts = (np.concatenate([drawn[i][at] for drawn, at in parts]) for i in range(2))
        return chosen, starts

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Episodes and starts of a whole epoch, in order."""
        if number not in self._drawn:
            rng = np.random.default_rng((self.seed, number, 3))  # what a step draws for itself ends in 1 or 2
            rank = rng.permutation(self.shards.max() + 1)[self.shards[self.usable]]
            chosen = self.usable[np.lexsort((rng.random(len(self.usable)), rank // self.window))]
            before = {n: drawn for n, drawn in self._drawn.items() if n == number - 1}  # batches lie across two epochs
            self._drawn = before | {number: (chosen, rng.integers(self.room(chosen)))}
        return self._drawn[number]


class ClipSampler(ClipDraws):
    """Draws and cuts clips of episodes in memory."""

    def __init__(self, episodes: Sequence[Episode], frames: int, stride: int, seed: int) -> None:
        self.episodes, self.source = episodes, LoadedEpisodes(episodes)
        super().__init__(self.source.lengths, frames, stride, seed)

    def batch(self, step: int, size: int) -> ClipBatch:
        """The batch of `size` clips at `step`."""
        return self.cut(*self.draw(step, size))

    def cut(self, chosen: np.ndarray, starts: np.ndarray) -> ClipBatch:
        """The clips that start at `starts` in the episodes `chosen`."""
        return self.cut_from(self.source, chosen, starts)

    def every(self, per_episode: int) -> ClipBatch:
        """For evaluation: `per_episode` clips of each usable episode, spread evenly over it (fewer if it is short)."""
        pairs = []
        for i in self.usable:
            room = self.lengths[i] - self.span
            pairs += [(i, start) for start in np.unique(np.linspace(0, room, per_episode).round().astype(int))]
        chosen, starts = np.array(pairs, np.int64).T
        return self.cut(chosen, starts)
