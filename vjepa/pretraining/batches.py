"""What a step of pretraining sees: clips in two lights, stills or moving, and their masks.

All of it hangs on the seed and the step alone. It is drawn for the whole step and each process takes its share, so that
neither their number nor that of the passes changes what is learned.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from vjepa.training.parallel import Share

READOUT_CLIPS = 384
"""Training clips of a linear read-out."""


class PretrainBatches:
    """The batches of a pretraining.

    Args:
        source: where clips are cut.
        encoder: gives the sizes of patches and tubelets.
        config: everything else.
        seed: of all draws.
        share: which clips of a step this process takes; a pass lies within a `mask_batch`.
    """

    def __init__(
        self, source: ClipSource, encoder: VisionTransformer, config: PretrainConfig, seed: int, share: Share
    ) -> None:
        self.encoder, self.config, self.seed, self.share = encoder, config, seed, share
        if config.shard_window:
            draws: ClipDraws = EpochDraws(
                source.lengths, source.shards, config.shard_window, config.frames, config.stride, seed
            )
        else:
            draws = ClipDraws(source.lengths, config.frames, config.stride, seed)
        (smallest, largest), (narrowest, widest) = config.crop_scale, config.crop_aspect
        augmentation = Augmentation((smallest, largest), (narrowest, widest), config.flip)
        ranks, rank = share.total // share.clips, share.first // share.clips
        reader = ClipReader(source, draws, augmentation, share.clips, rank, ranks)
        self.loader = ClipLoader(reader, config.steps, config.workers)
        self._first = ClipReader(source, draws, augmentation, min(share.total, READOUT_CLIPS))
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
        clips = self._read[1].frames[self.share.within(part)]
        first = self.share.first + part * self.share.micro_batch
        mine = slice(first, first + len(clips))
        rng = np.random.default_rng((self.seed, step, 1))
        light = draw_light(self.share.total, self.config.dimmest, rng)[mine]
        frames = torch.from_numpy(np.stack([in_light(clips, light), clips]))
        tubelet = self.encoder.tubelet
        steps = self.config.frames // tubelet
        images = 1  # of a clip
        if rng.random() < self.config.still_share:  # each tubelet's first frame, as the world model will see frames
            stills = frames[:, :, ::tubelet]
            if self.encoder.image_patches:
                frames, steps, images = stills.flatten(1, 2).unsqueeze(2), 1, steps
            else:
                frames = stills.repeat_interleave(tubelet, dim=2)
        group, within = divmod(first, self.config.mask_batch)
        if group:  # the first group goes on with the step's own numbers, every other one has some of its own
            rng = rng.spawn(group)[-1]
        sizes = (steps, *self.encoder.grid)
        drawn = [sample_masks(sizes, mask, self.config.mask_batch * images, rng) for mask in self.config.masks]
        mine = slice(within * images, (within + len(clips)) * images)
        masks = [(torch.from_numpy(context[mine]), torch.from_numpy(target[mine])) for context, target in drawn]
        seen, plain = (normalise_pixels(shown) for shown in frames)
        return seen, plain, masks

    def first_clips(self) -> Iterator[tuple[Tensor, np.ndarray]]:
        """`READOUT_CLIPS` training clips, the same in all processes: normalised pixels and the states they end with."""
        for step in range(-(-READOUT_CLIPS // self._first.total)):
            batch = self._first.read(step)
            yield normalise_pixels(torch.from_numpy(batch.frames)), batch.states[:, -1]
