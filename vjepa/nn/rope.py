"""3D rotary position embedding of V-JEPA 2 (paper, sec. 2.1), as its released weights need it.

The channels of a head are cut in four: time, row, column, and a rest that is not rotated. Within a part of n channels,
adjacent channels (2k, 2k + 1) are rotation partners, but the released 2.0 models lay the n/2 angles out TILED
(w0 .. wm, w0 .. wm) rather than each twice, so the partners turn by different angles and the map is not a pure
rotation. Their weights depend on that, and `transformers` does the same. V-JEPA 2.1 gives each angle twice. Which of
the two a network needs is part of its configuration.
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_channels(head_dim: int) -> int:
    """Channels that each of the three axes takes of a head: even, and 3 x it is at most `head_dim`."""
    return 2 * (head_dim // 3 // 2)


def require_heads(width: int, heads: int) -> None:
    """Raise ValueError where the heads can't share a width, or leave each too few channels for three axes."""
    if heads < 1 or width % heads or width // heads < 6 or width // heads % 2:
        raise ValueError(f"{heads} heads can't share a width of {width}: each needs 6 channels or more, an even number")


def rope_tables(positions: Tensor, head_dim: int, tiled: bool = True) -> tuple[Tensor, Tensor]:
    """Cosines and sines for tokens at `positions`.

    Args:
        positions: `[..., N, 3]`, time step, row and column of each token, in patch units. A token at row and column 0
            is rotated in time alone: that is how action and state tokens are placed.
        head_dim: channels of a head.
        tiled: whether the angles of an axis are tiled (V-JEPA 2) or each given twice (2.1).

    Returns:
        Two `float32 [..., N, head_dim]`; the rest channels have cosine 1 and sine 0. The sines carry the sign of the
        pairing (minus on even channels), which saves `rotate` a pass over the queries and keys.
    """
    channels = axis_channels(head_dim)
    exponent = torch.arange(channels // 2, device=positions.device, dtype=torch.float32) / (channels / 2)
    omega = 10000.0**-exponent
    angles = positions.float().unsqueeze(-1) * omega  # [..., N, 3, channels / 2]
    angles = torch.cat([angles, angles], dim=-1) if tiled else angles.repeat_interleave(2, dim=-1)
    angles = angles.flatten(-2)
    tail = angles.new_zeros(*angles.shape[:-1], head_dim - 3 * channels)
    angles = torch.cat([angles, tail], dim=-1)
    sign = torch.tensor([-1.0, 1.0], device=positions.device).repeat(head_dim // 2)
    return angles.cos(), angles.sin() * sign


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys `[..., B, heads, N, head_dim]` by tables that broadcast to that shape, in float32."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    partner = torch.stack([odd, even], dim=-1).flatten(-2)
    return torch.addcmul(x * cos, partner, sin).to(x.dtype)


def grid_positions(steps: int, rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Positions `int64 [steps * rows * columns, 3]` of a clip's tokens, in the order (time, row, column)."""
    axes = [torch.arange(size, device=device) for size in (steps, rows, columns)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def stretch_positions(positions: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """Rows and columns stretched to the range 0 to `side` - 1 of a square grid, time as it is (V-JEPA 2.1).

    Args:
        positions: `[..., 3]`, time step, row and column.
        rows: of the grid that they count on; a single row or column stays at 0.
        columns: likewise.
        side: of the grid that the network was trained on.

    Returns:
        `float32 [..., 3]`.
    """
    span = torch.tensor([1, side - 1, side - 1], device=positions.device)
    return positions * span / torch.tensor([1, max(rows - 1, 1), max(columns - 1, 1)], device=positions.device)
