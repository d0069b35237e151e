"""What the arms learn, and what the blind one can't."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.probing.moving_square import moving_square, moving_squares
from tests.training.killed import train_until_killed
from vjepa.errors import DataError, UserError
from vjepa.language.align import Arm, QuestionSet, answers_of, choose_questions, new_projector
from vjepa.language.folder import load_projector, save_projector
from vjepa.language.scores import answer_accuracy, answer_list
from vjepa.language.training import ArmTraining


@pytest.fixture
def train(config):
    return QuestionSet(moving_squares(32), config, seed=0)


@pytest.fixture
def test(config):
    return QuestionSet(moving_squares(16, seed=1), config, seed=0)


@pytest.fixture
def projector(model, encoder, train, config):
    return new_projector(model, encoder, train, config, seed=0)


@pytest.fixture
def train_arm(tmp_path):
    """Train an arm, each from its beginning."""

    def train(model, arm, questions, config):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        ArmTraining(model, arm, questions, config, 0, folder, "data").train("arm")

    return train


def clone(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_only_the_projector_learns(model, encoder, projector, train, config, train_arm):
    before = [clone(part) for part in (model.model, encoder, projector)]
    train_arm(model, Arm(encoder, projector), train, dataclasses.replace(config, steps=6))
    after = [part.state_dict() for part in (model.model, encoder, projector)]
    for frozen in (0, 1):
        assert all(torch.equal(after[frozen][name], before[frozen][name]) for name in before[frozen])
    for name, tensor in before[2].items():
        assert not torch.equal(after[2][name], tensor), f"{name} never changed"


def test_the_blind_arm_cannot_see_the_clip(model, projector, train, test, config, train_arm):
    blind = Arm(None, projector)
    train_arm(model, blind, train, dataclasses.replace(config, steps=6))
    frames = test.frames(np.arange(6))
    noise = torch.randint(0, 255, frames.shape, dtype=torch.uint8)
    torch.testing.assert_close(projector(blind.tokens(frames)), projector(blind.tokens(noise)), rtol=0, atol=0)
    for asked in choose_questions(test, train, 12, seed=0):
        assert len(set(answers_of(model, blind, test, asked))) == 1


def test_the_blind_arm_learns_too(model, projector, train, config, train_arm):
    before = clone(projector)
    train_arm(model, Arm(None, projector), train, dataclasses.replace(config, steps=6))
    assert not torch.equal(projector.fc2.weight, before["fc2.weight"])


def test_the_arm_with_video_sees_the_clip(model, encoder, projector, train):
    arm = Arm(encoder, projector)
    first, second = projector(arm.tokens(train.frames(np.array([0, len(train.clips) - 1]))))
    assert not torch.allclose(first, second)


def test_video_answers_which_task_better_than_blind(model, encoder, projector, train, test, config, train_arm):
    train.kinds = [kind for kind in train.kinds if kind.name == "task"]
    asked = choose_questions(test, train, 16, seed=0)
    enough = dataclasses.replace(config, steps=60, batch_size=16, learning_rate=1e-2)
    given = {}
    for suffix, seeing in (("", encoder), ("_blind", None)):
        arm = Arm(seeing, copy.deepcopy(projector))
        train_arm(model, arm, train, enough)
        given[suffix] = [answers_of(model, arm, test, questions) for questions in asked]
    accuracy = answer_accuracy(asked, given, test.clips.episodes)
    assert accuracy["answer_accuracy"]["low"] > accuracy["answer_accuracy_blind"]["high"]


def test_the_same_seed_gives_the_same_projector_whether_it_was_killed_or_not(
    model, encoder, train, config, tmp_path, capsys
):
    def training(folder):
        arm = Arm(encoder, new_projector(model, encoder, train, config, seed=3))
        return ArmTraining(model, arm, train, config, 3, tmp_path / folder, "data")

    straight, killed, resumed = training("straight"), training("killed"), training("killed")
    straight.train("arm")
    train_until_killed(killed.run, killed, 23)
    capsys.readouterr()
    resumed.train("arm")
    assert "resumed at step 20" in capsys.readouterr().out
    expected = straight.arm.projector.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.arm.projector.state_dict().items())


def test_exact_matches_are_counted_overall_and_by_kind(train, test):
    asked = choose_questions(test, train, 12, seed=0)
    wrong_task = [np.array(["nonsense"] * len(q.rows)) if q.kind.name == "task" else q.answers for q in asked]
    accuracy = answer_accuracy(asked, {"": wrong_task}, test.clips.episodes)
    assert accuracy["kinds"]["task"]["answer_accuracy"]["value"] == 0
    assert accuracy["kinds"]["down_up"]["answer_accuracy"]["value"] == 1
    questions = sum(len(q.rows) for q in asked)
    tasks = next(len(q.rows) for q in asked if q.kind.name == "task")
    assert accuracy["answer_accuracy"]["value"] == pytest.approx(1 - tasks / questions)


def test_listed_answers_name_the_clip_they_are_about(train, test):
    asked = choose_questions(test, train, 12, seed=0)
    said = [q.answers for q in asked]
    listed = answer_list(asked, said, [np.array(["?"] * len(q.rows)) for q in asked], test, count=2)
    assert json.loads(json.dumps(listed)) == listed
    for item in listed:
        episode = next(e for e in test.episodes if e.key == item["key"])
        x = episode.states[item["start"] : item["start"] + 4, 0]
        assert item["predicted"] == item["answer"] and item["blind"] == "?"
        if item["kind"] == "left_right":
            assert item["answer"] == ("left" if x[-1] < x[0] else "right")
        if item["kind"] == "task":
            assert item["answer"] == episode.task


def test_nothing_to_ask_is_an_error(config):
    still = QuestionSet([moving_square(i, (0.001, 0, 0)) for i in range(3)], config, seed=0)
    with pytest.raises(DataError, match="3 episodes leave nothing to ask"):
        still.open_kinds()


def test_a_projector_is_read_as_it_was_written(model, encoder, projector, train, config, tmp_path):
    projector.fit_statistics(torch.randn(8, 32, 24))
    save_projector(tmp_path / "language", projector, config, train.open_kinds())
    tokens = torch.randn(2, 32, 24)
    torch.testing.assert_close(load_projector(tmp_path / "language")(tokens), projector(tokens), rtol=0, atol=0)


def test_a_folder_of_another_model_is_refused(projector, train, config, tmp_path):
    save_projector(tmp_path / "language", projector, config, train.open_kinds())
    (tmp_path / "language" / "config.json").write_text('{"model_type": "vjepa2"}')
    with pytest.raises(UserError, match="'vjepa2' model, not a projector"):
        load_projector(tmp_path / "language")
