"""How many answers are right, overall and by kind of question, and the list of answers that a reader can look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vjepa.language.align import Asked, QuestionSet
from vjepa.statistics import Estimate, mean


def answer_accuracy(asked: list[Asked], given: Mapping[str, list[np.ndarray]], episodes: np.ndarray) -> dict[str, Any]:
    """Exact matches with intervals over episodes.

    Args:
        asked: the questions, by kind.
        given: suffix of the metric -> the arm's answers, one array for each of `asked`.
        episodes: `int64 [M]`, the episode of each clip of the table.

    Returns:
        `answer_accuracy<suffix>`, and under `kinds.<kind>` the same of each kind.
    """

    def estimates(chosen: list[int]) -> dict[str, Estimate]:
        groups = np.concatenate([episodes[asked[i].rows] for i in chosen])
        return {
            f"answer_accuracy{suffix}": mean(np.concatenate([texts[i] == asked[i].answers for i in chosen]), groups)
            for suffix, texts in given.items()
        }

    kinds = {questions.kind.name: estimates([i]) for i, questions in enumerate(asked)}
    return {**estimates(list(range(len(asked)))), "kinds": kinds}


def answer_list(
    asked: list[Asked], video: list[np.ndarray], blind: list[np.ndarray], questions: QuestionSet, count: int
) -> list[dict[str, Any]]:
    """The first `count` questions of each kind with the answers of two arms, for `plots/answers.json`."""
    listed = []
    for of_kind, seen, unseen in zip(asked, video, blind, strict=True):
        order = np.random.default_rng(0).permutation(len(of_kind.rows))[:count]
        for i in order:
            row = of_kind.rows[i]
            episode = questions.episodes[questions.clips.episodes[row]]
            listed.append(
                {
                    "key": episode.key,
                    "task": episode.task,
                    "kind": of_kind.kind.name,
                    "question": of_kind.kind.question,
                    "answer": str(of_kind.answers[i]),
                    "predicted": str(seen[i]),
                    "blind": str(unseen[i]),
                    "start": int(questions.clips.starts[row]),
                }
            )
    return listed
