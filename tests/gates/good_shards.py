"""Shards that pass every gate, and what is needed to make ones that don't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vjepa.config import CurateConfig, ValidateConfig
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES, Layout, layout_of, write_layout
from vjepa.data.shards import PackedEpisode, pack_episode, write_shards

FPS, SIZE = 8.0, 16
ROOT = Path(__file__).parents[2]
LIMITS = ValidateConfig(
    min_episodes_train=6,
    min_episodes_test=2,
    max_quarantined_share=0.2,
    max_repaired_share=0.2,
    sampled_episodes=100,
    time_tolerance=0.005,
    min_contrast=1.0,
    min_picture_change=1.0,
    max_frozen_share=0.2,
    position_low=[-1.0, -1.0, 0.0],
    position_high=[1.0, 1.0, 1.0],
    max_move=0.1,
    max_jump=4.0,
    max_static_share=0.5,
    max_outlier=12.0,
    reference=None,
    max_drift=0.5,
    max_unknown_task_share=0.0,
)
CURATE = CurateConfig(
    **yaml.safe_load((ROOT / "conf/profile/smoke.yaml").read_text())["curate"] | {"fps": FPS, "image_size": SIZE}
)
JOINTS = layout_of(("shoulder", "elbow", "hand"), ("rad", "rad", "1"), pose=False)
VIDEO = layout_of((), (), pose=False)


def good_episodes(count: int = 10, first: int = 0, layout: Layout = POSES) -> list[Episode]:
    """Episodes of six frames, numbered from `first` on; joints swing, hands wander."""
    episodes = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        states = np.zeros((6, len(layout.state_names)), np.float32)
        if layout.pose:
            states[:, :3] = 0.3 + 0.02 * np.cumsum(rng.normal(size=(6, 3)), axis=0)
            states[:, 3:6] = 0.1 * rng.normal(size=(6, 3))
            states[:, 6] = np.linspace(0, 1, 6)
        elif layout.state_names:
            states[:, :2] = np.sin(np.arange(6)[:, None] / 4 + rng.uniform(0, 6, 2))
            states[:, 2] = np.arange(6) > 2
        frames = rng.integers(255, size=(6, SIZE, SIZE, 3), dtype=np.uint8)
        actions = layout.actions_between(states)
        episodes.append(Episode(f"toy-{number:06d}", "reach", frames, np.arange(6) / FPS, states, actions))
    return episodes


def pack(episodes: list[Episode], layout: Layout = POSES) -> list[PackedEpisode]:
    """Pack the episodes; the last three are held out."""
    packed = [pack_episode(episode, "toy", int(episode.key[4:]), FPS, layout.pose) for episode in episodes]
    for episode in packed[-3:]:
        episode.row["split"] = "test"
    return packed


def write(shards: Path, packed: list[PackedEpisode], layout: Layout = POSES, left_out: tuple[str, ...] = ()) -> Path:
    """Write shards of four episodes, and a quarantine list with an entry of each kind in `left_out`."""
    shards.mkdir(parents=True)
    write_shards(shards, packed, episodes_per_shard=4)
    write_layout(shards, layout)
    quarantine: list[dict[str, Any]] = [
        {"episode": 100 + number, "file": "film.mp4", "kind": kind, "reason": f"{kind}: {number}"}
        for number, kind in enumerate(left_out)
    ]
    (shards / "quarantine.json").write_text(json.dumps(quarantine))
    return shards
