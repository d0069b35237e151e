"""The encoder: a video ViT with 3D RoPE that runs on all tokens of a clip or on the ones that a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.nn.blocks import LAYER_NORM_EPS, Block, BlockStack, initialise
from vjepa.nn.rope import grid_positions, require_heads, rope_tables, stretch_positions

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
MIN_FEATURE_SCALE = 0.05
"""Of the deviation by which layer-normalised features, whose own is 1, are scaled: what hardly varies must not be blown
up."""


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


class VisionTransformer(BlockStack):
    """The encoder of V-JEPA 2 (paper, sec. 2.1) and, with the last four arguments, of V-JEPA 2.1 (arXiv 2603.14482).

    Args:
        image_size: pixels on each side it is meant for; other sizes work, since positions come from the input.
        patch: pixels on each side of a patch.
        tubelet: frames in a tubelet.
        width: features of a token, D.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden over input width of a block's MLP.
        tiled_rope: which position encoding its weights were trained with (see `vjepa.nn.rope`).
        rope_side: stretch rows and columns to a grid of this many patches on each side; None: count patches.
        levels: blocks (from 0) whose outputs are supervised, the last one included, each with a norm of its own; empty:
            the last one alone.
        image_patches: give images a patch embedding of their own, and images and clips a learned vector that is added
            to their tokens.
    """

    def __init__(
        self,
        image_size: int,
        patch: int,
        tubelet: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        tiled_rope: bool = True,
        rope_side: int | None = None,
        levels: Sequence[int] = (),
        image_patches: bool = False,
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image size {image_size} is not a multiple of the patch size {patch}")
        require_heads(width, heads)
        if levels and (sorted(set(levels)) != list(levels) or levels[0] < 0 or levels[-1] != depth - 1):
            raise ValueError(f"levels {list(levels)} must ascend and end with the last of {depth} blocks")
        self.image_size, self.patch, self.tubelet = image_size, patch, tubelet
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.tiled_rope, self.rope_side = tiled_rope, rope_side
        self.levels, self.image_patches = tuple(levels), image_patches
        self.grid = (image_size // patch, image_size // patch)
        self.patch_embed = PatchEmbed(patch, tubelet, width)
        if image_patches:
            self.patch_embed_img = PatchEmbed(patch, 1, width)
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, width))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        if levels:
            self.norms_block = nn.ModuleList(nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in levels)
        else:
            self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        initialise(self, self.blocks)
        if image_patches:
            nn.init.normal_(self.img_mod_embed, std=1e-6)
            nn.init.normal_(self.video_mod_embed, std=1e-6)

    def forward(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode a clip, or only its visible tokens.

        Args:
            video: `float [B, 3, T, H, W]`, normalised pixels; H and W multiples of the patch. The last frame of a clip
                that ends within a tubelet is repeated, so a single frame is an image shown for a tubelet, unless the
                encoder has patches for images.
            keep: `int64 [B, K]`, ids of the visible tokens, t * H'W' + row * W' + column. None: all of them. The others
                are dropped before the first block and influence nothing.

        Returns:
            `[B, N or K, D]`.
        """
        (last,) = self._run(video, keep, (self.depth - 1,))
        return self.norms_block[-1](last) if self.levels else self.norm(last)

    def forward_levels(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """As `forward`, for all supervised blocks side by side, first to last: `[B, N or K, L * D]`."""
        if not self.levels:
            return self(video, keep)
        outputs = self._run(video, keep, self.levels)
        return torch.cat([norm(x) for norm, x in zip(self.norms_block, outputs, strict=True)], dim=-1)

    def _run(self, video: Tensor, keep: Tensor | None, levels: tuple[int, ...]) -> list[Tensor]:
        """What the blocks at `levels` give for the tokens of a clip, `[B, N or K, D]` each."""
        steps, rows, columns = self.token_grid(video)
        x, positions = self.embed(video), grid_positions(steps, rows, columns, video.device)
        if self.rope_side is not None:
            positions = stretch_positions(positions, rows, columns, self.rope_side)
        if keep is not None:
            x = gather_tokens(x, keep)
            positions = positions[keep]
        cos, sin = rope_tables(positions, self.width // self.heads, self.tiled_rope)
        if keep is not None:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # one table a clip, the same for all heads
        outputs = []
        for level, block in enumerate(self.blocks):
            x = self.run_block(block, x, (cos, sin))
            if level in levels:
                outputs.append(x)
        return outputs

    def token_grid(self, video: Tensor) -> tuple[int, int, int]:
        """Time steps, rows and columns of a clip's tokens, `[B, 3, T, H, W]`; ValueError where patches don't fit."""
        frames, height, width = video.shape[2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"{height} x {width} pixels can't be cut into patches of {self.patch}")
        return -(-frames // self.tubelet), height // self.patch, width // self.patch

    def embed(self, video: Tensor) -> Tensor:
        """Tokens of a clip before the first block, `[B, 3, T, H, W] -> [B, N, D]`."""
        frames = video.shape[2]
        image = self.image_patches and frames == 1
        if not image and frames % self.tubelet:
            missing = self.tubelet - frames % self.tubelet
            video = torch.cat([video, video[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
        x = self.patch_embed_img(video) if image else self.patch_embed(video)
        if self.image_patches:
            x = x + (self.img_mod_embed if image else self.video_mod_embed)
        return x


def normalise_pixels(frames: Tensor) -> Tensor:
    """`uint8 [B, T, H, W, 3] -> float32 [B, 3, T, H, W]` with ImageNet's mean and deviation."""
    columns = frames.shape[-2]  # whole rows at once: three values at a time take a CPU twenty times as long
    mean, std = (
        (torch.tensor(values, device=frames.device) * 255).repeat(columns) for values in (PIXEL_MEAN, PIXEL_STD)
    )
    return (frames.flatten(-2) - mean).div_(std).unflatten(-1, (columns, 3)).permute(0, 4, 1, 2, 3)


def encode_frames(encoder: VisionTransformer, frames: Tensor) -> Tensor:
    """Encode each frame alone, `uint8 [B, H, W, 3] -> [B, H'W', D]`.

    It is shown for a whole tubelet, as V-JEPA 2-AC does, or as an image to an encoder that has patches for images.
    """
    shown = 1 if encoder.image_patches else encoder.tubelet
    return encoder(normalise_pixels(frames.unsqueeze(1).expand(-1, shown, -1, -1, -1)))
