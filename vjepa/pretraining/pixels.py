"""Masked pixels instead of latents (VideoMAE, arXiv 2203.12602): the arm beside which latents must earn their place.

Everything else is as in V-JEPA 2: clips, masks, networks, schedule. What is predicted are the pixels of the masked
tubelets, each normalised by its own mean and deviation over all colours as in MAE (arXiv 2111.06377), and the loss is
the squared error. (VideoMAE normalises each colour alone; of flat surfaces, of which simulated scenes are full, nothing
but noise is left then.) No teacher is needed; the moving average of the encoder is what is kept, so that both arms keep
the same thing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.nn.encoder import VisionTransformer, gather_tokens
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions
from vjepa.pretraining.loss import Masks, Networks

EPSILON = 1e-6  # of a patch's variance: MAE's


def pixel_targets(video: Tensor, patch: int, tubelet: int) -> Tensor:
    """Normalised pixels of every token: `[B, 3, T, H, W] -> [B, N, tubelet * patch * patch * 3]`, in tokens' order."""
    by_time = video.unflatten(2, (-1, tubelet)).unflatten(4, (-1, patch)).unflatten(6, (-1, patch))
    tokens = by_time.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)
    deviation = (tokens.var(-1, keepdim=True) + EPSILON).sqrt()
    return (tokens - tokens.mean(-1, keepdim=True)) / deviation


def masked_pixel_loss(
    encoder: VisionTransformer, predictor: Predictor, video: Tensor, masks: Masks, target_video: Tensor
) -> Tensor:
    """Mean squared error of the masked tokens' pixels; arguments as those of `jepa_loss`."""
    targets = pixel_targets(target_video, encoder.patch, encoder.tubelet)
    positions = grid_positions(*encoder.token_grid(video), video.device)
    losses = []
    for context_ids, target_ids in masks:
        context = encoder.forward_levels(video, context_ids)
        predicted = predictor(context, context_ids, target_ids, positions)
        losses.append(F.mse_loss(predicted, gather_tokens(targets, target_ids)))
    return torch.stack(losses).mean()


class PixelObjective(Networks):
    """An encoder and a predictor of pixels with their loss, in the place of `JepaObjective`."""

    def forward(self, seen: Tensor, target: Tensor, masks: Masks) -> tuple[Tensor, None]:
        """See `masked_pixel_loss`; no features of a teacher come with it."""
        return masked_pixel_loss(self.context_encoder, self.predictor, seen, masks, target), None
