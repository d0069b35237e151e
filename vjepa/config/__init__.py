"""Every setting of the chain, one dataclass a stage, each field with its meaning and unit.

`params.yaml` holds the values and is composed from `conf/`; the defaults of this project's profiles live there, so the
fields here have none. Reading is strict: an unknown, missing or ill-typed key is a `UserError` that names it.
Nothing heavy is imported here, so that the planner can read its settings without torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from vjepa.config.acting import ClosedLoopTask, ExportConfig, PlanConfig, PlannerConfig
from vjepa.config.data import (
    BY_FEATURES,
    ActionConfig,
    CollectConfig,
    ColumnConfig,
    CurateConfig,
    GripperConfig,
    PositionConfig,
    RotationConfig,
    SourceConfig,
    StateConfig,
    ValidateConfig,
    Variation,
)
from vjepa.config.engine import EngineConfig
from vjepa.config.reading import read_config, require
from vjepa.config.training import (
    AlignConfig,
    CollapseConfig,
    EncoderConfig,
    MaskConfig,
    PosttrainConfig,
    PretrainConfig,
    ProbeConfig,
)

__all__ = [
    "BY_FEATURES",
    "ActionConfig",
    "AlignConfig",
    "ClosedLoopTask",
    "CollapseConfig",
    "CollectConfig",
    "ColumnConfig",
    "CurateConfig",
    "EncoderConfig",
    "EngineConfig",
    "ExportConfig",
    "GripperConfig",
    "MaskConfig",
    "PlanConfig",
    "PlannerConfig",
    "PositionConfig",
    "PosttrainConfig",
    "PretrainConfig",
    "ProbeConfig",
    "RotationConfig",
    "SourceConfig",
    "StateConfig",
    "ValidateConfig",
    "Variation",
    "read_config",
    "require_fit",
]


def require_fit(
    curate: CurateConfig,
    encoder: EncoderConfig,
    pretrain: PretrainConfig,
    pools: Mapping[str, int],
    frames: Mapping[str, int],
) -> None:
    """Refuse sections that don't fit each other.

    Args:
        curate: gives the frames' size.
        encoder: takes frames of its own size.
        pretrain: begins with frames of that size or smaller ones.
        pools: side of the squares that are averaged, by section; they divide the encoder's grid.
        frames: length of the clips, by the key that says it.

    Raises:
        ValueError: naming both keys.
    """
    size, grid = encoder.image_size, encoder.image_size // encoder.patch
    require(size == curate.image_size, f"encoder.image_size is {size}, but curate.image_size {curate.image_size}")
    small = pretrain.image_size
    require(small <= size, f"pretrain.image_size {small} exceeds encoder.image_size {size}")
    require(small % encoder.patch == 0, f"pretrain.image_size {small} is no multiple of encoder.patch {encoder.patch}")
    for section, pool in pools.items():
        fits = grid % pool == 0
        require(fits, f"{section}.pool {pool} does not divide the encoder's grid of {grid} x {grid} patches")
    for key, count in frames.items():
        fits = count % encoder.tubelet == 0
        require(fits, f"{key} {count} is no multiple of encoder.tubelet {encoder.tubelet}")
