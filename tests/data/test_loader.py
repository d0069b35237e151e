"""The loader gives the same clips however many processes read them, wherever it starts, and parts them among ranks."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from tiny_shards import write_tiny_shards

from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipBatch, ClipDraws, ClipSampler, EpochDraws, LoadedEpisodes
from vjepa.data.episode import Episode
from vjepa.data.episode_store import EpisodeStore
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.data.shards import load_episodes
from vjepa.errors import DataError, UserError

LENGTHS = [9, 30, 12, 4, 25, 16, 18, 9]
FRAMES, STRIDE, SEED, SIZE, STEPS = 4, 2, 5, 3, 30
PLAIN = Augmentation((1.0, 1.0), (1.0, 1.0), flip=False)
PAPER = Augmentation((0.3, 1.0), (0.75, 1.35), flip=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("shards"), LENGTHS)


def reader(shards: Path, augmentation: Augmentation = PLAIN, size: int = SIZE, rank: int = 0, ranks: int = 1):
    store = EpisodeStore(shards, "train", 20_000)
    return ClipReader(store, ClipDraws(store.lengths, FRAMES, STRIDE, SEED), augmentation, size, rank, ranks)


def same(first: ClipBatch, second: ClipBatch) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in vars(first))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_sampler_in_memory(shards: Path, workers: int) -> None:
    sampler = ClipSampler(load_episodes(shards, "train"), FRAMES, STRIDE, SEED)
    loader = ClipLoader(reader(shards), STEPS, workers)
    with loader.running("-"):
        assert all(same(loader.batch(step), sampler.batch(step, SIZE)) for step in range(STEPS))


def test_a_loader_that_starts_anywhere_goes_on_like_one_that_began_at_the_start(shards: Path) -> None:
    straight = reader(shards, PAPER)
    resumed = ClipLoader(reader(shards, PAPER), STEPS, workers=1)
    with resumed.running("-"):
        assert all(same(resumed.batch(step), straight.read(step)) for step in range(17, STEPS))


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_part_what_one_process_would_see(shards: Path, ranks: int) -> None:
    for step in range(4):
        whole = reader(shards, PAPER, size=6).read(step)
        parts = [reader(shards, PAPER, 6 // ranks, rank, ranks).read(step) for rank in range(ranks)]
        assert same(ClipBatch(*(np.concatenate([getattr(p, n) for p in parts]) for n in vars(whole))), whole)


def test_every_step_looks_in_other_ways(shards: Path) -> None:
    still = Episode("still", "t", load_episodes(shards, "train")[1].frames[:1].repeat(7, 0), *[np.zeros((7, 1))] * 3)
    source = LoadedEpisodes([still])
    one = ClipReader(source, ClipDraws(source.lengths, FRAMES, STRIDE, SEED), PAPER, batch_size=2)
    assert len({clip.tobytes() for step in range(4) for clip in one.read(step).frames}) == 8


def test_an_epoch_has_every_episode_once_over_all_ranks(shards: Path) -> None:
    store = EpisodeStore(shards, "train", 0)
    draws = EpochDraws(store.lengths, store.shards, 2, FRAMES, STRIDE, SEED)
    readers = [ClipReader(store, draws, PLAIN, 1, rank, ranks=2) for rank in range(2)]
    usable = [number for number, length in enumerate(LENGTHS) if length >= 7]
    seen = [int(one.read(step).episodes[0]) for step in range(len(usable)) for one in readers]
    epochs = seen[: len(usable)], seen[len(usable) :]
    assert [sorted(epoch) for epoch in epochs] == [usable, usable] and epochs[0] != epochs[1]


def test_an_episode_that_cannot_be_read_by_a_worker_is_one_line(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path, LENGTHS)
    loader = ClipLoader(reader(tmp_path), STEPS, workers=1)
    for file in (tmp_path / "train").iterdir():
        file.write_bytes(file.read_bytes()[:512])
    with loader.running("-"), pytest.raises(DataError, match=r"^[^\n]*train-00000\d\.tar[^\n]*$"):
        loader.batch(0)


def test_a_killed_worker_ends_the_run_with_what_to_do(shards: Path) -> None:
    loader = ClipLoader(reader(shards), 1000, workers=2)
    with pytest.raises(UserError, match=r"a worker process was killed .*: use less"), loader.running("use less"):
        for step in range(1000):
            loader.batch(step)
            if step == 2:
                multiprocessing.active_children()[0].kill()
    assert multiprocessing.active_children() == []
