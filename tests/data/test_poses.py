"""Actions are what leads from one pose to the next."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vjepa.data.poses import actions_between


def test_applying_the_actions_returns_the_states():
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.normal(size=(6, 3)), rng.uniform(-1, 1, (6, 3)), rng.uniform(0, 1, (6, 1))], 1)
    for before, action, after in zip(states, actions_between(states.astype(np.float32)), states[1:], strict=False):
        assert np.allclose(before[:3] + action[:3], after[:3], atol=1e-6)
        turned = Rotation.from_euler("xyz", action[3:6]) * Rotation.from_euler("xyz", before[3:6])
        assert np.allclose(turned.as_matrix(), Rotation.from_euler("xyz", after[3:6]).as_matrix(), atol=1e-5)
        assert before[6] + action[6] == pytest.approx(after[6], abs=1e-6)


def test_a_turn_past_pi_is_a_small_action():
    states = np.zeros((2, 7), np.float32)
    states[:, 5] = [3.1, -3.1]
    assert actions_between(states)[0, 5] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


def test_states_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"shape \[T, 7\]"):
        actions_between(np.zeros((3, 14), np.float32))
