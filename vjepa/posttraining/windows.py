"""Windows of latents for post-training: episodes seen through the frozen encoder once, and which windows are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vjepa.data.clips import ClipDraws
from vjepa.data.episode import Episode
from vjepa.errors import DataError, UserError
from vjepa.posttraining.world_model import WorldModel

ENCODE_BATCH = 64

Between = Callable[[np.ndarray], np.ndarray]
"""`Layout.actions_between`: states `float32 [T, S]` -> the actions `[T - 1, A]` that lead from each to the next."""


class LatentEpisodes:
    """Episodes seen through a frozen encoder: latents, states and actions of every frame, computed once.

    Args:
        model: gives the latents.
        episodes: of the data.
        what: they are, for the progress bar.
        strides: frames from one step of a window to the next.
        between: actions over several frames are what it says of the states at both ends; None: they are recorded
            commands.

    Attributes:
        tokens: `pooled_tokens` of each episode, `[T, N, D]`.
        states: `[T, S]` each.
        actions: by stride `[T - stride, A]` each: from every frame to the one `stride` later.

    Raises:
        UserError: commands are asked for over more than one frame: what several of them do together is not known.
    """

    def __init__(
        self,
        model: WorldModel,
        episodes: Sequence[Episode],
        what: str,
        strides: Sequence[int] = (1,),
        between: Between | None = None,
    ) -> None:
        longer = [stride for stride in strides if stride > 1]
        self.actions = {1: [torch.from_numpy(e.actions) for e in episodes]}
        for stride in longer:
            if between is None:
                raise UserError(
                    f"posttrain.strides has {longer}, but the actions are recorded commands, one for each frame, which "
                    "can't be joined; set posttrain.strides to [1]"
                )
            self.actions[stride] = [torch.from_numpy(actions_over(e.states, stride, between)) for e in episodes]
        self.states = [torch.from_numpy(e.states) for e in episodes]
        self.tokens = [self._tokens(model, e.frames) for e in track(episodes, f"posttrain: encode {what}")]

    @staticmethod
    @torch.no_grad()
    def _tokens(model: WorldModel, frames: np.ndarray) -> Tensor:
        parts = torch.from_numpy(frames).split(ENCODE_BATCH)
        return torch.cat([model.pooled_tokens(part.to(model.device)).cpu() for part in parts])

    def windows(
        self,
        model: WorldModel,
        chosen: np.ndarray,
        starts: np.ndarray,
        frames: int,
        strides: np.ndarray | int = 1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of the episodes `chosen` that begin at `starts`.

        Args:
            model: whose statistics the latents are scaled by.
            chosen: `int64 [B]`.
            starts: `int64 [B]`.
            frames: in a window, T.
            strides: `int64 [B]`, frames of the episode from one of the window to the next; or one for all windows.

        Returns:
            Latents `[B, T, N, D]`, actions `[B, T - 1, A]` and states `[B, T, S]`.
        """
        strides = np.broadcast_to(strides, starts.shape)
        spans = list(zip(chosen, starts, starts + (frames - 1) * strides, strides, strict=True))
        tokens = torch.stack([self.tokens[i][first : last + 1 : stride] for i, first, last, stride in spans])
        actions = torch.stack([self.actions[stride][i][first:last:stride] for i, first, last, stride in spans])
        states = torch.stack([self.states[i][first : last + 1 : stride] for i, first, last, stride in spans])
        tokens, actions, states = (part.to(model.device) for part in (tokens, actions, states))
        return (tokens - model.latent_mean) / model.latent_scale, actions, states


def actions_over(states: np.ndarray, stride: int, between: Between) -> np.ndarray:
    """The action from each frame to the one `stride` later: `float32 [T, S] -> [T - stride, A]`."""
    parts = [between(states[first::stride]) for first in range(min(stride, len(states)))]
    found = np.empty((max(0, len(states) - stride), parts[0].shape[1]), np.float32)
    for first, part in enumerate(parts):
        found[first::stride] = part
    return found


class WindowDraws:
    """Draws windows, each of a stride by chance, by step number alone, as `ClipDraws` does.

    Args:
        lengths: `int64 [E]`, frames of each episode.
        frames: in a window.
        strides: frames from one of a window to the next; all are drawn alike.
        seed: a step's windows depend on the seed and the step alone.

    Raises:
        DataError: no episode is long enough for one of the strides.
    """

    def __init__(self, lengths: np.ndarray, frames: int, strides: Sequence[int], seed: int) -> None:
        self.seed, self.strides = seed, np.array(strides, np.int64)
        try:
            self.draws = [ClipDraws(lengths, frames, stride, seed) for stride in strides]
        except DataError as error:
            raise DataError(f"{error}: posttrain.strides {list(strides)} with posttrain.frames {frames}") from error

    def draw(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Episodes, first frames and strides of the windows at `step`: three `int64 [size]`."""
        kinds = np.random.default_rng((self.seed, step, 4)).integers(len(self.strides), size=size)
        drawn = np.array([draws.draw(step, size) for draws in self.draws])
        chosen, starts = drawn[kinds, :, np.arange(size)].T
        return chosen, starts, self.strides[kinds]
