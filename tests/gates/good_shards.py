"""Shards that pass every gate, and what is needed to make ones that don't."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vjepa.config import ValidateConfig
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES, write_layout
from vjepa.data.shards import PackedEpisode, pack_episode, write_shards

FPS = 8.0
LIMITS = ValidateConfig(
    min_episodes_train=6,
    min_episodes_test=2,
    sampled_episodes=100,
    position_low=[-1.0, -1.0, 0.0],
    position_high=[1.0, 1.0, 1.0],
    max_move=0.1,
    time_tolerance=0.005,
    max_quarantined_share=0.2,
)


def good_episodes(count: int = 10) -> list[Episode]:
    """Episodes of six frames."""
    episodes = []
    for number in range(count):
        rng = np.random.default_rng(number)
        states = np.zeros((6, 7), np.float32)
        states[:, :3] = 0.3 + 0.02 * np.cumsum(rng.normal(size=(6, 3)), axis=0)
        states[:, 3:6] = 0.1 * rng.normal(size=(6, 3))
        states[:, 6] = np.linspace(0, 1, 6)
        frames = rng.integers(255, size=(6, 16, 16, 3), dtype=np.uint8)
        episodes.append(
            Episode(f"toy-{number:06d}", "reach", frames, np.arange(6) / FPS, states, POSES.actions_between(states))
        )
    return episodes


def pack(episodes: list[Episode]) -> list[PackedEpisode]:
    """Pack the episodes; the last three are held out."""
    packed = [pack_episode(episode, "toy", number, FPS, pose=True) for number, episode in enumerate(episodes)]
    for episode in packed[-3:]:
        episode.row["split"] = "test"
    return packed


def write(shards: Path, packed: list[PackedEpisode], quarantined: int = 1) -> Path:
    """Write shards of four episodes, and a quarantine list of that length."""
    shards.mkdir(parents=True)
    write_shards(shards, packed, episodes_per_shard=4)
    write_layout(shards, POSES)
    quarantine = [{"episode": 100 + number, "file": "x", "reason": "motionless"} for number in range(quarantined)]
    (shards / "quarantine.json").write_text(json.dumps(quarantine))
    return shards
