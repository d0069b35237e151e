"""Masks: what is predicted is a union of equal blocks, and the context never meets it."""

import numpy as np
import pytest

from vjepa.config import MaskConfig
from vjepa.pretraining.masks import block_size, sample_masks

SHORT = MaskConfig(blocks=8, spatial_scale=0.15, aspect_ratio=[0.75, 1.5])
LONG = MaskConfig(blocks=2, spatial_scale=0.7, aspect_ratio=[0.75, 1.5])
GRID = (4, 16, 16)


@pytest.mark.parametrize("config", [SHORT, LONG])
def test_context_and_targets_never_meet_and_reach_through_time(config):
    context, targets = sample_masks(GRID, config, 16, np.random.default_rng(0))
    for seen, hidden in zip(context, targets, strict=True):
        assert not set(seen) & set(hidden)
        assert len(set(seen)) == len(seen) and len(set(hidden)) == len(hidden)
        for ids in (seen, hidden):  # tubes: the same patches at every time step
            assert {tuple(np.sort(ids[ids // 256 == t] % 256)) for t in range(4)} == {tuple(np.unique(ids % 256))}


def test_one_clip_alone_hides_exactly_the_union_of_its_blocks():
    context, targets = sample_masks(GRID, LONG, 1, np.random.default_rng(3))
    assert context.shape[1] + targets.shape[1] == 4 * 256


def test_masks_repeat_with_the_seed_and_differ_between_clips():
    first, again = (sample_masks(GRID, SHORT, 4, np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1][0], first[1][1])


def test_a_block_as_large_as_the_frame_is_refused():
    whole = MaskConfig(blocks=1, spatial_scale=0.999, aspect_ratio=[1.0, 1.0])
    with pytest.raises(ValueError, match="leaves no context"):
        sample_masks(GRID, whole, 2, np.random.default_rng(0))


@pytest.mark.parametrize(("config", "visible", "blocks"), [(SHORT, 0.38, 8), (LONG, 0.18, 2)])
def test_ten_thousand_draws_agree_with_the_papers_settings(config: MaskConfig, visible: float, blocks: int) -> None:
    """Every block is watched where it is placed: its size, how many there are, and that the targets are their union."""
    rng = np.random.default_rng(1)
    spied = Spy(rng)
    shares, areas, aspects = [], [], []
    for _ in range(10_000):
        spied.corners.clear()
        height, width = block_size(16, 16, config, np.random.default_rng(seed := int(rng.integers(2**32))))
        spied.rng = np.random.default_rng(seed)
        context, targets = sample_masks((1, 16, 16), config, 1, spied)
        union = np.zeros((16, 16), bool)
        corners = spied.corners[-2 * blocks :]  # masks without any context are drawn again
        for top, left in zip(corners[0::2], corners[1::2], strict=True):
            union[top : top + height, left : left + width] = True
        assert len(spied.corners) % (2 * blocks) == 0
        assert np.array_equal(np.flatnonzero(union), targets[0])
        assert np.array_equal(np.flatnonzero(~union), context[0])
        shares.append(context.shape[1] / 256)
        areas.append(height * width / 256)
        aspects.append(height / width)
    assert np.mean(shares) == pytest.approx(visible, abs=0.01)
    assert np.mean(areas) == pytest.approx(config.spatial_scale, rel=0.03)
    assert np.mean(aspects) == pytest.approx(np.mean(config.aspect_ratio), abs=0.03)


class Spy:
    """A random generator that keeps the integers it gave: the blocks' corners."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.corners = rng, []

    def integers(self, high: int) -> int:
        self.corners.append(int(self.rng.integers(high)))
        return self.corners[-1]

    def __getattr__(self, name: str):
        return getattr(self.rng, name)
