from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vjepa.data.episode import Episode
from vjepa.data.examination import Rejected
from vjepa.data.poses import actions_between
from vjepa.data.shards import pack_episode, write_shards
from vjepa.report.curation_page import write_curation_page

COUNTS = {
    "episodes_read": 14,
    "episodes_train": 9,
    "episodes_test": 1,
    "near_duplicates": 0,
    "repaired": 2,
    "frames": 80,
}


def shards(folder: Path) -> Path:
    """Ten episodes of 4 to 13 frames and two tasks."""
    rng = np.random.default_rng(0)
    packed = []
    for number in range(10):
        count = 4 + number
        states = rng.normal(size=(count, 7)).astype(np.float32)
        frames = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        task = ["push", "<b>reach</b>"][number % 2]
        episode = Episode(f"toy-{number:02d}", task, frames, np.arange(count) / 8, states, actions_between(states))
        packed.append(pack_episode(episode, "toy", number, 8.0, pose=True))
    packed[0].row["split"] = "test"
    write_shards(folder, packed, 4)
    return folder


def test_the_page_shows_counts_distributions_and_pictures_of_kept_and_left_out(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    left_out = [
        Rejected(3, "rows/3.parquet", "frozen", "frozen: from 0.400 to 1.200 s", pictures),
        Rejected(5, "rows/5.parquet", "frozen", "frozen: from 0.100 to 2.200 s"),
        Rejected(9, "films/9.mp4", "unreadable", "unreadable: <script>"),
    ]
    write_curation_page(tmp_path / "page.html", shards(tmp_path / "shards"), COUNTS, left_out)
    page = (tmp_path / "page.html").read_text()
    text = re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    for said in ("14 episodes", "frozen: 2", "unreadable: 1", "rows/3.parquet", "from 0.400 to 1.200 s", "2 tasks"):
        assert said in text
    assert all(f"<h3>{title}</h3>" in page for title in ("Frames", "Duration", "Motion", "Tasks"))
    assert page.count('<svg class="chart"') == 4
    kept, example = sum(min(4 + number, 8) for number in (0, 2, 4, 5, 7, 9)), 6
    assert page.count("<img") == kept + example
    assert "<script>" not in page and "<b>reach" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)  # loads nothing
    write_curation_page(tmp_path / "again.html", tmp_path / "shards", COUNTS, left_out)
    assert (tmp_path / "again.html").read_bytes() == page.encode()
