"""Each gate lets good data pass and fails on data with its defect: with the count of rows, their names and what to do.

Defects are put into one data set side by side, each into an episode of its own, since evaluating takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from good_shards import CURATE, FPS, JOINTS, LIMITS, SIZE, VIDEO, good_episodes, pack, write

from vjepa.data.curation import KINDS
from vjepa.data.layout import POSES, read_layout
from vjepa.data.poses import actions_between
from vjepa.data.shards import BALANCE, SHORT_SHOT, read_manifest
from vjepa.gates.expectations import Outcome, evaluate
from vjepa.gates.gate import build_tables
from vjepa.gates.suites import LEFT_OUT, build_suites

Failure = tuple[int, int, list[str], str]
"""Failing rows, rows, beginnings of the examples, part of what to do."""
RAMP = np.linspace(40, 200, SIZE).astype(np.uint8)[:, None]


def tables_of(shards: Path, most: int = 100, seed: int = 0) -> dict[str, pd.DataFrame]:
    limits = replace(LIMITS, sampled_episodes=most)
    return build_tables(shards, read_manifest(shards), read_layout(shards), limits, FPS, seed)


def outcomes(shards: Path, suites: Sequence[str] | None = None) -> list[Outcome]:
    tables = {name: table for name, table in tables_of(shards).items() if suites is None or name in suites}
    return evaluate(tables, build_suites(LIMITS, CURATE, read_layout(shards)))


def failures(shards: Path, suites: Sequence[str] | None = None) -> dict[str, Outcome]:
    """What does not hold, by table, column and the end of the expectation's name."""
    found = [outcome for outcome in outcomes(shards, suites) if not outcome.passed]
    named = {f"{one.suite}.{one.column} {one.expectation.rpartition('_')[2]}": one for one in found}
    assert len(named) == len(found)
    return named


def assert_fails(outcome: Outcome, expected: Failure) -> None:
    failing, rows, examples, remedy = expected
    assert (outcome.failing, outcome.rows) == (failing, rows)
    assert len(outcome.examples) == len(examples)
    for example, beginning in zip(sorted(outcome.examples), examples, strict=True):
        assert example.startswith(beginning)
    assert remedy in outcome.remedy and outcome.sentence().endswith(f". What to do: {outcome.remedy}")


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What fails where episode after episode of hand poses has a defect of its own."""
    episodes = good_episodes(17)
    episodes[0].states[3, 2] = np.nan
    episodes[1].states[3, 6] = 1.5
    episodes[2].states[3, 4] = 90
    episodes[3].states[:, 0] += 2
    episodes[4].states[3:, 1] += 0.3
    episodes[5].times[3:] += 0.02
    episodes[6].frames[2:4] = 120
    episodes[7].times = episodes[7].times[:-1]
    episodes[8].frames[1:] = RAMP
    episodes[9].states[:] = episodes[9].states[0]
    episodes[11].frames = episodes[11].frames.repeat(2, 1).repeat(2, 2)
    episodes[12].times += 0.25
    episodes[13].states = episodes[13].states[:, :6]
    for number, episode in enumerate(episodes):
        if episode.states.shape[1] == 7:
            episode.actions = actions_between(episode.states) * (2 if number == 10 else 1)
    return failures(write(tmp_path_factory.mktemp("poses") / "shards", pack(episodes)))


OF_POSES: dict[str, Failure] = {
    "states.z null": (1, 90, ["toy-000000 frame 3 (nan)"], "look at its column in the raw data"),
    "states.gripper between": (1, 90, ["toy-000001 frame 3 (1.5)"], "source.state.gripper.open"),
    "states.pitch between": (1, 90, ["toy-000002 frame 3 (90)"], "source.state.rotation.unit"),
    "states.x between": (6, 90, [f"toy-000003 frame {frame} (2." for frame in range(5)], "validate.position_low"),
    "samples.flat_share between": (1, 17, ["toy-000006 (0.3333)"], "validate.min_contrast"),
    "pictures.time_step_s between": (
        2,
        90,
        ["toy-000005 frame 3 (0.145)", "toy-000012 frame 0 (0.375)"],
        "validate.time_tolerance",
    ),
    "actions.largest_move_m between": (1, 75, ["toy-000004 frame 2 (0."], "validate.max_move"),
    "actions.difference_from_states null": (
        2,
        75,
        ["toy-000000 frame 2 (nan)", "toy-000000 frame 3 (nan)"],
        "look at its column",
    ),
    "actions.difference_from_states between": (
        5,
        75,
        [f"toy-000010 frame {frame} (0." for frame in range(5)],
        "dvc repro -f curate",
    ),
    "samples.length_difference set": (1, 17, ["toy-000007 (1)"], "dvc repro -f curate"),
    "samples.frozen_share between": (1, 17, ["toy-000008 (0."], "validate.max_frozen_share"),
    "samples.picture set": (1, 17, ["toy-000011 (32 x 32 uint8)"], "curate.image_size"),
    "samples.widths set": (1, 17, ["toy-000013 (6 states and 7 actions)"], "data/shards/layout.json"),
    "samples.static_share between": (1, 17, ["toy-000009 (1)"], "validate.max_static_share"),
    "samples.end_outlier between": (1, 17, ["toy-000003 ("], "validate.max_outlier"),
    "episodes.state_width set": (1, 17, ["toy-000013 (6)"], "different robots"),
    "episodes.duration_error_s between": (2, 17, ["toy-000005 (0.02)", "toy-000007 (0.125)"], "curate.fps"),
    "episodes.motion_m null": (1, 17, ["toy-000000 (nan)"], "dvc repro -f curate"),
    "episodes.motion_m between": (1, 17, ["toy-000009 (0)"], "curate.min_motion"),
}


@pytest.mark.parametrize("name", OF_POSES)
def test_a_defect_of_hand_poses_fails_its_gate_and_is_named(poses: dict[str, Outcome], name: str) -> None:
    assert_fails(poses[name], OF_POSES[name])


def test_a_defect_of_hand_poses_fails_no_other_gate_and_oddities_are_notes(poses: dict[str, Outcome]) -> None:
    assert set(poses) == set(OF_POSES)
    assert {name for name, outcome in poses.items() if outcome.is_note} == {
        "samples.static_share between",
        "samples.end_outlier between",
    }


@pytest.fixture(scope="module")
def joints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The same of joints whose commands were recorded; the elbow never moves but by faults."""
    layout = replace(JOINTS, derived=False)
    episodes = good_episodes(30, layout=layout)
    for episode in episodes:
        episode.states[:, 1] = 0.5
    episodes[0].states[4, 0] = np.nan
    episodes[1].states[3, 0] = 4 * np.pi
    episodes[2].actions[1, 2] = np.inf
    episodes[3].actions[1, 2] = np.nan
    return failures(write(tmp_path_factory.mktemp("joints") / "shards", pack(episodes, layout), layout))


OF_JOINTS: dict[str, Failure] = {
    "states.shoulder null": (1, 180, ["toy-000000 frame 4 (nan)"], "look at its column in the raw data"),
    "actions.jump_of_shoulder between": (
        2,
        150,
        ["toy-000001 frame 2 (", "toy-000001 frame 3 ("],
        "validate.max_jump",
    ),
    "actions.dhand null": (2, 150, ["toy-000002 frame 1 (nan)", "toy-000003 frame 1 (nan)"], "its column"),
    "columns.range between": (1, 3, ["elbow (0)"], "never moves"),
    "samples.jerk_outlier between": (1, 30, ["toy-000001 ("], "validate.max_outlier"),
}


@pytest.mark.parametrize("name", OF_JOINTS)
def test_a_defect_of_joints_fails_its_gate_and_is_named(joints: dict[str, Outcome], name: str) -> None:
    assert_fails(joints[name], OF_JOINTS[name])


def test_a_joint_that_never_moves_is_only_noted(joints: dict[str, Outcome]) -> None:
    assert set(joints) == set(OF_JOINTS)
    noted = {name for name, outcome in joints.items() if outcome.is_note}
    assert noted == {"columns.range between", "samples.jerk_outlier between"}


def test_videos_without_states_are_held_to_pictures_and_times_alone(tmp_path: Path) -> None:
    episodes = good_episodes(10, layout=VIDEO)
    episodes[1].frames[4] = 90
    episodes[2].times[5] += 0.01
    episodes[3].frames[:] = RAMP
    shards = write(tmp_path / "shards", pack(episodes, VIDEO), VIDEO)
    assert list(tables_of(shards)) == ["raw", "shards", "episodes", "counts", "samples", "pictures"]
    failed = failures(shards)
    frozen = failed["samples.frozen_share between"]
    assert frozen.is_note, "nothing may move in a video without a robot"
    assert_fails(frozen, (1, 10, ["toy-000003 ("], "validate.max_frozen_share"))
    assert_fails(failed["samples.flat_share between"], (1, 10, ["toy-000001 (0.1667)"], "validate.min_contrast"))
    assert_fails(failed["pictures.time_step_s between"], (1, 60, ["toy-000002 frame 5 (0.135)"], "curate.fps"))
    assert len(failed) == 4 and "episodes.duration_error_s between" in failed


@pytest.mark.parametrize("layout", [POSES, JOINTS, VIDEO], ids=["poses", "joints", "video"])
def test_good_data_pass(tmp_path: Path, layout: object) -> None:
    assert layout is POSES or layout is JOINTS or layout is VIDEO
    found = outcomes(write(tmp_path / "shards", pack(good_episodes(10, layout=layout), layout), layout))
    assert [outcome.sentence() for outcome in found if not outcome.passed] == []
    assert all(outcome.remedy for outcome in found)


def test_what_curation_left_out_and_repaired_is_limited_by_kind_and_in_all(tmp_path: Path) -> None:
    left_out = ("unreadable", "unreadable", "unreadable", "unreadable", "motionless")
    shards = write(tmp_path / "shards", pack(good_episodes(10)), left_out=left_out)
    repairs = [{"episode": number, "notes": ["moved", "renamed"]} for number in (2, 3, 5, 7)]
    (shards / "repairs.json").write_text(json.dumps(repairs))
    failed = failures(shards, ["raw"])
    files = [f"episode {100 + number} of film.mp4 ({kind}: {number})" for number, kind in enumerate(left_out)]
    assert_fails(failed.pop("raw.unreadable set"), (4, 15, files[:4], "copy or download the files again"))
    assert_fails(failed.pop("raw.left_out set"), (5, 15, files, "data/shards/quarantine.json"))
    repaired = [f"toy-{number:06d} (moved; renamed)" for number in (2, 3, 5, 7)]
    assert_fails(failed.pop("raw.repaired set"), (4, 15, repaired, "data/shards/repairs.json"))
    assert not failed, "one motionless episode of fifteen is within the limit"


def test_each_kind_that_curation_knows_has_a_remedy() -> None:
    assert {*LEFT_OUT, BALANCE, SHORT_SHOT} == set(KINDS)


def test_leaks_between_the_splits_and_wrong_rows_of_the_manifest_fail(tmp_path: Path) -> None:
    packed = pack(good_episodes(10))  # 7, 8 and 9 are held out
    packed[7].row |= {"key": packed[0].row["key"], "group": "other"}
    packed[8].row["group"] = packed[1].row["group"]
    packed[9].row["content_sha256"] = packed[2].row["content_sha256"]
    packed[3].row["fps"] = 15.0
    shards = write(tmp_path / "shards", packed)
    manifest = pd.read_parquet(shards / "manifest.parquet")
    manifest.loc[4, "split"] = "validation"
    manifest.to_parquet(shards / "manifest.parquet")
    assert {name: outcome.examples for name, outcome in failures(shards, ["episodes"]).items()} == {
        "episodes.key unique": ["toy-000000", "toy-000000"],
        "episodes.splits_of_key set": ["toy-000000 (2)", "toy-000000 (2)"],
        "episodes.splits_of_group set": ["toy-000001 (2)", "toy-000008 (2)"],
        "episodes.splits_of_content_sha256 set": ["toy-000002 (2)", "toy-000009 (2)"],
        "episodes.fps between": ["toy-000003 (15)"],
        "episodes.duration_error_s between": ["toy-000003 (0.2917)"],
        "episodes.split set": ["toy-000004 (validation)"],
    }
    (row,) = failures(shards, ["samples"])["samples.problem set"].examples
    assert row.startswith("toy-000009 (") and "toy-000009 is damaged" in row


def test_too_few_episodes_of_a_split_fail(tmp_path: Path) -> None:
    for split, packed, count in (("test", pack(good_episodes(10))[:-2], 1), ("train", pack(good_episodes(10))[3:], 4)):
        shards = write(tmp_path / split, packed)
        ((name, outcome),) = failures(shards, ["counts"]).items()
        assert name == f"counts.episodes_{split} between"
        assert_fails(outcome, (1, 1, [f"{shards} ({count})"], f"validate.min_episodes_{split}"))


def test_any_changed_byte_and_any_missing_file_fail_and_are_named(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(19)))
    changed = {"train-000000": 20, "train-000001": 600, "train-000002": -1}  # in a name, a video, the end mark
    for name, place in changed.items():
        file = shards / f"train/{name}.tar"
        data = bytearray(file.read_bytes())
        data[place] ^= 1
        file.write_bytes(data)
    (shards / "train/train-000003.tar").unlink()
    named = [f"{shards}/train/{name}.tar (its bytes have changed since curation)" for name in changed]
    named.append(f"{shards}/train/train-000003.tar (the file is missing)")
    assert_fails(failures(shards, ["shards"])["shards.problem set"], (4, 5, named, "never edit shards"))


def test_episodes_in_damaged_files_are_not_opened(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10)))
    (shards / "train/train-000000.tar").write_bytes(b"")
    assert sorted(tables_of(shards)["samples"]["key"]) == [f"toy-{number:06d}" for number in range(4, 10)]


def test_where_no_episode_can_be_used_that_alone_is_said(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10)), JOINTS)
    failed = failures(shards, ["samples"])
    assert list(failed) == ["samples.widths set"] and failed["samples.widths set"].failing == 10


def test_the_sample_hangs_on_the_seed_alone(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10)))
    drawn = [tables_of(shards, 4, seed)["samples"]["key"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 4
