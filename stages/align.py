"""Align video with language: the encoder's tokens through a projector into a frozen, pretrained language model.

Reads data/shards and models/encoder; writes models/language, metrics/align.json and plots/answers.json. The same
projector is trained alike on an encoder with random weights and without any video. The dequantised language model is
kept in runs/language_model. A run that was killed goes on from runs/align when it is started again with the same
settings, data and encoder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.runner import main
from vjepa.checkpoints.encoder import load_encoder, untrained_encoder
from vjepa.config import AlignConfig
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes
from vjepa.files import sha256_of, write_json
from vjepa.language.align import Arm, QuestionSet, answers_of, choose_questions, new_projector
from vjepa.language.folder import save_projector
from vjepa.language.pretrained import load_language_model
from vjepa.language.scores import answer_accuracy, answer_list
from vjepa.language.training import ArmTraining

SHARDS, ENCODER, RUNS = Path("data/shards"), Path("models/encoder"), Path("runs/align")
LISTED = 6  # answers of each kind that the report can show


def run(align: AlignConfig, seed: int) -> None:
    """Train the three arms and score their answers on held-out episodes."""
    model = load_language_model(align.language_model, Path("runs/language_model"))
    encoder = load_encoder(ENCODER)
    pose = read_layout(SHARDS).pose
    train = QuestionSet(load_episodes(SHARDS, "train"), align, seed, pose)
    test = QuestionSet(load_episodes(SHARDS, "test"), align, seed, pose)
    asked = choose_questions(test, train, align.questions_per_kind, seed)
    identity = [sha256_of(SHARDS / "manifest.parquet"), sha256_of(ENCODER / "model.safetensors")]
    arms = {
        "": ("with video", encoder),
        "_blind": ("without video", None),
        "_untrained": ("random weights", untrained_encoder(encoder, seed)),
    }
    given = {}
    for suffix, (title, seeing) in arms.items():
        arm = Arm(seeing, new_projector(model, encoder, train, align, seed))
        ArmTraining(model, arm, train, align, seed, RUNS / f"arm{suffix}", identity).train(title)
        given[suffix] = [answers_of(model, arm, test, questions) for questions in asked]
        if not suffix:
            save_projector(Path("models/language"), arm.projector, align, train.open_kinds())
    write_json(Path("plots/answers.json"), answer_list(asked, given[""], given["_blind"], test, LISTED))
    write_json(Path("metrics/align.json"), answer_accuracy(asked, given, test.clips.episodes))
    shutil.rmtree(RUNS)


if __name__ == "__main__":
    main(run)
