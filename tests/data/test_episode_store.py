"""Clips that are read from shards one by one are those of the whole episodes, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_shards import write_tiny_shards

from vjepa.data.episode_store import EpisodeStore
from vjepa.data.shards import load_episodes
from vjepa.data.share import first_by_hash
from vjepa.errors import DataError

LENGTHS = [40, 7, 23, 40]
FRAME = 16 * 16 * 3
NOTHING, TWO_EPISODES, ALL = 0, 70 * FRAME, 200 * FRAME


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("shards"), LENGTHS)


@pytest.mark.parametrize("kept", [NOTHING, TWO_EPISODES, ALL])
def test_clips_are_those_of_the_whole_episodes_whatever_is_kept(shards: Path, kept: int) -> None:
    store, episodes = EpisodeStore(shards, "train", kept), load_episodes(shards, "train")
    assert store.lengths.tolist() == LENGTHS and store.shards.tolist() == [0, 0, 1, 1]
    for _ in range(2):
        for number, episode in enumerate(episodes):
            for at in ([0, 1, 2], [1, 3, 5], [len(episode.frames) - 4, len(episode.frames) - 1]):
                frames, states = store.clip(number, np.array(at))
                assert np.array_equal(frames, episode.frames[at]) and np.array_equal(states, episode.states[at])


@pytest.mark.parametrize("kept", [NOTHING, TWO_EPISODES, ALL])
def test_what_is_kept_stays_within_its_bound(shards: Path, kept: int) -> None:
    store = EpisodeStore(shards, "train", kept)
    for number in range(len(LENGTHS)):
        store.clip(number, np.array([0, 1]))
    held = sum(frames.nbytes for frames, _ in store._kept.values())
    assert held <= kept and (held > 0) == (kept > 0)


def test_a_share_of_the_episodes_is_read_as_it_is_in_the_whole(shards: Path) -> None:
    half, episodes = EpisodeStore(shards, "train", NOTHING, 0.5), load_episodes(shards, "train")
    chosen = [episodes[place] for place in first_by_hash([episode.key for episode in episodes], 0.5)]
    assert half.lengths.tolist() == [len(episode.frames) for episode in chosen] and len(chosen) == 2
    for number, episode in enumerate(chosen):
        assert np.array_equal(half.clip(number, np.array([2, 5]))[0], episode.frames[[2, 5]])


def test_a_damaged_episode_is_named_and_the_others_can_be_read(tmp_path: Path) -> None:
    store = EpisodeStore(write_tiny_shards(tmp_path, LENGTHS), "train", NOTHING)
    file = tmp_path / "train/train-000000.tar"
    damaged = bytearray(file.read_bytes())
    damaged[damaged.index(b"toy-000001.video.mp4") + 600] ^= 1
    file.write_bytes(damaged)
    store.clip(0, np.array([0]))
    with pytest.raises(DataError, match=r"train-000000\.tar: toy-000001 is damaged"):
        store.clip(1, np.array([0]))


def test_an_empty_split_is_an_error_that_names_it(shards: Path) -> None:
    with pytest.raises(DataError, match="lists no episodes of the split 'test'"):
        EpisodeStore(shards, "test", NOTHING)
