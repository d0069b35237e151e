"""The training curves of the page: what was measured now and then is drawn, with the limits that end a run."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from made_up_run import make_run

from vjepa.report.charts import line_chart

NAN = float("nan")


def drawn(svg: str, what: str) -> list[tuple[float, float]]:
    """The points of a line of the chart, which is in one piece; y grows downwards."""
    found = re.search(rf'id="c-{what}".*?d="([^"]*)"', svg, re.DOTALL)
    assert found and found[1].count("M") == 1, f"{what} is not drawn, or in pieces"
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", found[1])]


def test_a_number_that_is_measured_in_few_rows_is_a_line_through_these() -> None:
    svg = line_chart("c", "", [0, 10, 20, 30, 40], {"read-out": [0.2, NAN, 0.5, NAN, 0.4]})
    points = drawn(svg, "accent")
    assert len(points) == 3 and points[0][1] > points[2][1] > points[1][1]


def test_a_line_below_zero_and_a_limit_above_all_values_are_inside_the_chart() -> None:
    svg = line_chart("c", "", [0, 1, 2], {"x": [-1.0, -0.5, 0.5]}, limit=1.0)
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])  # type: ignore[index]
    heights = [y for what in ("accent", "limit") for _, y in drawn(svg, what)]
    assert 0 < min(heights) < max(heights) < height
    assert all(limit[1] < point[1] for limit in drawn(svg, "limit") for point in drawn(svg, "accent"))


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The charts of a made-up run's pretraining, by title."""
    made = make_run(tmp_path_factory.mktemp("curves"))
    made.write()
    made.render()
    page = Path(made.folder / "report" / "index.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="pretraining">') :]
    parts = re.split(r"<h3>", section[: section.index("</section>")])
    return {part[: part.index("</h3>")]: part for part in parts[1:] if "<svg" in part}


def test_all_that_tells_a_collapse_is_drawn_with_its_limit(charts: dict[str, str]) -> None:
    limits = {"Feature deviation": "feature_deviation", "Effective rank": "effective_rank"}
    limits["Similarity of different clips"] = "clip_similarity"
    assert charts.keys() >= {*limits, "Loss", "Linear read-out of the state (R²)", "Length of the gradient"}
    for title, chart in charts.items():
        assert (f'id="pretrain-{limits.get(title)}-limit"' in chart) == (title in limits)
        assert ("; limit " in chart) == (title in limits)
        assert "nan" not in chart


def test_higher_is_higher() -> None:
    heights = [y for _, y in drawn(line_chart("c", "", [0, 1, 2], {"x": [1.0, 2.0, 3.0]}), "accent")]
    assert all(a > b for a, b in pairwise(heights))
