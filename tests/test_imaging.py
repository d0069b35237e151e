"""Resizing averages areas, keeps the middle, and needs numpy alone."""

import numpy as np
import pytest

from vjepa.imaging import area_weights, square_resize


def test_halving_is_the_mean_of_two_by_two():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    blocks = frames.reshape(3, 4, 2, 4, 2, 3).astype(float).mean((2, 4))
    assert np.abs(square_resize(frames, 4) - blocks).max() <= 0.5


def test_the_centred_square_is_kept():
    frame = np.zeros((4, 8, 3), np.uint8)
    frame[:, 2:6] = 200
    assert np.array_equal(square_resize(frame, 4), np.full((4, 4, 3), 200, np.uint8))


@pytest.mark.parametrize("size", [3, 5, 7, 16])
def test_a_flat_picture_stays_flat_at_any_size(size):
    assert np.all(square_resize(np.full((7, 7, 3), 93, np.uint8), size) == 93)
    assert np.allclose(area_weights(7, size).sum(1), 1)
