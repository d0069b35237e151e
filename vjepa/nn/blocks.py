"""The transformer block that all networks share: pre-norm, fused qkv, exact GELU, no dropout; V-JEPA 2's key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.nn.rope import rotate

LAYER_NORM_EPS = 1e-6

Rope = tuple[Tensor, Tensor]
"""Cosines and sines of `vjepa.nn.rope.rope_tables`, shaped to broadcast over `[B, heads, N, head_dim]`."""


class Attention(nn.Module):
    """Multi-head self-attention; queries and keys are rotated when tables are given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: Rope | None = None, mask: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, N, D]`; `mask` is bool `[N, N]`, True where a query (row) may see a key (column)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = (qkv[:2] if rope is None else rotate(qkv[:2], *rope)).unbind(0)
        out = F.scaled_dot_product_attention(query, key, qkv[2], attn_mask=mask)
        return self.proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D] -> [..., D]`."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, norm_eps: float = LAYER_NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, rope: Rope | None = None, mask: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, N, D]`."""
        x = x + self.attn(self.norm1(x), rope, mask)
        return x + self.mlp(self.norm2(x))


class BlockStack(nn.Module):
    """A network whose depth is blocks.

    Attributes:
        recompute: activation checkpointing: keep only the blocks' inputs for the backward pass and compute the rest
            again, for a third more time.
    """

    recompute: bool = False

    def run_block(self, block: nn.Module, x: Tensor, rope: Rope, mask: Tensor | None = None) -> Tensor:
        """`[B, N, D] -> [B, N, D]`."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, x, rope, mask, use_reentrant=False)
        return block(x, rope, mask)


def initialise(module: nn.Module, blocks: nn.ModuleList) -> None:
    """V-JEPA 2's initial weights: truncated normal of 0.02, and the outputs of block i scaled by 1 / sqrt(2 i)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for i, block in enumerate(blocks, start=1):
        assert isinstance(block, Block)
        block.attn.proj.weight.data.div_((2 * i) ** 0.5)
        block.mlp.fc2.weight.data.div_((2 * i) ** 0.5)
