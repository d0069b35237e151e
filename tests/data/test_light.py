"""Other light changes a clip's contrast and nothing else, and the same in all of its frames."""

import numpy as np

from vjepa.data.light import in_random_light

CLIPS = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8, 3), np.uint8)


def test_each_clip_is_one_factor_and_one_offset_away_from_itself():
    shown = in_random_light(CLIPS, 0.5, np.random.default_rng(1))
    lines = [np.polyfit(clip.ravel(), other.ravel().astype(float), 1) for clip, other in zip(CLIPS, shown, strict=True)]
    for (factor, offset), clip, other in zip(lines, CLIPS, shown, strict=True):
        assert 0.49 < factor < 1.01 and -0.5 < offset < 65
        assert np.abs(factor * clip + offset - other).max() < 1, "all frames alike"
    assert len({round(factor, 2) for factor, _ in lines}) > 3, "each clip has its own"


def test_full_contrast_leaves_clips_as_they_are():
    assert np.array_equal(in_random_light(CLIPS, 1.0, np.random.default_rng(1)), CLIPS)


def test_later_draws_do_not_hang_on_the_strength():
    first, second = np.random.default_rng(2), np.random.default_rng(2)
    in_random_light(CLIPS, 0.5, first)
    in_random_light(CLIPS, 1.0, second)
    assert first.random() == second.random()
