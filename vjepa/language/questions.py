"""Questions and answers out of the episodes' own facts, each kind with one constant prompt.

The prompt stands before the visual tokens and never changes within a kind, so a language model reads it once and keeps
its keys and values: a question then costs no more than the visual tokens and the answer. It shows the form of an answer
by examples whose videos are left out; the blind arm reads the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vjepa.data.motion import DIRECTIONS, ClipTable

QUESTIONS = {
    "task": "What is the robot's task in the video?",
    "left_right": "Does the robot's hand move left or right in the video?",
    "back_forward": "Does the robot's hand move back or forward in the video?",
    "down_up": "Does the robot's hand move down or up in the video?",
    "before_after": "Does the robot's hand move farther before or after the middle of the video?",
    "caption": "Which ways does the robot's hand move in the video?",
}
"""What is asked, by kind."""

SHOWN_ANSWERS = 12


@dataclass
class Kind:
    """All that can be asked of one kind.

    Attributes:
        name: as in `QUESTIONS`.
        answers: `<U [M]`, the true answer for each clip of the table; empty where the clip shows no clear one.
    """

    name: str
    answers: np.ndarray

    @property
    def question(self) -> str:
        """What is asked."""
        return QUESTIONS[self.name]

    @property
    def prompt(self) -> str:
        """What the language model reads before the video: the question, and up to `SHOWN_ANSWERS` possible answers."""
        shown = self.answer_set[:: -(-len(self.answer_set) // SHOWN_ANSWERS)]
        return "\n".join([self.question, *(f"Video: {answer}" for answer in shown), "Video:"])

    @cached_property
    def answer_set(self) -> list[str]:
        """The different answers, sorted."""
        return sorted(set(self.answers[self.answers != ""]))


def kinds_of_questions(clips: ClipTable, min_move: float) -> list[Kind]:
    """Every kind of question over the clips.

    A direction is asked about only where the hand moved at least `min_move` m along its axis; the caption names all
    such directions. `before_after` is asked where the hand got at least `min_move` m farther in one half of the clip.
    """
    chosen = np.where(clips.displacement < 0, *(np.array(words) for words in zip(*DIRECTIONS, strict=True)))
    clear = np.abs(clips.displacement) >= min_move
    kinds = [Kind("task", clips.tasks)]
    for axis, words in enumerate(DIRECTIONS):
        kinds.append(Kind("_".join(words), np.where(clear[:, axis], chosen[:, axis], "")))
    gain = clips.halves[:, 1] - clips.halves[:, 0]
    half = np.where(gain < 0, "before", "after")
    kinds.append(Kind("before_after", np.where(np.abs(gain) >= min_move, half, "")))
    captions = [" and ".join(words[seen]) for words, seen in zip(chosen, clear, strict=True)]
    kinds.append(Kind("caption", np.array(captions)))
    return kinds


def balanced_rows(kind: Kind, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the table to ask about, as many of each answer as possible: `int64 [count]`, drawn with replacement."""
    wanted = rng.permutation(np.arange(count) + rng.integers(1_000_000)) % len(kind.answer_set)
    rows = np.empty(count, np.int64)
    for number, answer in enumerate(kind.answer_set):
        slots = np.flatnonzero(wanted == number)
        rows[slots] = rng.choice(np.flatnonzero(kind.answers == answer), size=len(slots))
    return rows


def held_out_rows(kind: Kind, episodes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` different rows to score on: as many of each answer, of different episodes first.

    Args:
        kind: of question.
        episodes: `int64 [M]`, the episode of each row of the table.
        count: questions wanted; fewer where answers are rare, so that a frequent one does not outweigh them.
        rng: of the choice.
    """
    answers = rng.permutation(kind.answer_set)[:count]
    chosen = []
    for answer in answers:
        rows = rng.permutation(np.flatnonzero(kind.answers == answer))
        _, first = np.unique(episodes[rows], return_index=True)
        other = np.setdiff1d(np.arange(len(rows)), first)
        chosen.append(rows[np.concatenate([rng.permutation(first), other])][: count // len(answers)])
    return np.sort(np.concatenate(chosen))
