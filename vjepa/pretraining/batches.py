"""What a step of pretraining sees: clips in two lights, stills or moving, and their masks.

All of it hangs on the seed and the step alone. It is drawn for the whole step and each process takes its share, so that
neither their number nor that of the passes changes what is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vjepa.config import PretrainConfig
from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipBatch, ClipDraws, ClipSource, EpochDraws
from vjepa.data.light import draw_light, in_light
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.nn.encoder import VisionTransformer, normalise_pixels
from vjepa.pretraining.loss import Masks
from vjepa.pretraining.masks import sample_masks
from vjepa.pretraining.phases import Phase, phase_at

READOUT_CLIPS = 384
"""Training clips of a linear read-out."""


class PretrainBatches:
    """The batches of a pretraining.

    Args:
        source: where clips are cut.
        encoder: gives the sizes of patches and tubelets.
        config: everything else.
        seed: of all draws.
        phases: sizes of the clips, and which of a step this process takes.
        watched: where the clips of the read-outs are cut; None: where the others are. With few episodes to learn from
            a read-out of them alone would be the easier the fewer they are.

    Raises:
        DataError: no episode is long enough for a phase's clips.
    """

    def __init__(
        self,
        source: ClipSource,
        encoder: VisionTransformer,
        config: PretrainConfig,
        seed: int,
        phases: Sequence[Phase],
        watched: ClipSource | None = None,
    ) -> None:
        self.encoder, self.config, self.seed, self.phases = encoder, config, seed, phases
        readers = []
        for phase in phases:
            share = phase.share
            ranks, rank = share.total // share.clips, share.first // share.clips
            readers.append(new_reader(source, config, phase, seed, share.clips, rank, ranks))
        self.loader = ClipLoader(PhaseReader(phases, readers), config.steps, config.workers)
        self._first = new_reader(watched or source, config, phases[0], seed, min(config.batch_size, READOUT_CLIPS))
        self._read: tuple[int, ClipBatch] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts processes read ahead.

        Raises:
            UserError: one of them was killed.
        """
        with self.loader.running("set pretrain.workers or pretrain.kept_mb lower"):
            yield

    def of(self, step: int, part: int = 0) -> tuple[Tensor, Tensor, Masks]:
        """A pass's clips as the context and as the target encoder see them, and its masks.

        Both are normalised pixels `[B, 3, T, H, W]`. The context is in some other light and the targets are in plain
        light, so that what light does to a scene is not worth keeping.
        """
        if self._read is None or self._read[0] != step:
            self._read = step, self.loader.batch(step)
        phase = phase_at(self.phases, step)
        share = phase.share
        clips = self._read[1].frames[share.within(part)]
        first = share.first + part * share.micro_batch
        mine = slice(first, first + len(clips))
        rng = np.random.default_rng((self.seed, step, 1))
        light = draw_light(share.total, self.config.dimmest, rng)[mine]
        frames = torch.from_numpy(np.stack([in_light(clips, light), clips]))
        tubelet = self.encoder.tubelet
        steps = phase.frames // tubelet
        images = 1  # of a clip
        if rng.random() < self.config.still_share:  # each tubelet's first frame, as the world model will see frames
            stills = frames[:, :, ::tubelet]
            if self.encoder.image_patches:
                frames, steps, images = stills.flatten(1, 2).unsqueeze(2), 1, steps
            else:
                frames = stills.repeat_interleave(tubelet, dim=2)
        group, within = divmod(first, phase.mask_batch)
        if group:  # the first group goes on with the step's own numbers, every other one has some of its own
            rng = rng.spawn(group)[-1]
        side = phase.image_size // self.encoder.patch
        sizes = (steps, side, side)
        drawn = [sample_masks(sizes, mask, phase.mask_batch * images, rng) for mask in self.config.masks]
        mine = slice(within * images, (within + len(clips)) * images)
        masks = [(torch.from_numpy(context[mine]), torch.from_numpy(target[mine])) for context, target in drawn]
        seen, plain = (normalise_pixels(shown) for shown in frames)
        return seen, plain, masks

    def first_clips(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        """`READOUT_CLIPS` training clips, the same in all processes: normalised pixels and the states they end with."""
        for step in range(-(-READOUT_CLIPS // self._first.total)):
            batch = self._first.read(step)
            yield normalise_pixels(torch.from_numpy(batch.frames)), batch.states[:, -1]


class PhaseReader:
    """Reads each step's clips in the size of its phase; `readers` has one of each phase."""

    def __init__(self, phases: Sequence[Phase], readers: Sequence[ClipReader]) -> None:
        self.phases, self.readers = list(phases), list(readers)

    def read(self, step: int) -> ClipBatch:
        """See `ClipReader.read`."""
        return self.readers[self.phases.index(phase_at(self.phases, step))].read(step)


def new_reader(
    source: ClipSource, config: PretrainConfig, phase: Phase, seed: int, clips: int, rank: int = 0, ranks: int = 1
) -> ClipReader:
    """Of the clips of a phase; the last three arguments are `ClipReader`'s."""
    if config.shard_window:
        draws: ClipDraws = EpochDraws(
            source.lengths, source.shards, config.shard_window, phase.frames, config.stride, seed
        )
    else:
        draws = ClipDraws(source.lengths, phase.frames, config.stride, seed)
    (smallest, largest), (narrowest, widest) = config.crop_scale, config.crop_aspect
    augmentation = Augmentation((smallest, largest), (narrowest, widest), config.flip)
    return ClipReader(source, draws, augmentation, clips, rank, ranks, phase.image_size)
