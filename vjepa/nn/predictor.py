"""The predictor of pretraining: from the context's features to those of the masked tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, initialise
from vjepa.nn.rope import rope_tables


class Predictor(nn.Module):
    """A narrow transformer over context tokens and mask tokens, each at its own position (paper, sec. 2.1).

    Args:
        encoder_width: features of the encoder's tokens, D.
        width: features inside the predictor, P.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden over input width of a block's MLP.
    """

    def __init__(self, encoder_width: int, width: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.head_dim, self.mlp_ratio = width // heads, mlp_ratio
        self.predictor_embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.predictor_blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.predictor_proj = nn.Linear(width, encoder_width)
        initialise(self, self.predictor_blocks)

    def forward(self, context: Tensor, context_ids: Tensor, target_ids: Tensor, positions: Tensor) -> Tensor:
        """Predict the features of the masked tokens.

        Args:
            context: `[B, K, D]`, the context encoder's output.
            context_ids: `int64 [B, K]`.
            target_ids: `int64 [B, M]`.
            positions: `[N, 3]` of all the clip's tokens (`grid_positions`).

        Returns:
            `[B, M, D]`, in the order of `target_ids`.
        """
        return self.predict_all(context, context_ids, target_ids, positions)[:, context.shape[1] :]

    def predict_all(self, context: Tensor, context_ids: Tensor, target_ids: Tensor, positions: Tensor) -> Tensor:
        """As `forward`, for the context tokens as well: `[B, K + M, D]`, those of the context first.

        V-JEPA 2.1 has a second read-out for them; here one serves both, so that the weights stay those of V-JEPA 2.
        """
        masked = self.mask_token.expand(*target_ids.shape, -1)
        x = torch.cat([self.predictor_embed(context), masked], dim=1)
        ids = torch.cat([context_ids, target_ids], dim=1)
        cos, sin = rope_tables(positions[ids], self.head_dim)
        rope = (cos.unsqueeze(1), sin.unsqueeze(1))
        for block in self.predictor_blocks:
            x = block(x, rope)
        return self.predictor_proj(self.predictor_norm(x))
