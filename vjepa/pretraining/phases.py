"""The phases of pretraining (paper, sec. 2.2): warmup and constant on short, small clips, the cooldown on others.

Masks and positions come from each clip's own grid, so nothing in the networks changes from one to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.training.parallel import Share, World


@dataclass(frozen=True)
class Phase:
    """Steps whose clips have one size.

    Attributes:
        name: `warmup and constant` or `cooldown`.
        first: the first step.
        steps: how many.
        frames: in a clip.
        image_size: pixels on each side of a clip.
        mask_batch: clips whose masks have equally many tokens.
        share: which clips of a step this process takes, and in how many passes.
    """

    name: str
    first: int
    steps: int
    frames: int
    image_size: int
    mask_batch: int
    share: Share


def phases_of(encoder: EncoderConfig, config: PretrainConfig, world: World) -> list[Phase]:
    """One or two, in their order: one that has no steps is left out.

    Raises:
        UserError: a step's clips can't be shared by the processes, or a pass would have masks of several sizes.
    """
    engine, before = config.engine, config.steps - config.cooldown
    phases = []
    if before or not config.cooldown:
        share = Share.of(config.batch_size, world, engine, config.mask_batch)
        sizes = config.frames, config.image_size, config.mask_batch
        phases.append(Phase("warmup and constant", 0, before, *sizes, share))
    if config.cooldown:
        fewer = replace(engine, micro_batch=config.cooldown_micro_batch or engine.micro_batch)
        share = Share.of(config.batch_size, world, fewer, config.cooldown_mask_batch)
        sizes = config.cooldown_frames, encoder.image_size, config.cooldown_mask_batch
        phases.append(Phase("cooldown", before, config.cooldown, *sizes, share))
    return phases


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase that a step belongs to."""
    return [phase for phase in phases if phase.first <= step][-1]
