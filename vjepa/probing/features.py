"""Frozen features of clips, computed once and kept in memory, and what each probe has to say about those clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vjepa.config import ProbeConfig
from vjepa.data.clips import ClipSampler
from vjepa.data.light import in_random_light
from vjepa.data.motion import ClipTable, main_direction
from vjepa.nn.encoder import VisionTransformer, normalise_pixels, pool_tokens

ENCODE_BATCH = 64


@dataclass
class Labels:
    """What one probe learns or is scored on.

    Attributes:
        clips: `int64 [K]`, rows of the features; clips that show nothing clear are left out.
        values: `int64 [K]` classes, or `float32 [K, 3]` positions in m.
    """

    clips: np.ndarray
    values: np.ndarray


@torch.inference_mode()
def encode_clips(
    encoder: VisionTransformer, sampler: ClipSampler, clips: ClipTable, config: ProbeConfig, seed: int, title: str
) -> Tensor:
    """The encoder's tokens of each clip in some other light, in half precision to save memory: `float16 [M, N, D]`.

    Tokens are averaged over squares of `config.pool` x `config.pool` patches. The light of a clip (`config.dimmest`)
    hangs on `seed` alone, so that every encoder is shown the same.
    """
    features, rng = [], np.random.default_rng(seed)
    for part in track(np.array_split(np.arange(len(clips)), -(-len(clips) // ENCODE_BATCH)), description=title):
        frames = sampler.cut(clips.episodes[part], clips.starts[part]).frames
        tokens = encoder(normalise_pixels(torch.from_numpy(in_random_light(frames, config.dimmest, rng))))
        features.append(pool_tokens(tokens, encoder.grid, config.pool).half())
    return torch.cat(features)


def labels_of(clips: ClipTable, tasks: list[str], min_move: float) -> dict[str, Labels]:
    """The three things asked of each clip.

    Returns:
        `task` (index into `tasks`; clips of other tasks are left out), `motion` (`main_direction`; unclear ones are
        left out) and `hand` (position at the last frame, m).
    """
    task = np.array([tasks.index(name) if name in tasks else -1 for name in clips.tasks], np.int64)
    motion = main_direction(clips.displacement, min_move)
    labels = {}
    for name, classes in (("task", task), ("motion", motion)):
        rows = np.flatnonzero(classes >= 0)
        labels[name] = Labels(rows, classes[rows])
    labels["hand"] = Labels(np.arange(len(clips)), clips.hand)
    return labels
