"""The objective of V-JEPA 2 (paper, eq. 1): L1 between predicted and EMA-teacher features of the masked tokens.

V-JEPA 2.1 (arXiv 2603.14482) adds the dense context loss: the same error of the visible tokens, weighted down with
their distance from the mask. In scenes that change little it keeps features from fading to what position alone tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.nn.encoder import VisionTransformer, gather_tokens
from vjepa.nn.predictor import Predictor
from vjepa.nn.rope import grid_positions

Masks = Sequence[tuple[Tensor, Tensor]]
"""Context ids `int64 [B, K]` and target ids `int64 [B, M]` of each mask generator."""


@torch.no_grad()
def target_features(target_encoder: VisionTransformer, video: Tensor) -> Tensor:
    """What is to be predicted: the teacher's features of all tokens, each layer-normalised; no gradient reaches it.

    With V-JEPA 2.1's deep supervision those of L blocks side by side, each normalised for itself: `[B, N, L * D]`.
    """
    features = target_encoder.forward_levels(video).unflatten(-1, (-1, target_encoder.width))
    return F.layer_norm(features, features.shape[-1:]).flatten(-2)


def jepa_loss(
    context_encoder: VisionTransformer,
    target_encoder: VisionTransformer,
    predictor: Predictor,
    video: Tensor,
    masks: Masks,
    context_weight: float = 0.0,
    target_video: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean absolute error of the predicted features, averaged over the mask generators.

    Args:
        context_encoder: sees only the context tokens.
        target_encoder: its exponential moving average; sees the whole clip once, for all masks.
        predictor: maps context features to those of the masked tokens.
        video: `float [B, 3, T, H, W]`, normalised pixels; images have one frame.
        masks: one pair of context and target ids a generator.
        context_weight: lambda of V-JEPA 2.1's dense context loss; 0 leaves it out.
        target_video: what the target encoder sees of the same clips, e.g. in other light; None: the same.

    Returns:
        The loss, and the targets `[B, N, D]` (of the last block, where several are predicted) for the monitors.
    """
    targets = target_features(target_encoder, video if target_video is None else target_video)
    positions = grid_positions(*context_encoder.token_grid(video), video.device)
    image = video.shape[2] == 1
    losses = []
    for context_ids, target_ids in masks:
        context = context_encoder.forward_levels(video, context_ids)
        predicted = predictor.predict_all(context, context_ids, target_ids, positions, image=image)
        seen, masked = predicted.split([context_ids.shape[1], target_ids.shape[1]], dim=1)
        loss = F.l1_loss(masked, gather_tokens(targets, target_ids))
        if context_weight > 0:
            errors = (seen - gather_tokens(targets, context_ids)).abs().mean(-1)
            distances = mask_distances(context_ids, target_ids, positions)
            loss = loss + context_weight * (errors / distances.sqrt()).mean()
        losses.append(loss)
    return torch.stack(losses).mean(), targets[..., -target_encoder.width :]


def mask_distances(context_ids: Tensor, target_ids: Tensor, positions: Tensor) -> Tensor:
    """How far each context token is from the nearest masked one, in grid units of time, row and column: `[B, K]`."""
    between = torch.cdist(positions.float(), positions.float())
    return between[context_ids.unsqueeze(2), target_ids.unsqueeze(1)].amin(2)


class Networks(nn.Module):
    """The networks of pretraining as one module that can be spread over processes; a subclass adds the loss."""

    def __init__(
        self, context_encoder: VisionTransformer, target_encoder: VisionTransformer, predictor: Predictor
    ) -> None:
        super().__init__()
        self.context_encoder, self.target_encoder, self.predictor = context_encoder, target_encoder, predictor

    def clip_features(self, video: Tensor) -> Tensor:
        """The target encoder's mean feature of each clip: `[B, 3, T, H, W] -> [B, D]`."""
        return self.token_features(video).mean(1)

    def token_features(self, video: Tensor) -> Tensor:
        """The target encoder's features of the last block: `[B, 3, T, H, W] -> [B, N, D]`."""
        return target_features(self.target_encoder, video)[..., -self.target_encoder.width :]
