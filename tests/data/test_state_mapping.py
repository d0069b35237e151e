"""Whatever unit and convention a data set has, the state is the same pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny_lerobot import MAPPING, STATE

from vjepa.config import GripperConfig, PositionConfig, RotationConfig, SourceConfig, StateConfig, read_config
from vjepa.data.state_mapping import StateMapping, pose_states
from vjepa.errors import UserError

TURNED = Rotation.from_euler("xyz", np.random.default_rng(0).uniform(-1.4, 1.4, (20, 3)))
MATRICES = TURNED.as_matrix()


def test_what_is_in_the_wanted_form_passes_bit_for_bit() -> None:
    states = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    assert (MAPPING.states({STATE: states.astype(np.float64)}, 9) == states).all()
    assert MAPPING.needs == {STATE: 7}


@pytest.mark.parametrize(
    ("convention", "unit", "values"),
    [
        ("xyz", "rad", TURNED.as_euler("xyz")),
        ("xyz", "deg", TURNED.as_euler("xyz", degrees=True)),
        ("zyx", "rad", TURNED.as_euler("zyx")),
        ("ZYX", "deg", TURNED.as_euler("ZYX", degrees=True)),
        ("quaternion xyzw", "rad", TURNED.as_quat()),
        ("quaternion xyzw", "rad", -3 * TURNED.as_quat()),  # the same rotation, of any length
        ("quaternion wxyz", "rad", TURNED.as_quat(scalar_first=True)),
        ("rotation vector", "rad", TURNED.as_rotvec()),
        ("rotation vector", "deg", TURNED.as_rotvec(degrees=True)),
        ("matrix", "rad", MATRICES.reshape(-1, 9)),
        ("6d columns", "rad", np.concatenate([MATRICES[:, :, 0], MATRICES[:, :, 1]], axis=1)),
        ("6d rows", "rad", np.concatenate([MATRICES[:, 0], MATRICES[:, 1]], axis=1)),
    ],
)
def test_every_convention_gives_the_same_angles(convention: str, unit: str, values: np.ndarray) -> None:
    width = values.shape[1]
    columns = {"pose": np.concatenate([np.zeros((20, 2)), values], axis=1), "place": np.ones((20, 3))}
    rotation = RotationConfig("pose", list(range(2, 2 + width)), convention, unit)
    state = StateConfig(PositionConfig("place", [0, 1, 2], "m"), rotation, None)
    assert StateMapping(SourceConfig("lerobot", "c", state, [], None)).needs == {"place": 3, "pose": 2 + width}
    np.testing.assert_allclose(pose_states(columns, state)[:, 3:6], TURNED.as_euler("xyz"), atol=1e-6)


@pytest.mark.parametrize(("unit", "scale"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_units_order_and_the_grippers_sense(unit: str, scale: float) -> None:
    place, width = np.random.default_rng(2).normal(size=(5, 3)), np.linspace(0.08, 0.0, 5)
    columns = {"tcp": scale * place[:, ::-1], "fingers": width[:, None]}
    config = StateConfig(
        PositionConfig("tcp", [2, 1, 0], unit), None, GripperConfig("fingers", 0, open=0.08, closed=0.0)
    )
    states = pose_states(columns, config)
    np.testing.assert_allclose(states[:, :3], place, atol=1e-6)
    np.testing.assert_allclose(states[:, 6], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    assert not states[:, 3:6].any()


def test_a_gripper_a_little_beyond_its_range_is_at_its_end_and_one_far_beyond_stays_for_the_gates() -> None:
    config = StateConfig(PositionConfig("p", [0, 1, 2], "m"), None, GripperConfig("p", 3, open=0.0, closed=0.08))
    columns = {"p": np.array([[0, 0, 0, width] for width in (-0.001, 0.04, 0.0801, 0.8)])}
    np.testing.assert_allclose(pose_states(columns, config)[:, 6], [0, 0.5, 1, 10], atol=1e-6)


def test_missing_values_stay_missing_and_the_rest_is_turned() -> None:
    values = TURNED.as_quat()
    values[3, 1] = np.nan
    config = RotationConfig("q", [0, 1, 2, 3], "quaternion xyzw", "rad")
    angles = pose_states({"q": values}, StateConfig(PositionConfig("q", [0, 1, 2], "m"), config, None))[:, 3:6]
    assert np.isnan(angles[3]).all() and np.isfinite(np.delete(angles, 3, axis=0)).all()


@pytest.mark.parametrize(
    ("convention", "values", "complaint"),
    [
        ("quaternion xyzw", np.zeros((2, 4)), "zero norm"),
        ("matrix", np.zeros((2, 9)), r"row 0 is no rotation: its determinant is 0"),
        ("matrix", np.diag([1.0, 1, -1]).reshape(1, 9), "determinant is -1"),
        ("6d rows", np.ones((1, 6)), "determinant is 0"),
    ],
)
def test_values_that_are_no_rotation_are_refused(convention: str, values: np.ndarray, complaint: str) -> None:
    config = RotationConfig("r", list(range(values.shape[1])), convention, "rad")
    with pytest.raises(ValueError, match=complaint):
        pose_states({"r": values}, StateConfig(PositionConfig("r", [0, 1, 2], "m"), config, None))


PLACE = {"column": "s", "at": [0, 1, 2], "unit": "m"}
TURN = {"column": "s", "at": [3, 4, 5], "convention": "xyz", "unit": "rad"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"position": PLACE | {"unit": "inch"}}, "state.position.unit must be one of"),
        ({"position": PLACE | {"at": [0, 1]}}, "state.position.at needs three different places"),
        ({"rotation": TURN | {"convention": "quaternion"}}, "quaternion xyzw, quaternion wxyz.*not 'quaternion'"),
        ({"rotation": TURN | {"convention": "xYz"}}, "convention must be Euler letters"),
        ({"rotation": TURN | {"convention": "xxy"}}, "convention must be Euler letters"),
        ({"position": PLACE | {"at": [0, 0, 1]}}, "needs three different places"),
        ({"rotation": TURN | {"convention": "matrix"}}, "state.rotation.at needs 9 different places"),
        ({"rotation": TURN | {"unit": "turns"}}, "state.rotation.unit must be one of"),
        ({"gripper": {"column": "s", "at": 6, "open": 1.0, "closed": 1.0}}, "can't both be 1"),
        ({"gripper": {"column": "s", "at": 6, "opened": 1.0, "closed": 1.0}}, "opened"),
    ],
)
def test_settings_that_make_no_state_are_named(change: dict[str, Any], complaint: str) -> None:
    good = {"position": PLACE, "rotation": TURN, "gripper": None}
    assert read_config(StateConfig, good, "source").gripper is None
    with pytest.raises(UserError, match=complaint):
        read_config(StateConfig, good | change, "source")
