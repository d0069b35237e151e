"""Facts of clips out of their states."""

import numpy as np
import pytest

from tests.probing.moving_square import moving_square, moving_squares
from vjepa.data.clips import ClipSampler
from vjepa.data.motion import DIRECTIONS, main_direction, tabulate


@pytest.fixture
def sampler():
    return ClipSampler(moving_squares(3), frames=4, stride=2, seed=0)


def test_every_clip_of_every_episode_is_listed_once(sampler):
    clips = tabulate(sampler)
    assert list(zip(clips.episodes, clips.starts, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_the_facts_of_a_clip_are_those_of_the_frames_it_shows(sampler):
    clips = tabulate(sampler)
    cut = sampler.cut(clips.episodes, clips.starts)
    np.testing.assert_array_equal(clips.hand, cut.states[:, -1, :3])
    np.testing.assert_allclose(clips.displacement, cut.states[:, -1, :3] - cut.states[:, 0, :3])


def test_halves_are_the_ways_to_the_middle_and_from_there_to_the_end():
    episode = moving_square(0, step=(0.01, 0, 0))
    episode.states[3:] += np.array([0.03, 0.04, 0, 0, 0, 0, 0], np.float32)  # a jump in the first half
    clips = tabulate(ClipSampler([episode], frames=7, stride=1, seed=0)).rows(np.array([0]))
    np.testing.assert_allclose(clips.halves, [[np.hypot(0.06, 0.04), 0.03]], rtol=1e-5)


def test_rows_keep_all_facts_of_a_clip_together(sampler):
    clips = tabulate(sampler).rows(np.array([3]))
    assert (clips.episodes[0], clips.starts[0], clips.tasks[0]) == (1, 1, "redden")


@pytest.mark.parametrize(
    ("step", "word"),
    [((-0.1, 0.05, 0), "left"), ((0.1, 0, 0), "right"), ((0, -0.1, 0), "back"),
     ((0, 0.1, 0.05), "forward"), ((0, 0, -0.1), "down"), ((0.05, 0, 0.1), "up")],
)  # fmt: skip
def test_the_main_direction_is_the_one_moved_farthest(step, word):
    clips = tabulate(ClipSampler([moving_square(0, step)], frames=2, stride=1, seed=0))
    words = [word for pair in DIRECTIONS for word in pair]
    assert {words[i] for i in main_direction(clips.displacement, min_move=0.05)} == {word}


def test_a_hand_that_hardly_moves_has_no_direction():
    assert main_direction(np.array([[0.04, -0.049, 0.0]]), min_move=0.05).tolist() == [-1]
