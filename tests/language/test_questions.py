"""Questions and their answers follow from what the hand did, and none is asked where the answer is not clear."""

import numpy as np
import pytest

from tests.probing.moving_square import moving_square, moving_squares
from vjepa.data.clips import ClipSampler
from vjepa.data.motion import tabulate
from vjepa.language.questions import QUESTIONS, Kind, balanced_rows, held_out_rows, kinds_of_questions


def answers_about(episode, frames=8):
    """The answers about the first clip of an episode, by kind."""
    clips = tabulate(ClipSampler([episode], frames, stride=1, seed=0))
    return {kind.name: str(kind.answers[0]) for kind in kinds_of_questions(clips, min_move=0.06)}


def test_the_answers_are_what_the_hand_did():
    answers = answers_about(moving_square(0, step=(-0.02, 0.03, 0.001), task="darken"))  # 14, 21 and 0.7 cm
    assert answers == {
        "task": "darken",
        "left_right": "left",
        "back_forward": "forward",
        "down_up": "",
        "before_after": "",
        "caption": "left and forward",
    }


@pytest.mark.parametrize(
    ("step", "kind", "answer"),
    [((0.02, 0, 0), "left_right", "right"), ((0, -0.02, 0), "back_forward", "back"),
     ((0, 0, -0.02), "down_up", "down"), ((0, 0, 0.02), "down_up", "up")],
)  # fmt: skip
def test_each_direction_has_its_word(step, kind, answer):
    answers = answers_about(moving_square(0, step))
    assert answers[kind] == answers["caption"] == answer


@pytest.mark.parametrize(("still", "answer"), [(slice(4, None), "before"), (slice(None, 4), "after")])
def test_a_hand_that_rests_in_one_half_moves_more_in_the_other(still, answer):
    episode = moving_square(0, step=(0.05, 0, 0))
    episode.states[still] = episode.states[4 if still.start else 3]
    assert answers_about(episode)["before_after"] == answer


def test_a_hand_that_stays_is_asked_about_its_task_only():
    answers = answers_about(moving_square(0, step=(0.001, 0, 0)))
    assert {kind for kind, answer in answers.items() if answer} == {"task"}


def test_every_kind_has_its_own_question():
    kinds = kinds_of_questions(tabulate(ClipSampler(moving_squares(4), 4, 1, 0)), min_move=0.06)
    assert [kind.name for kind in kinds] == list(QUESTIONS)
    assert len({kind.question for kind in kinds}) == len(kinds)


@pytest.fixture
def lopsided():
    """Nine of ten clips go left; clips 10 to 19 show nothing clear."""
    return Kind("left_right", np.array(["left"] * 9 + ["right"] + [""] * 10))


def test_training_draws_every_answer_alike(lopsided):
    drawn = lopsided.answers[balanced_rows(lopsided, 100, np.random.default_rng(0))]
    assert np.unique(drawn, return_counts=True)[1].tolist() == [50, 50]
    assert set(drawn) == {"left", "right"}


def test_questions_are_balanced_over_answers_and_spread_over_episodes():
    kind = Kind("left_right", np.array((["left"] * 6 + ["right"] * 2) * 4))
    episodes = np.repeat(np.arange(4), 8)
    rows = held_out_rows(kind, episodes, 8, np.random.default_rng(0))
    assert len(set(rows)) == 8
    assert np.unique(kind.answers[rows], return_counts=True)[1].tolist() == [4, 4]
    for answer in ("left", "right"):
        assert sorted(episodes[rows[kind.answers[rows] == answer]]) == [0, 1, 2, 3]


def test_a_rare_answer_is_asked_as_often_as_there_are_clips(lopsided):
    rows = held_out_rows(lopsided, np.arange(20), 8, np.random.default_rng(0))
    assert sorted(lopsided.answers[rows]) == ["left"] * 4 + ["right"]


def test_a_prompt_shows_the_form_of_the_answers(lopsided):
    assert lopsided.prompt == (
        "Does the robot's hand move left or right in the video?\nVideo: left\nVideo: right\nVideo:"
    )


def test_a_prompt_stays_short_however_many_answers_there_are():
    kind = Kind("task", np.array([f"task {i:03d}" for i in range(50)]))
    assert kind.prompt.count("\nVideo: task ") == 10
