"""The gate as the chain meets it: one line on failure, counts for the metrics, pages that open anywhere."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from good_shards import CURATE, LIMITS, good_episodes, pack, write

from stages import validate
from vjepa.data.layout import POSES
from vjepa.errors import DataError, GateError


class References(HTMLParser):
    """Collects what a page loads or links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if name in ("src", "href") and value]


def test_good_shards_leave_counts_and_pages_that_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = good_episodes()
    for episode in episodes:
        episode.states[:, 5] = 0.5  # which is noted and stops nothing
        episode.actions = POSES.actions_between(episode.states)
    write(tmp_path / "data/shards", pack(episodes))
    monkeypatch.chdir(tmp_path)
    left: list[dict[Path, bytes]] = []
    for _ in range(2):
        validate.run(LIMITS, CURATE, data_seed=0)
        files = [path for path in Path("data/docs").rglob("*") if path.is_file()]
        left.append({path: path.read_bytes() for path in [*files, Path("data/profile.json")]})
    assert left[0] == left[1], "equal data, equal pages"
    counts = json.loads(Path("metrics/validate.json").read_text())
    assert counts["expectations_evaluated"] == counts["expectations_passed"] > 40
    assert counts["rows"] == {
        "raw": 10,
        "shards": 3,
        "episodes": 10,
        "counts": 1,
        "samples": 10,
        "pictures": 60,
        "columns": 7,
        "states": 60,
        "actions": 50,
    }
    index = Path("data/docs/index.html").read_text()
    assert counts["notes"] == 1 and "Noted, stops nothing" in index and "yaw (0)" in index
    assert "fa-times text-danger" not in index
    pages = list(Path("data/docs").rglob("*.html"))
    assert len(pages) == 1 + 2 * len(counts["rows"])  # an index, and for each table its expectations and its results
    for page in pages:
        assert not re.search(r"<script|url\(['\"]?http", page.read_text())
        for reference in References(page).found:
            assert reference.startswith("#") or (page.parent / reference).exists()
    linked = References(Path("data/docs/index.html")).found
    assert [link.split("/")[:2] for link in linked] == [["validations", table] for table in counts["rows"]]


def test_bad_shards_stop_the_chain_and_leave_their_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = good_episodes()
    episodes[4].states[2:, 1] += 0.5
    episodes[4].actions = POSES.actions_between(episodes[4].states)
    shards = write(tmp_path / "data/shards", pack(episodes))
    with open(shards / "test/test-000000.tar", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GateError) as caught:
        validate.run(LIMITS, CURATE, data_seed=0)
    message = str(caught.value)
    for part, line in zip(
        (
            r"2 of 5\d expectations failed; runs/validate/docs/index\.html shows all of them:",
            r"  expect_column_values_to_be_in_set\(column problem, value_set \['none'\]\) of shards in 1 of 3 rows: "
            r"data/shards/test/test-000000\.tar \(its bytes have changed since curation\)\. What to do: .*",
            r"  expect_column_values_to_be_between\(column largest_move_m, min_value 0, max_value 0\.1\) of actions "
            r"in 1 of 35 rows: toy-000004 frame 1 \(0\.[45]\d*\)\. What to do: look at .* raise validate\.max_move.*",
        ),
        message.splitlines(),
        strict=True,
    ):
        assert re.fullmatch(part, line)
    assert not Path("data/docs").exists()
    assert not Path("metrics/validate.json").exists(), "later stages depend on it"
    index = Path("runs/validate/docs/index.html").read_text()
    assert index.count("fa-times text-danger") == 2
    assert "toy-000004 frame 1" in index


def test_missing_shards_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError,
        match=r"data/shards/manifest\.parquet is missing: curate the raw data first",
    ):
        validate.run(LIMITS, CURATE, data_seed=0)
    assert not Path("data/docs").exists()
