"""Crops are drawn within their settings, alike for all frames of a clip, and show what they say."""

import numpy as np
import pytest

from vjepa.data.augment import Augmentation, Views, look

PAPER = Augmentation((0.3, 1.0), (0.75, 1.35), flip=True)
WHOLE = Augmentation((1.0, 1.0), (1.0, 1.0), flip=False)
CLIPS = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32, 3), np.uint8)


def test_crops_lie_in_the_frame_with_areas_and_aspects_of_the_settings():
    views = PAPER.draw(5000, 256, 256, np.random.default_rng(1))
    top, left, height, width = views.boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 256).all() and (left + width <= 256).all()
    area, aspect = height * width / 256**2, width / height
    assert 0.295 < area.min() < 0.31 and 0.99 < area.max() <= 1 and aspect.min() > 0.745 and aspect.max() < 1.355
    assert abs(np.log(aspect).mean() - np.log(0.75 * 1.35) / 2) < 0.02
    assert 0.47 < views.mirrored.mean() < 0.53
    assert len(np.unique(top)) > 60 and len(np.unique(left)) > 60


@pytest.mark.parametrize(("width", "expected"), [(64, [0, 10, 32, 43]), (16, [5, 0, 21, 16])])
def test_where_no_crop_fits_the_largest_in_the_middle_is_taken(width, expected):
    never = Augmentation((4.0, 4.0), PAPER.crop_aspect, flip=False)
    assert never.draw(2, 32, width, np.random.default_rng(0)).boxes.tolist() == [expected, expected]


def test_whole_frames_are_left_as_they_are():
    assert np.array_equal(look(CLIPS, WHOLE.draw(5, 32, 32, np.random.default_rng(0))), CLIPS)


def test_all_frames_of_a_clip_have_one_view_and_clips_their_own():
    still = np.repeat(CLIPS[:1, :1], 5, axis=0).repeat(3, axis=1)
    shown = look(still, PAPER.draw(5, 32, 32, np.random.default_rng(2)))
    assert (shown == shown[:, :1]).all()
    assert len({clip.tobytes() for clip in shown}) == 5


def test_a_crop_shows_its_part_of_the_frame_enlarged():
    frame = np.stack(np.broadcast_arrays(np.arange(32)[:, None] * 8, np.arange(32) * 8, 7), -1).astype(np.uint8)
    shown = look(frame[None, None], Views(np.array([[4, 10, 16, 8]]), np.array([False])))[0, 0].astype(int)
    rows, columns = 4 + (np.arange(32) + 0.5) / 2 - 0.5, 10 + (np.arange(32) + 0.5) / 4 - 0.5
    assert np.abs(shown[:, 0, 0] - 8 * rows.clip(4, 19)).max() <= 1
    assert np.abs(shown[0, :, 1] - 8 * columns.clip(10, 17)).max() <= 1
    assert (shown[..., 2] == 7).all()


def test_mirrored_clips_exchange_left_and_right():
    views = Views(np.array([[0, 0, 32, 32]] * 5), np.arange(5) < 2)
    shown = look(CLIPS, views)
    assert np.array_equal(shown[:2], CLIPS[:2, :, :, ::-1]) and np.array_equal(shown[2:], CLIPS[2:])


def test_later_draws_do_not_hang_on_the_settings():
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    PAPER.draw(4, 32, 32, first)
    WHOLE.draw(4, 32, 32, second)
    assert first.random() == second.random()
