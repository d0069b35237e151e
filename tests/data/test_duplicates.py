from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tiny_lerobot import recording

from vjepa.data.duplicates import MOMENTS, candidates, near_duplicates, perceptual_hashes
from vjepa.data.video import decode_video, encode_mp4
from vjepa.imaging import square_resize


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.bitwise_count(perceptual_hashes(first) ^ perceptual_hashes(second)).mean())


def test_copies_stay_near_and_other_episodes_far() -> None:
    frames = recording(0, size=64).frames
    noisy = (frames + np.random.default_rng(0).normal(size=frames.shape) * 3).round().astype(np.uint8)
    for copy in (
        noisy,
        decode_video(encode_mp4(frames, 8, crf=28))[0],
        square_resize(frames, 48),
        frames + 10,
        frames[1:],
    ):
        assert distance(frames, copy) <= 2
    assert min(distance(frames, recording(seed, size=64).frames) for seed in range(1, 20)) > 8


@pytest.mark.parametrize("count", [1, 40, 3000])
def test_pairs_within_the_distance_are_grouped_and_no_others(count: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(2**64, size=(count, MOMENTS), dtype=np.uint64)
    flips = np.full(MOMENTS, 0b11, np.uint64)  # two bits a moment
    hashes[-1] = hashes[0] ^ flips
    for allowed, groups in ((2, count - 1 if count > 1 else 1), (1.9, count)):
        labels = near_duplicates(hashes, allowed)
        assert len(np.unique(labels)) == groups
        assert (labels[0] == labels[-1]) == (allowed == 2 or count == 1)


@pytest.mark.parametrize("alike", [0, 400])
def test_the_search_finds_what_comparing_all_pairs_finds(alike: int) -> None:
    """Near pairs at every distance around the limit, alone and among scenes that share most of their bits."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(2**64, size=(600, MOMENTS), dtype=np.uint64)
    bits = np.unpackbits(hashes.view(np.uint8).reshape(600, -1), axis=1)
    bits[:, :alike] = bits[0, :alike]
    for place in range(300):
        bits[300 + place] = bits[place]
        flipped = rng.permutation(bits.shape[1])[: place % 40]
        bits[300 + place, flipped] ^= 1
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1, dtype=np.int64)
    for limit in (0, 2, 3.6):
        near = apart <= limit * MOMENTS
        labels = near_duplicates(hashes, limit)
        assert (labels[:, None] == labels[None])[near].all()
        assert len(np.unique(labels)) == connected_components(coo_matrix(near), directed=False)[0]


def test_thousands_of_equal_episodes_are_one_group_at_no_cost() -> None:
    hashes = np.random.default_rng(3).integers(2**64, size=(3, MOMENTS), dtype=np.uint64)
    labels = near_duplicates(np.repeat(hashes, 50_000, axis=0), 2)
    assert len(np.unique(labels)) == 3 and (labels[:50_000] == labels[0]).all()


def test_far_fewer_pairs_are_looked_at_than_there_are() -> None:
    rng = np.random.default_rng(2)
    hashes = rng.integers(2**64, size=(20_000, MOMENTS), dtype=np.uint64)
    looked_at = sum(len(first) for first, _ in candidates(hashes, 16))
    assert looked_at < 20_000**2 / 2 / 1000


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    hashes = np.zeros((3, MOMENTS), np.uint64)
    hashes[1], hashes[2] = 0b11, 0b1111
    assert len(np.unique(near_duplicates(hashes, 2))) == 1
    assert len(np.unique(near_duplicates(hashes[[0, 2]], 2))) == 2
