from __future__ import annotations

import numpy as np
import pytest
from tiny_lerobot import recording

from vjepa.data.duplicates import MOMENTS, near_duplicates, perceptual_hashes
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


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    hashes = np.zeros((3, MOMENTS), np.uint64)
    hashes[1], hashes[2] = 0b11, 0b1111
    assert len(np.unique(near_duplicates(hashes, 2))) == 1
    assert len(np.unique(near_duplicates(hashes[[0, 2]], 2))) == 2
