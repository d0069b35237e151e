"""The objective of V-JEPA 2-AC (paper, eqs. 2 to 4): teacher forcing plus a rollout on the model's own predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`WorldModel.predict`."""


def teacher_forcing_loss(predict: Predict, latents: Tensor, actions: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """L1 of every next latent given the true past.

    Args:
        predict: gives the next latents of every step.
        latents: `[B, T, N, D]`.
        actions: `[B, T - 1, A]`, between them.
        states: `[B, T, S]`.

    Returns:
        The loss, and the predictions `[B, T - 1, N, D]` of steps 1 to T - 1.
    """
    predicted = predict(latents[:, :-1], actions, states[:, :-1])
    return F.l1_loss(predicted, latents[:, 1:]), predicted


def rollout_loss(
    predict: Predict, latents: Tensor, actions: Tensor, states: Tensor, first: Tensor, steps: int
) -> Tensor:
    """L1 of `steps` latents predicted one from the other, from the first true latent on, with the true states.

    `first` is the prediction `[B, N, D]` of step 1, taken from the teacher-forced pass rather than made again: that is
    the rollout as corrected after the paper's first code, which fed back the wrong slice.
    """
    rolled = [latents[:, 0], first]
    for length in range(2, steps + 1):
        context = torch.stack(rolled, dim=1)
        rolled.append(predict(context, actions[:, :length], states[:, :length])[:, -1])
    return F.l1_loss(torch.stack(rolled[1:], dim=1), latents[:, 1 : steps + 1])
