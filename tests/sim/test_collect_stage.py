"""The stage writes what was recorded, with actions that are the differences of the states."""

import numpy as np
import pytest

from stages import collect
from vjepa.config import CollectConfig, ColumnConfig, SourceConfig, Variation
from vjepa.data.lerobot import open_dataset
from vjepa.data.poses import actions_between
from vjepa.data.state_mapping import StateMapping
from vjepa.errors import UserError
from vjepa.sim.behaviours import Recording

CONFIG = CollectConfig(
    tasks={"reach-v3": 2},
    frames=5,
    steps_per_frame=10,
    image_size=32,
    waypoint_share=1.0,
    expert_share=0.0,
    expert_noise=0.0,
    max_move=0.08,
    variation=Variation(light=0.0, colour=0.0, camera=0.0, distractor=0.0),
    workers=1,
)


def as_it_is(column: str) -> StateMapping:
    chosen = [ColumnConfig(column, list(range(7)), "1")]
    return StateMapping(SourceConfig("lerobot", collect.CAMERA, None, chosen, None))


def test_stage_writes_every_episode_with_its_time_step(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "RAW", tmp_path / "raw")
    collect.run(CONFIG, data_seed=0)
    opened = open_dataset(tmp_path / "raw")
    assert opened.fps == 8 and len(opened.episodes) == 2
    raw = opened.read(opened.episodes[0], collect.CAMERA, as_it_is("observation.state"))
    actions = opened.read(opened.episodes[0], collect.CAMERA, as_it_is("action")).states
    assert raw.task == "reach the goal position" and raw.frames.shape == (5, 32, 32, 3)
    np.testing.assert_allclose(actions[:-1], actions_between(raw.states), atol=1e-6)
    assert not actions[-1].any()


def test_success_stands_in_the_row_whose_action_led_to_it():
    recording = Recording(np.zeros((4, 2, 2, 3), np.uint8), np.zeros((4, 7), np.float32), np.array([0, 0, 1, 0], bool))
    assert collect.columns_of(recording)["next.success"].tolist() == [False, True, False, False]


def test_collection_that_fails_leaves_the_earlier_data_and_nothing_else(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise UserError("a simulator process was killed")

    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/earlier").touch()
    monkeypatch.setattr(collect, "RAW", tmp_path / "raw")
    monkeypatch.setattr(collect, "collect_episodes", fail)
    with pytest.raises(UserError, match="was killed"):
        collect.run(CONFIG, data_seed=0)
    assert [file.name for file in tmp_path.rglob("*")] == ["raw", "earlier"]
