"""Each gate lets good data pass and fails on data with its defect, naming the rows.

Defects are put into one data set side by side, each into an episode of its own, since evaluating takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from good_shards import FPS, LIMITS, good_episodes, pack, write

from vjepa.data.poses import actions_between
from vjepa.gates.expectations import Outcome, build_suites, evaluate
from vjepa.gates.tables import build_tables


def outcomes(shards: Path, suites: Sequence[str] | None = None) -> list[Outcome]:
    tables = build_tables(shards, LIMITS.sampled_episodes, seed=0)
    tables = {name: table for name, table in tables.items() if suites is None or name in suites}
    return evaluate(tables, build_suites(LIMITS, FPS))


def failures(shards: Path, suites: Sequence[str] | None = None) -> dict[str, list[str]]:
    """The failing rows that are named, by table and column."""
    failed: dict[str, list[str]] = {}
    for outcome in outcomes(shards, suites):
        if not outcome.passed:
            failed.setdefault(f"{outcome.suite}.{outcome.column}", []).extend(outcome.examples)
    return failed


@pytest.fixture(scope="module")
def spoiled_episodes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, list[str]]]:
    """What fails where episode after episode has a defect of its own."""
    episodes = good_episodes(12)
    episodes[0].states[3, 2] = np.nan
    episodes[1].states[3, 6] = 1.5
    episodes[2].states[3, 4] = 90
    episodes[3].states[:, 0] += 2
    episodes[4].states[3:, 1] += 0.3
    episodes[5].times[3:] += 0.02
    episodes[6].frames[2:4] = 120
    episodes[7].times = episodes[7].times[:-1]
    episodes[9].states[:] = episodes[9].states[0]

    for number, episode in enumerate(episodes):
        episode.actions = actions_between(episode.states) * (2 if number == 10 else 1)
    yield failures(write(tmp_path_factory.mktemp("spoiled") / "shards", pack(episodes)))


NAMED = {
    "states.z": ["toy-000000 frame 3 (nan)"],
    "states.gripper": ["toy-000001 frame 3 (1.5)"],
    "states.pitch": ["toy-000002 frame 3 (90)"],
    "states.x": [f"toy-000003 frame {frame} (2." for frame in range(5)],  # it fails in six, five are named
    "states.contrast": ["toy-000006 frame 2 ", "toy-000006 frame 3 "],
    "actions.time_step_s": ["toy-000005 frame 2 (0.145)"],
    "actions.largest_move_m": ["toy-000000 frame 2 (nan)", "toy-000000 frame 3 (nan)", "toy-000004 frame 2 (0."],
    "actions.difference_from_states": [
        "toy-000000 frame 2 (nan)",
        "toy-000000 frame 3 (nan)",
        *(f"toy-000010 frame {frame} (0." for frame in range(5)),
    ],
    "samples.length_difference": ["toy-000007 (1)"],
    "episodes.duration_error_s": ["toy-000005 (0.02)", "toy-000007 (0.125)"],
    "episodes.motion_m": ["toy-000000 (nan)", "toy-000009 (0)"],
}


@pytest.mark.parametrize("column", NAMED)
def test_a_defect_of_an_episode_fails_its_gate_and_is_named(
    spoiled_episodes: dict[str, list[str]], column: str
) -> None:
    named = sorted(spoiled_episodes[column])
    assert len(named) == len(NAMED[column])
    for row, expected in zip(named, NAMED[column], strict=True):
        assert row.startswith(expected)


def test_a_defect_fails_no_other_gate(spoiled_episodes: dict[str, list[str]]) -> None:
    assert set(spoiled_episodes) == set(NAMED)


def test_good_data_pass(tmp_path: Path) -> None:
    found = outcomes(write(tmp_path / "shards", pack(good_episodes())))
    assert [outcome.sentence() for outcome in found if not outcome.passed] == []
    assert len(found) > 40


def test_leaks_between_the_splits_and_wrong_rows_of_the_manifest_fail(
    tmp_path: Path,
) -> None:
    packed = pack(good_episodes(10))  # 7, 8 and 9 are held out
    packed[7].row |= {"key": packed[0].row["key"], "group": "other"}
    packed[8].row["group"] = packed[1].row["group"]
    packed[9].row["content_sha256"] = packed[2].row["content_sha256"]
    packed[3].row["fps"] = 15.0
    shards = write(tmp_path / "shards", packed)
    manifest = pd.read_parquet(shards / "manifest.parquet")
    manifest.loc[4, "split"] = "validation"
    manifest.to_parquet(shards / "manifest.parquet")
    assert failures(shards, ["episodes"]) == {
        "episodes.key": ["toy-000000", "toy-000000"],
        "episodes.splits_of_key": ["toy-000000 (2)", "toy-000000 (2)"],
        "episodes.splits_of_group": ["toy-000001 (2)", "toy-000008 (2)"],
        "episodes.splits_of_content_sha256": ["toy-000002 (2)", "toy-000009 (2)"],
        "episodes.fps": ["toy-000003 (15)"],
        "episodes.duration_error_s": ["toy-000003 (0.2917)"],
        "episodes.split": ["toy-000004 (validation)"],
    }
    (row,) = failures(shards, ["samples"])["samples.problem"]
    assert row.startswith("toy-000009 (") and "toy-000009 is damaged" in row


def test_too_few_episodes_and_too_many_in_quarantine_fail(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10))[1:-2], quarantined=5)
    assert failures(shards, ["counts"]) == {
        "counts.episodes_test": [f"{shards} (1)"],
        "counts.quarantined_share": [f"{shards} (0.4167)"],
    }
    shards = write(tmp_path / "few", pack(good_episodes(10))[3:])
    assert failures(shards, ["counts"]) == {"counts.episodes_train": [f"{shards} (4)"]}


def test_any_changed_byte_and_any_missing_file_fail_and_are_named(
    tmp_path: Path,
) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(19)))
    changed = {
        "train-000000": 20,
        "train-000001": 600,
        "train-000002": -1,
    }  # in a name, a video, the end mark
    for name, place in changed.items():
        file = shards / f"train/{name}.tar"
        data = bytearray(file.read_bytes())
        data[place] ^= 1
        file.write_bytes(data)
    (shards / "train/train-000003.tar").unlink()
    assert failures(shards, ["shards"]) == {
        "shards.problem": [
            *(f"{shards}/train/{name}.tar (its bytes have changed since curation)" for name in changed),
            f"{shards}/train/train-000003.tar (the file is missing)",
        ]
    }


def test_episodes_in_damaged_files_are_not_opened(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10)))
    (shards / "train/train-000000.tar").write_bytes(b"")
    opened = build_tables(shards, 100, seed=0)["samples"]["key"]
    assert sorted(opened) == [f"toy-{number:06d}" for number in range(4, 10)]


def test_the_sample_hangs_on_the_seed_alone(tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(10)))
    drawn = [build_tables(shards, 4, seed)["samples"]["key"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 4
