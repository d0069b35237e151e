"""The predictor of pretraining: from the context's features to those of the masked tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, BlockStack, initialise
from vjepa.nn.rope import require_heads, rope_tables


class Predictor(BlockStack):
    """A narrow transformer over context tokens and mask tokens, each at its own position (paper, sec. 2.1).

    With the last five arguments it is the one of V-JEPA 2.1 (arXiv 2603.14482), which predicts several levels of the
    encoder at once and reads visible tokens out with a head of their own.

    Args:
        encoder_width: features of the context's tokens, D: with several levels that of all of them together.
        width: features inside the predictor, P.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden over input width of a block's MLP.
        mask_tokens: learned mask tokens. The released models have one for each pair of mask generator and data source;
            one that was trained on a single length of clips has used none but the first.
        tiled_rope: as in the encoder.
        output_width: features that are predicted; None: `encoder_width`. The distilled models predict their teacher's.
        levels: levels of the encoder that lie side by side in the context.
        context_head: whether visible tokens have a read-out of their own.
        modalities: whether a learned vector tells images and clips apart.
    """

    def __init__(
        self,
        encoder_width: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        mask_tokens: int = 1,
        tiled_rope: bool = True,
        output_width: int | None = None,
        levels: int = 1,
        context_head: bool = False,
        modalities: bool = False,
    ) -> None:
        super().__init__()
        require_heads(width, heads)
        if encoder_width % levels:
            raise ValueError(f"{encoder_width} features are not {levels} levels of one width")
        self.encoder_width, self.width, self.depth, self.heads = encoder_width, width, depth, heads
        self.mlp_ratio, self.tiled_rope, self.levels = mlp_ratio, tiled_rope, levels
        self.output_width = encoder_width if output_width is None else output_width
        level = encoder_width // levels
        self.predictor_embed: nn.Module = nn.Linear(encoder_width, width)
        if levels > 1:
            self.predictor_embed = nn.Sequential(nn.Linear(encoder_width, level), nn.GELU(), nn.Linear(level, width))
        self.mask_tokens = nn.Parameter(torch.zeros(mask_tokens, 1, 1, width))
        if modalities:
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, width))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.predictor_blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.predictor_proj = nn.Linear(width, self.output_width)
        if context_head:
            self.predictor_proj_context = nn.Linear(width, self.output_width)
        initialise(self, self.predictor_blocks)
        if modalities:
            nn.init.normal_(self.img_mod_embed, std=1e-6)
            nn.init.normal_(self.video_mod_embed, std=1e-6)

    @property
    def context_head(self) -> bool:
        """Whether visible tokens have a read-out of their own."""
        return hasattr(self, "predictor_proj_context")

    @property
    def modalities(self) -> bool:
        """Whether a learned vector tells images and clips apart."""
        return hasattr(self, "video_mod_embed")

    def forward(
        self, context: Tensor, context_ids: Tensor, target_ids: Tensor, positions: Tensor, mask_token: int = 0
    ) -> Tensor:
        """Predict the features of the masked tokens.

        Args:
            context: `[B, K, D]`, the context encoder's output.
            context_ids: `int64 [B, K]`.
            target_ids: `int64 [B, M]`.
            positions: `[N, 3]` of all the clip's tokens (`grid_positions`).
            mask_token: which of the mask tokens stands at the targets. `transformers` takes number 1.

        Returns:
            `[B, M, D]`, in the order of `target_ids`.
        """
        return self.predict_all(context, context_ids, target_ids, positions, mask_token)[:, context.shape[1] :]

    def predict_all(
        self,
        context: Tensor,
        context_ids: Tensor,
        target_ids: Tensor,
        positions: Tensor,
        mask_token: int = 0,
        image: bool = False,
    ) -> Tensor:
        """As `forward`, for the context tokens as well: `[B, K + M, D]`, those of the context first.

        Without a head for them one serves both, so that the weights stay those of V-JEPA 2. `image` tells a network
        with modalities that the tokens are those of an image.
        """
        masked = self.mask_tokens[mask_token].expand(*target_ids.shape, -1)
        x = torch.cat([self.predictor_embed(context), masked], dim=1)
        if self.modalities:
            x = x + (self.img_mod_embed if image else self.video_mod_embed)
        ids = torch.cat([context_ids, target_ids], dim=1)
        cos, sin = rope_tables(positions[ids], self.width // self.heads, self.tiled_rope)
        rope = (cos.unsqueeze(1), sin.unsqueeze(1))
        for block in self.predictor_blocks:
            x = self.run_block(block, x, rope)
        x = self.predictor_norm(x)
        if not self.context_head:
            return self.predictor_proj(x)
        seen, hidden = x.split([context_ids.shape[1], target_ids.shape[1]], dim=1)
        return torch.cat([self.predictor_proj_context(seen), self.predictor_proj(hidden)], dim=1)
