"""The encoder: a video ViT with 3D RoPE that runs on all tokens of a clip or on the ones that a mask keeps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, initialise
from vjepa.nn.rope import grid_positions, rope_tables

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


def gather_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """The tokens `[B, K, ...]` at `ids` (`int64 [B, K]`) of `[B, N, ...]`."""
    index = ids.reshape(*ids.shape, *[1] * (tokens.dim() - 2)).expand(*ids.shape, *tokens.shape[2:])
    return tokens.gather(1, index)


def pool_tokens(tokens: Tensor, grid: tuple[int, int], pool: int) -> Tensor:
    """Averages over squares of `pool` x `pool` tokens of each time step: `[B, N, D] -> [B, N / pool^2, D]`."""
    steps = tokens.shape[1] // (grid[0] * grid[1])
    frames = tokens.unflatten(1, (steps, *grid)).flatten(0, 1).permute(0, 3, 1, 2)
    pooled = F.avg_pool2d(frames, pool).flatten(2).transpose(1, 2)
    return pooled.unflatten(0, (-1, steps)).flatten(1, 2)


class PatchEmbed(nn.Module):
    """Tubelets of the clip to tokens, in the order (time, row, column)."""

    def __init__(self, patch: int, tubelet: int, width: int) -> None:
        super().__init__()
        kernel = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, width, kernel_size=kernel, stride=kernel)

    def forward(self, video: Tensor) -> Tensor:
        """`[B, 3, T, H, W] -> [B, N, D]`."""
        return self.proj(video).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """V-JEPA 2's encoder (paper, sec. 2.1).

    Args:
        image_size: pixels on each side it is meant for; other sizes work, since positions come from the input.
        patch: pixels on each side of a patch.
        tubelet: frames in a tubelet.
        width: features of a token, D.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden over input width of a block's MLP.
    """

    def __init__(
        self, image_size: int, patch: int, tubelet: int, width: int, depth: int, heads: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image size {image_size} is not a multiple of the patch size {patch}")
        self.image_size, self.patch, self.tubelet = image_size, patch, tubelet
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.grid = (image_size // patch, image_size // patch)
        self.patch_embed = PatchEmbed(patch, tubelet, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        initialise(self, self.blocks)

    def forward(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode a clip, or only its visible tokens.

        Args:
            video: `float [B, 3, T, H, W]`, normalised pixels.
            keep: `int64 [B, K]`, ids of the visible tokens, t * H'W' + row * W' + column. None: all of them. The others
                are dropped before the first block and influence nothing.

        Returns:
            `[B, N or K, D]`.
        """
        steps = video.shape[2] // self.tubelet
        rows, columns = video.shape[3] // self.patch, video.shape[4] // self.patch
        x = self.patch_embed(video)
        positions = grid_positions(steps, rows, columns, video.device)
        if keep is not None:
            x = gather_tokens(x, keep)
            positions = positions[keep]
        cos, sin = rope_tables(positions, self.width // self.heads)
        if keep is not None:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # one table a clip, the same for all heads
        for block in self.blocks:
            x = block(x, (cos, sin))
        return self.norm(x)


def normalise_pixels(frames: Tensor) -> Tensor:
    """`uint8 [B, T, H, W, 3] -> float32 [B, 3, T, H, W]` with ImageNet's mean and deviation."""
    mean = torch.tensor(PIXEL_MEAN, device=frames.device) * 255
    std = torch.tensor(PIXEL_STD, device=frames.device) * 255
    return ((frames.float() - mean) / std).permute(0, 4, 1, 2, 3)


def encode_frames(encoder: VisionTransformer, frames: Tensor) -> Tensor:
    """Encode each frame alone, shown for a whole tubelet, as V-JEPA 2-AC does: `uint8 [B, H, W, 3] -> [B, H'W', D]`."""
    return encoder(normalise_pixels(frames.unsqueeze(1).expand(-1, encoder.tubelet, -1, -1, -1)))
