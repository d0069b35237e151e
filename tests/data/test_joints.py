"""States that are no hand pose: columns as they are, with actions of the file or derived from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_lerobot import CAMERA, CONFIG, FPS, STATE, Recording, recording, write_lerobot_v2

from vjepa.config import ActionConfig, ColumnConfig, SourceConfig
from vjepa.data.curation import curate
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes
from vjepa.data.sources import open_source
from vjepa.errors import DataError

JOINTS = [ColumnConfig(STATE, [6, 0, 1], "rad"), ColumnConfig("hand", [0], "1")]
DERIVED = SourceConfig("lerobot", CAMERA, None, JOINTS, None)


def made(seed: int) -> Recording:
    episode = recording(seed, length=17)
    rows = np.arange(17.0)[:, None]
    episode.columns = {"hand": 100 + rows, "action": np.concatenate([seed + rows, rows**2], axis=1)}
    return episode


def write(path: Path, count: int = 6, **spoiled: np.ndarray) -> Path:
    recordings = [made(seed) for seed in range(count)]
    recordings[1].columns |= spoiled
    features = {CAMERA: {"dtype": "video"}, STATE: {"dtype": "float32", "shape": [7]}}
    features |= {"hand": {"dtype": "float32", "shape": [1]}, "action": {"dtype": "float32", "shape": [2]}}
    return write_lerobot_v2(path, recordings, features=features)


def curated(tmp_path: Path, source: SourceConfig, **spoiled: np.ndarray) -> Path:
    (tmp_path / "shards").mkdir(parents=True)
    curate(write(tmp_path / "raw", **spoiled), tmp_path / "shards", source, CONFIG, tmp_path / "journal")
    return tmp_path / "shards"


def test_widths_names_and_units_follow_the_settings(tmp_path: Path) -> None:
    shards = curated(tmp_path, DERIVED)
    layout = read_layout(shards)
    assert layout.state_names == (f"{STATE}[6]", f"{STATE}[0]", f"{STATE}[1]", "hand[0]")
    assert layout.state_units == layout.action_units == ("rad", "rad", "rad", "1")
    assert not layout.pose and layout.derived
    for episode in [*load_episodes(shards, "train"), *load_episodes(shards, "test")]:
        original = made(int(episode.key[-6:]))
        assert (episode.states[:, :3] == original.states[::2][:, [6, 0, 1]]).all()
        assert (episode.states[:, 3] == 100 + np.arange(0, 17, 2)).all()
        np.testing.assert_allclose(episode.actions, np.diff(episode.states, axis=0), atol=1e-6)


@pytest.mark.parametrize("between", ["last", "sum"])
def test_recorded_actions_are_those_between_two_sampled_frames(between: str, tmp_path: Path) -> None:
    """Every second row is sampled: between rows 2k and 2k + 2 the actions of the rows 2k and 2k + 1 were done."""
    action = ActionConfig([ColumnConfig("action", [0, 1], "rad")], between)
    shards = curated(tmp_path, replace(DERIVED, action=action))
    layout = read_layout(shards)
    assert layout.action_names == ("action[0]", "action[1]") and not layout.derived
    for episode in load_episodes(shards, "train"):
        done = made(int(episode.key[-6:])).columns["action"]
        expected = done[1::2] if between == "last" else done[:-1:2] + done[1::2]
        assert episode.actions.dtype == np.float32 and (episode.actions == expected).all()


def test_a_joint_or_an_action_that_is_no_number_costs_its_own_episode_and_is_named(tmp_path: Path) -> None:
    hand = np.arange(17.0)[:, None]
    hand[4] = np.nan
    shards = curated(tmp_path / "state", DERIVED, hand=hand)
    assert "NaN state: hand[0] at 0.400 s" in (shards / "quarantine.json").read_text()
    assert len(load_episodes(shards, "train")) + len(load_episodes(shards, "test")) == 5
    action = ActionConfig([ColumnConfig("action", [1], "rad")], "sum")
    commands = np.zeros((17, 2))
    commands[3, 1] = np.inf
    shards = curated(tmp_path / "action", replace(DERIVED, action=action), action=commands)
    assert "in the recorded action, action[1] at" in (shards / "quarantine.json").read_text()


def test_a_place_beyond_the_columns_width_is_an_error_that_names_both(tmp_path: Path) -> None:
    source = replace(DERIVED, columns=[ColumnConfig("hand", [1], "rad")])
    with pytest.raises(DataError, match=r"the column 'hand' has the shape \[1\].* value number 1"):
        open_source(write(tmp_path), source, FPS)
