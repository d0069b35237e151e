"""Intervals are Wilson's for rates and resample whole episodes for means."""

import numpy as np
import pytest

from vjepa.statistics import mean, rate, ratio


def test_a_rate_has_wilsons_interval():
    found = rate([True] * 44 + [False] * 6)
    assert found["value"] == 0.88 and found["n"] == 50
    assert found["low"] == pytest.approx(0.762, abs=1e-3) and found["high"] == pytest.approx(0.944, abs=1e-3)


def test_certain_outcomes_keep_an_interval():
    assert rate([True] * 20)["low"] < 0.9 and rate([False] * 20)["high"] > 0.1


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [mean(rng.normal(size=60)) for _ in range(200)]
    covered = np.mean([i["low"] <= 0 <= i["high"] for i in intervals])
    assert 0.90 <= covered <= 0.98


def test_a_ratio_is_that_of_the_means_and_its_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        below = rng.gamma(4, 0.25, 120)
        above = 0.6 * below + 0.1 * rng.normal(size=120)
        found = ratio(above, below, np.arange(120))
        inside += found["low"] <= 0.6 <= found["high"]
        assert found["value"] == pytest.approx(above.mean() / below.mean()) and found["n"] == 120
    assert 180 <= inside <= 198
    alike = ratio(np.repeat(above, 5), np.repeat(below, 5), np.repeat(np.arange(120), 5))
    assert alike == pytest.approx(found), "five windows of one episode are no five episodes"


def test_items_of_nothing_count_only_above():
    assert ratio([1.0, 3.0], [0.0, 2.0], [0, 1])["value"] == 2.0


@pytest.mark.parametrize(
    ("above", "below"), [([1.0], [0.0]), ([1.0, 2.0], [1.0]), ([], []), ([np.nan], [1.0]), ([1.0], [-1.0])]
)
def test_there_is_no_ratio_to_nothing(above, below):
    with pytest.raises(ValueError, match="a ratio needs"):
        ratio(above, below, np.arange(len(above)))


def test_items_of_one_episode_count_as_one():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 50)
    alone, grouped = mean(values), mean(values, np.repeat(np.arange(20), 50))
    assert grouped["n"] == 20 and alone["value"] == grouped["value"]
    assert grouped["high"] - grouped["low"] > 4 * (alone["high"] - alone["low"])


def test_answers_that_are_all_alike_keep_an_interval():
    found = mean(np.ones(40), np.repeat(np.arange(10), 4))
    assert found == rate([True] * 10)
    assert mean(np.full(5, 2.5))["low"] == 2.5  # no answers: nothing bounds what else it could be


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_nothing_is_not_a_mean(values):
    with pytest.raises(ValueError, match="at least one finite value"):
        mean(values)
