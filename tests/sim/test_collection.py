"""Collections are refused before they start or come out the same, however many processes record them."""

from dataclasses import replace

import numpy as np
import pytest

from vjepa.config import CollectConfig, Variation
from vjepa.errors import UserError
from vjepa.sim.collection import collect_episodes

CONFIG = CollectConfig(
    tasks={"reach-v3": 9, "drawer-close-v3": 1},
    frames=3,
    steps_per_frame=10,
    image_size=32,
    waypoint_share=0.4,
    expert_share=0.3,
    expert_noise=0.3,
    max_move=0.08,
    variation=Variation(light=0.2, colour=0.2, camera=0.0, distractor=0.0),
    workers=1,
)


def test_collection_is_the_same_by_one_process_and_by_two():
    one = list(collect_episodes(CONFIG, seed=5))
    two = list(collect_episodes(replace(CONFIG, workers=2), seed=5))
    assert [sentence for sentence, _ in one] == ["reach the goal position"] * 9 + ["close the drawer"]
    for (sentence, recording), (other_sentence, other) in zip(one, two, strict=True):
        assert sentence == other_sentence
        np.testing.assert_array_equal(recording.frames, other.frames)
        np.testing.assert_array_equal(recording.states, other.states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": {}}, "collect.tasks is empty"),
        ({"tasks": {"reach": 3}}, "no task 'reach'.*reach-v3"),
        ({"tasks": {"reach-v3": 0}}, "reach-v3 has 0 episodes"),
        ({"max_move": 0.2}, r"max_move is 0.2 m.*0.08 m"),
        ({"image_size": 33}, "image_size is 33.*even"),
        ({"frames": 1}, "frames must be 2 or more"),
        ({"waypoint_share": 0.8}, "1 at most together"),
    ],
)
def test_settings_that_can_not_work_are_refused_at_once(change, message):
    with pytest.raises(UserError, match=message):
        next(collect_episodes(replace(CONFIG, **change), seed=0))
