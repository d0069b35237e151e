from __future__ import annotations

import pytest

from benchmarks._result import Comparison, in_turn


@pytest.mark.parametrize("unit, ratio, spread", [("clips/s", 2.0, [1.5, 4.0]), ("s", 0.5, [0.25, 0.667])])
def test_a_ratio_above_one_means_that_ours_is_better(unit: str, ratio: float, spread: list[float]) -> None:
    record = Comparison([30.0, 40.0, 45.0], [20.0, 10.0, 30.0], unit).record("x", "another", "in words", kept=1)
    assert (record["ours"], record["peer"], record["kept"]) == (40.0, 20.0, 1)
    assert record["ratio"] == ratio
    assert record["spread"] == spread


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    runs = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, 2, str)
    assert order == ["a", "b", "a", "b"]
    assert runs == {"a": [1, 3], "b": [2, 4]}
