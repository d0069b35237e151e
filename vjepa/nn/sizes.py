"""The sizes of V-JEPA 2 and 2.1 by name: what their papers and released weights use (paper, table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vjepa.nn.action_predictor import ActionPredictor
from vjepa.nn.encoder import VisionTransformer
from vjepa.nn.predictor import Predictor

PATCH, TUBELET = 16, 2
PREDICTOR_WIDTH, PREDICTOR_HEADS = 384, 12
RELEASED_MASK_TOKENS = {"2": 10, "2.1": 8}
AC_WIDTH, AC_DEPTH, AC_HEADS, AC_ACTIONS, AC_EXTRINSICS = 1024, 24, 16, 7, 6
ROPE_SIDE = 16
"""V-JEPA 2.1 stretches every grid to that of its 256 px model."""


@dataclass(frozen=True)
class Size:
    """What makes an encoder small or large; `mlp_ratio` is hidden over input width of a block's MLP."""

    width: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0


SIZES = {
    "vit_tiny": Size(192, 12, 3),
    "vit_small": Size(384, 12, 6),
    "vit_base": Size(768, 12, 12),
    "vit_large": Size(1024, 24, 16),
    "vit_huge": Size(1280, 32, 16),
    "vit_giant": Size(1408, 40, 22, 48 / 11),
    "vit_gigantic": Size(1664, 48, 26, 64 / 13),
}
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
"""Blocks (from 0) that V-JEPA 2.1 supervises, by depth."""


def supervised_levels(depth: int, count: int) -> tuple[int, ...]:
    """The blocks that V-JEPA 2.1 supervises; at depths that it does not have, `count` evenly spread ones."""
    if count == 4 and depth in LEVELS:
        return LEVELS[depth]
    return tuple(depth * (i + 1) // count - 1 for i in range(count))


def require_known(name: str, version: str) -> None:
    """Raise ValueError for a size or a version that there is not."""
    if version not in RELEASED_MASK_TOKENS or name not in SIZES:
        raise ValueError(
            f"there is no {name} of V-JEPA {version}: {', '.join(SIZES)}; {', '.join(RELEASED_MASK_TOKENS)}"
        )
    if version != "2" and SIZES[name].depth not in LEVELS:
        raise ValueError(f"V-JEPA {version} has no {name}")


def named_encoder(name: str, image_size: int = 256, version: str = "2") -> VisionTransformer:
    """The encoder of a size in `SIZES`, with fresh weights.

    Args:
        name: a key of `SIZES`.
        image_size: pixels on each side.
        version: `2` or `2.1`.
    """
    require_known(name, version)
    size = SIZES[name]
    return VisionTransformer(
        image_size,
        PATCH,
        TUBELET,
        size.width,
        size.depth,
        size.heads,
        size.mlp_ratio,
        tiled_rope=version == "2",
        rope_side=None if version == "2" else ROPE_SIDE,
        levels=() if version == "2" else LEVELS[size.depth],
        image_patches=version != "2",
    )


def named_predictor(name: str, version: str = "2", depth: int = 12, teacher: str | None = None) -> Predictor:
    """The predictor that is released with an encoder of a size in `SIZES`, with fresh weights.

    Args:
        name: a key of `SIZES`.
        version: `2` or `2.1`.
        depth: blocks; 24 in the models of 2.1 that are no distillates.
        teacher: size whose last level a distillate of 2.1 predicts; None: it predicts all levels of its own size.
    """
    require_known(name, version)
    width = SIZES[name].width
    if version == "2":
        return Predictor(width, PREDICTOR_WIDTH, depth, PREDICTOR_HEADS, mask_tokens=RELEASED_MASK_TOKENS[version])
    levels = 1 if teacher else len(LEVELS[SIZES[name].depth])
    return Predictor(
        width * levels,
        PREDICTOR_WIDTH,
        depth,
        PREDICTOR_HEADS,
        mask_tokens=RELEASED_MASK_TOKENS[version],
        tiled_rope=False,
        output_width=SIZES[teacher].width if teacher else None,
        levels=levels,
        context_head=True,
        modalities=True,
    )


def named_action_predictor(name: str, grid: Sequence[int] = (16, 16)) -> ActionPredictor:
    """The predictor of V-JEPA 2-AC (24 x 1024) on an encoder of a size in `SIZES`, with fresh weights."""
    rows, columns = grid
    return ActionPredictor(
        SIZES[name].width,
        (rows, columns),
        AC_ACTIONS,
        AC_ACTIONS,
        AC_WIDTH,
        AC_DEPTH,
        AC_HEADS,
        shortcuts=False,
        extrinsics=AC_EXTRINSICS,
    )
