"""The attentive probe: what a frozen encoder's tokens say about a clip (paper, sec. 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, Mlp, initialise


class CrossAttentionBlock(nn.Module):
    """Learned queries read the tokens; no output projection, as in V-JEPA 2's pooler."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """`[B, Q, D]` and `[B, N, D]` -> `[B, Q, D]`."""
        query = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(self.norm1(tokens)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = queries + F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.mlp(self.norm2(x))


def position_table(grid: tuple[int, int, int], width: int) -> Tensor:
    """Sines and cosines of time step, row and column, a sixth of the width each: `[steps * rows * columns, width]`."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), dim=-1).reshape(-1, 3, 1)
    waves = width // 6
    angles = (places * 10_000.0 ** (-torch.arange(waves) / waves)).flatten(1)
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width - 6 * waves))


class AttentiveProbe(nn.Module):
    """`depth - 1` self-attention blocks, then one learned query that reads the tokens, then a linear read-out.

    Beyond the paper, for encoders far below its size (`grid`): every token is told its time and place, since small
    encoders hardly keep them.

    Args:
        grid: time steps, rows and columns of the tokens; None: as in the paper, for tokens of any number.
        width: features of a token, D.
        heads: attention heads.
        depth: blocks, the cross-attention one included (the paper's probes have 4).
        outputs: classes or regressed numbers.
        mlp_ratio: hidden over input width of a block's MLP.
        norm_eps: of all layer norms; the official probes were trained with 1e-5.
    """

    positions: Tensor | None

    def __init__(
        self,
        grid: tuple[int, int, int] | None,
        width: int,
        heads: int,
        depth: int,
        outputs: int,
        mlp_ratio: float = 4.0,
        norm_eps: float = LAYER_NORM_EPS,
    ) -> None:
        super().__init__()
        self.heads, self.mlp_ratio, self.norm_eps = heads, mlp_ratio, norm_eps
        table = None if grid is None else position_table(grid, width)
        self.register_buffer("positions", table, persistent=False)
        self.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, norm_eps) for _ in range(depth - 1))
        self.cross_attention_block = CrossAttentionBlock(width, heads, mlp_ratio, norm_eps)
        self.linear = nn.Linear(width, outputs)
        initialise(self, self.blocks)
        nn.init.trunc_normal_(self.query_tokens, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, D] -> [B, outputs]`."""
        return self.linear(self.pool(tokens))

    def pool(self, tokens: Tensor) -> Tensor:
        """What the query reads from the tokens: `[B, N, D] -> [B, D]`."""
        if self.positions is not None:
            tokens = tokens + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.cross_attention_block(self.query_tokens.expand(len(tokens), -1, -1), tokens).squeeze(1)
