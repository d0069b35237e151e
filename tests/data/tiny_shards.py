"""Shards of a few short episodes of different lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.tiny_lerobot import recording
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES
from vjepa.data.shards import pack_episode, write_shards

FPS = 8.0


def write_tiny_shards(root: Path, lengths: list[int], episodes_per_shard: int = 2, size: int = 16) -> Path:
    """Write one episode of each length, all of the split `train`."""
    packed = []
    for number, length in enumerate(lengths):
        made = recording(number, length, size)
        actions = POSES.actions_between(made.states)
        episode = Episode(f"toy-{number:06d}", made.task, made.frames, np.arange(length) / FPS, made.states, actions)
        packed.append(pack_episode(episode, "toy", number, FPS, POSES.pose))
    write_shards(root, packed, episodes_per_shard)
    return root
