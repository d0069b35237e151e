"""Clips are drawn by step number alone and cut where they say."""

import numpy as np
import pytest

from vjepa.data.clips import ClipSampler, EpochDraws
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


class TestEpochs:
    SHARDS = np.repeat(np.arange(50), 20)
    LENGTHS = np.full(1000, 20)

    def draws(self, window=4):
        return EpochDraws(self.LENGTHS, self.SHARDS, window, frames=3, stride=3, seed=1)

    def test_every_episode_comes_once_an_epoch_and_each_epoch_in_another_order(self):
        drawn = np.concatenate([self.draws().draw(step, 24)[0] for step in range(125)]).reshape(3, 1000)
        assert (np.sort(drawn) == np.arange(1000)).all()
        assert len({tuple(epoch[:10]) for epoch in drawn}) == 3

    def test_a_batch_depends_on_its_step_alone(self):
        straight = self.draws()
        before = [straight.draw(step, 24) for step in range(130)]
        for step in (129, 41, 0):  # 41 lies across two epochs
            for mine, theirs in zip(self.draws().draw(step, 24), before[step], strict=True):
                assert np.array_equal(mine, theirs)

    def test_batches_in_a_row_touch_few_shards_and_mix_them(self):
        draws = self.draws()
        shards = [self.SHARDS[draws.draw(step, 20)[0]] for step in range(4)]
        assert len(np.unique(shards)) == 4 and min(len(np.unique(batch)) for batch in shards) >= 3

    def test_every_start_is_drawn(self):
        draws = self.draws()
        starts = np.concatenate([draws.draw(step, 100)[1] for step in range(10)])
        assert set(starts) == set(range(14))
