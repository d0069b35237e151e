"""Projectors into the frozen language model, what they are asked, and its answers on held-out episodes.

Three arms see the same questions in the same order for the same number of steps, from the same initial projector: the
trained encoder, an encoder with random weights, and none at all ("blind": every clip is the mean clip). What an arm
answers better than the blind one it owes to the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vjepa.config import AlignConfig
from vjepa.data.clips import ClipSampler
from vjepa.data.episode import Episode
from vjepa.data.motion import tabulate
from vjepa.errors import DataError
from vjepa.language.language_model import FrozenLanguageModel
from vjepa.language.questions import Kind, held_out_rows, kinds_of_questions
from vjepa.nn.encoder import VisionTransformer, normalise_pixels
from vjepa.nn.projector import Projector

REDUCED, HIDDEN = 16, 256  # numbers kept of each token, and width of the projector's MLP
ANSWER_BATCH = 64


class QuestionSet:
    """Episodes, their clips and what can be asked about them: the task alone where states are no hand poses.

    Raises:
        DataError: no episode is long enough.
    """

    def __init__(self, episodes: Sequence[Episode], config: AlignConfig, seed: int, pose: bool = True) -> None:
        self.episodes = episodes
        self.sampler = ClipSampler(episodes, config.frames, config.stride, seed)
        self.clips = tabulate(self.sampler, pose)
        self.kinds = kinds_of_questions(self.clips, config.min_move)

    def open_kinds(self) -> list[Kind]:
        """The kinds that have more than one answer: the others say nothing about a clip.

        Raises:
            DataError: there is none.
        """
        found = [kind for kind in self.kinds if len(kind.answer_set) > 1]
        if not found:
            raise DataError(
                f"{len(self.episodes)} episodes leave nothing to ask: one task, and no motion beyond align.min_move"
            )
        return found

    def frames(self, rows: np.ndarray) -> Tensor:
        """The clips in some rows of the table: `uint8 [B, T, H, W, 3]`."""
        return torch.from_numpy(self.sampler.cut(self.clips.episodes[rows], self.clips.starts[rows]).frames)


@dataclass
class Arm:
    """An encoder (None: blind) and the projector that learned from it."""

    encoder: VisionTransformer | None
    projector: Projector

    @torch.no_grad()
    def tokens(self, frames: Tensor) -> Tensor:
        """What the projector is given: `uint8 [B, T, H, W, 3] -> [B, N, D]`; the mean clip if the arm is blind."""
        if self.encoder is None:
            return self.projector.token_mean.expand(len(frames), -1, -1)
        return self.encoder(normalise_pixels(frames))


def new_projector(
    model: FrozenLanguageModel, encoder: VisionTransformer, questions: QuestionSet, config: AlignConfig, seed: int
) -> Projector:
    """The projector that every arm starts from; `encoder` and `config` give its sizes, the answers its first words."""
    tokens = config.frames // encoder.tubelet * encoder.grid[0] * encoder.grid[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector = Projector(tokens, encoder.width, REDUCED, HIDDEN, config.visual_tokens, model.width)
    answers = sorted({answer for kind in questions.open_kinds() for answer in kind.answer_set})
    projector.start_from_words(model.word_embeddings(answers))
    return projector


@dataclass
class Asked:
    """Held-out questions of one kind.

    Attributes:
        kind: as training had it: its prompt must not show what only held-out episodes know.
        rows: `int64 [Q]`, of the table of held-out clips.
        answers: `<U [Q]`, the true ones.
    """

    kind: Kind
    rows: np.ndarray
    answers: np.ndarray


def choose_questions(questions: QuestionSet, train: QuestionSet, count: int, seed: int) -> list[Asked]:
    """At most `count` held-out questions of each kind that training had."""
    trained = {kind.name: kind for kind in train.open_kinds()}
    asked = []
    for kind in questions.kinds:
        if kind.name in trained and kind.answer_set:
            rows = held_out_rows(kind, questions.clips.episodes, count, np.random.default_rng(seed))
            asked.append(Asked(trained[kind.name], rows, kind.answers[rows]))
    return asked


@torch.inference_mode()
def answers_of(model: FrozenLanguageModel, arm: Arm, questions: QuestionSet, asked: Asked) -> np.ndarray:
    """The arm's greedy answers, `<U [Q]`."""
    longest = model.encode_answers(asked.kind.answer_set).shape[1]
    texts: list[str] = []
    for rows in np.array_split(asked.rows, -(-len(asked.rows) // ANSWER_BATCH)):
        visual = arm.projector(arm.tokens(questions.frames(rows)))
        texts += model.answer(asked.kind.prompt, visual, longest)
    return np.array(texts)
