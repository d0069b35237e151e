"""Clips are drawn by step number alone and cut where they say."""

import numpy as np
import pytest

from vjepa.data.clips import ClipSampler
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES
from vjepa.errors import DataError


def episode(name, length):
    frames = np.broadcast_to(np.arange(length, dtype=np.uint8)[:, None, None, None], (length, 2, 2, 3))
    states = np.repeat(np.arange(length, dtype=np.float32)[:, None], 7, axis=1)
    return Episode(name, "t", frames, np.arange(length) / 8, states, POSES.actions_between(states))


@pytest.fixture
def sampler():
    return ClipSampler([episode("long", 20), episode("short", 4), episode("just", 7)], frames=3, stride=3, seed=1)


def test_a_batch_depends_on_its_step_alone(sampler):
    later = sampler.batch(5, 8)
    sampler.batch(0, 8)
    again = sampler.batch(5, 8)
    assert np.array_equal(later.frames, again.frames) and np.array_equal(later.starts, again.starts)
    assert not np.array_equal(sampler.batch(6, 8).frames, later.frames)


def test_clips_hold_the_frames_and_states_of_their_place(sampler):
    batch = sampler.batch(0, 64)
    expected = batch.starts[:, None] + 3 * np.arange(3)
    assert np.array_equal(batch.frames[..., 0, 0, 0], expected)
    assert np.array_equal(batch.states[..., 0], expected)


def test_episodes_shorter_than_a_clip_are_never_drawn_and_all_others_are(sampler):
    assert set(sampler.batch(0, 200).episodes) == {0, 2}


def test_every_start_is_drawn_up_to_the_last_possible_one(sampler):
    batch = sampler.batch(0, 2000)
    assert set(batch.starts[batch.episodes == 0]) == set(range(14))
    assert set(batch.starts[batch.episodes == 2]) == {0}


def test_evaluation_clips_spread_over_each_episode(sampler):
    batch = sampler.every(per_episode=3)
    assert batch.episodes.tolist() == [0, 0, 0, 2] and batch.starts.tolist() == [0, 6, 13, 0]


def test_no_episode_long_enough_is_an_error_that_says_so():
    with pytest.raises(DataError, match="none of 1 episodes has the 9 frames"):
        ClipSampler([episode("short", 8)], frames=9, stride=1, seed=0)
