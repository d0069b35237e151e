"""New data against the profile of what the model in service learned from."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from good_shards import CURATE, FPS, JOINTS, LIMITS, SIZE, good_episodes, pack, write

from vjepa.data.episode import Episode
from vjepa.data.layout import POSES, Layout
from vjepa.data.shards import read_manifest
from vjepa.errors import DataError
from vjepa.files import write_json
from vjepa.gates.drift import Profile, build_profile, drift_row, drift_tables, read_profile
from vjepa.gates.expectations import Outcome, evaluate
from vjepa.gates.gate import build_tables, check
from vjepa.gates.suites import build_suites


def look_at(folder: Path, episodes: list[Episode], layout: Layout) -> tuple[Profile, pd.DataFrame]:
    """The profile of the episodes, and their manifest."""
    shards = write(folder / "shards", pack(episodes, layout), layout)
    manifest = read_manifest(shards)
    tables = build_tables(shards, manifest, layout, LIMITS, FPS, seed=0)
    return build_profile(tables, manifest, layout, FPS, SIZE), manifest


def failures(folder: Path, reference: Path, episodes: list[Episode], layout: Layout = POSES) -> list[Outcome]:
    profile, manifest = look_at(folder, episodes, layout)
    tables = drift_tables(profile, read_profile(reference), manifest)
    return [one for one in evaluate(tables, build_suites(LIMITS, CURATE, layout)) if not one.passed]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile of forty good episodes, as the stage would leave it."""
    folder = tmp_path_factory.mktemp("reference")
    profile, _ = look_at(folder, good_episodes(40), POSES)
    write_json(folder / "profile.json", asdict(profile))
    return folder / "profile.json"


def test_a_profile_is_small_and_comes_back_as_it_was_written(reference: Path) -> None:
    profile = read_profile(reference)
    assert len(reference.read_bytes()) < 10_000
    assert (profile.episodes, profile.frames, profile.tasks) == (40, 240, {"reach": 1.0})
    assert profile.quantities["frames a second"] == [8.0] * 20
    assert np.isclose(np.median(profile.quantities["state x"]), 0.3, atol=0.05)


def test_other_episodes_of_the_same_kind_pass_the_whole_gate(tmp_path: Path, reference: Path) -> None:
    shards = write(tmp_path / "shards", pack(good_episodes(40, first=100)))
    verdict = check(shards, replace(LIMITS, reference=str(reference)), CURATE, seed=0, docs=tmp_path / "docs")
    assert [outcome.sentence() for outcome in verdict.failed] == []
    assert verdict.rows["drift"] == 18 and verdict.rows["tasks"] == 40
    assert ">drift</a>" in (tmp_path / "docs/index.html").read_text()


def test_other_light_another_robot_and_a_new_task_are_named_with_both_medians(tmp_path: Path, reference: Path) -> None:
    episodes = good_episodes(40, first=100)
    for episode in episodes:
        episode.frames = episode.frames // 2 + 90
        episode.states[:, 1] += 0.3
    episodes[7].task = "open the door"
    failed = {outcome.suite: outcome for outcome in failures(tmp_path, reference, episodes)}
    assert set(failed) == {"drift", "tasks"}
    light, contrast, robot = failed["drift"].examples
    assert light.startswith("picture brightness median 153") and ", was 127" in light
    assert contrast.startswith("picture contrast median ")
    now, before = (float(value) for value in re.findall(r"0\.\d+", robot)[:2])
    assert robot.startswith("state y median 0.") and 0.25 < now - before < 0.35
    assert (failed["drift"].failing, failed["drift"].rows) == (3, 18)
    assert "validate.max_drift" in failed["drift"].remedy
    assert failed["tasks"].examples == ["toy-000107 (open the door)"]
    assert "validate.max_unknown_task_share" in failed["tasks"].sentence()


def test_other_states_than_the_model_knows_are_named(tmp_path: Path, reference: Path) -> None:
    (outcome,) = failures(tmp_path, reference, good_episodes(40, layout=JOINTS), JOINTS)
    assert (outcome.suite, outcome.column, outcome.failing) == ("drift", "found_in", 20)
    assert re.fullmatch(r"state x median absent, was 0\.\d+ \(the reference alone\)", outcome.examples[0])
    assert "source.state" in outcome.remedy


def test_a_quantity_that_never_changed_drifts_by_more_than_its_last_digits_only() -> None:
    def profile(value: float) -> Profile:
        return Profile(1, 1, {"state roll": [value] * 20}, {})

    assert float(str(drift_row("state roll", profile(0.50001), profile(0.5))["distance"])) < 0.1
    assert float(str(drift_row("state roll", profile(0.6), profile(0.5))["distance"])) > 50


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"episodes": 1, "frames": 1, "quantities": {"state x": [1.0, NaN]}, "tasks": {}}']
)
def test_a_file_that_is_no_profile_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(DataError, match=r"profile\.json is no data profile: .*; take the data/profile\.json of a run"):
        read_profile(tmp_path / "profile.json")
    with pytest.raises(DataError, match=r"nothing\.json is missing: validate\.reference names"):
        read_profile(tmp_path / "nothing.json")
