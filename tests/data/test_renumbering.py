"""Numbers that follow from names: an episode that sorts before others renumbers them, and none is examined again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_droid import SOURCE as DROID
from tiny_droid import write_droid
from tiny_lerobot import CONFIG, Recording, recording, truncate
from tiny_videos import write_videos

from vjepa.config import SourceConfig
from vjepa.data import fanout
from vjepa.data.curation import curate
from vjepa.data.examination import Outcome
from vjepa.data.shards import read_manifest
from vjepa.data.video_folder import VIDEO_ALONE

Run = Callable[..., list[int]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A curation with one journal for all; which episodes it examined."""
    seen: list[int] = []
    examine = fanout.examine

    def watched(dataset: Any, entry: Any, config: Any) -> Outcome:
        seen.append(entry.index)
        return examine(dataset, entry, config)

    monkeypatch.setattr(fanout, "examine", watched)

    def once(raw: Path, name: str, source: SourceConfig, journal: str = "journal") -> list[int]:
        seen.clear()
        (tmp_path / name).mkdir()
        curate(raw, tmp_path / name, source, replace(CONFIG, fps=8.0), tmp_path / journal)
        return list(seen)

    return once


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def in_two_shots() -> Recording:
    """Ten frames of one scene and twelve of another, far darker."""
    return replace(recording(5), frames=np.concatenate([recording(5, 10).frames, recording(6, 12).frames // 4]))


def test_videos_that_sort_later_keep_what_was_found_in_them(tmp_path: Path, run: Run) -> None:
    raw = write_videos(tmp_path / "raw", [*map(recording, range(4)), in_two_shots(), recording(7, length=3)])
    (raw / "videos.csv").unlink()
    assert run(raw, "first", VIDEO_ALONE) == [0, 1, 2, 3, 4, 5]
    write_videos(tmp_path / "more", [recording(20)])
    shutil.copy(tmp_path / "more/films/00.mp4", raw / "films/000.mp4")
    shutil.move(raw / "films/00.mp4", raw / "films/a.mp4")
    assert run(raw, "renumbered", VIDEO_ALONE) == [0, 6]  # the new one, and the one that has another name
    assert run(raw, "afresh", VIDEO_ALONE, "another journal") == list(range(7))
    assert contents(tmp_path / "renumbered") == contents(tmp_path / "afresh")
    assert {"video-000004-00", "video-000004-01"} < set(read_manifest(tmp_path / "renumbered")["key"])  # it was 4
    assert run(raw, "again", VIDEO_ALONE) == []
    assert contents(tmp_path / "again") == contents(tmp_path / "afresh")


def test_droid_folders_that_sort_later_keep_what_was_found_in_them(tmp_path: Path, run: Run) -> None:
    raw = write_droid(tmp_path / "raw", [recording(seed) for seed in range(4)])
    assert run(raw, "first", DROID) == [0, 1, 2, 3]
    write_droid(tmp_path / "more", [recording(20)])
    shutil.copytree(tmp_path / "more/LAB", raw / "ANOTHER LAB")
    assert run(raw, "renumbered", DROID) == [0]
    assert run(raw, "afresh", DROID, "another journal") == list(range(5))
    assert contents(tmp_path / "renumbered") == contents(tmp_path / "afresh")


def test_a_damaged_record_is_not_renumbered(tmp_path: Path, run: Run) -> None:
    raw = write_droid(tmp_path / "raw", [recording(seed) for seed in range(2)])
    run(raw, "first", DROID)
    for file in (tmp_path / "journal").glob("??/*"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    write_droid(tmp_path / "more", [recording(20)])
    shutil.copytree(tmp_path / "more/LAB", raw / "ANOTHER LAB")
    assert run(raw, "renumbered", DROID) == [0, 1, 2]


def test_a_video_that_is_listed_twice_is_two_episodes(tmp_path: Path, run: Run) -> None:
    raw = write_videos(tmp_path / "raw", [recording(0), recording(1)])
    with open(raw / "videos.csv", "a") as file:
        file.write("films/00.mp4,reach the red square\n")
    assert run(raw, "first", VIDEO_ALONE) == [0, 1, 2]
    assert run(raw, "again", VIDEO_ALONE) == []
    assert contents(tmp_path / "again") == contents(tmp_path / "first")
    truncate(raw / "films/00.mp4")
    assert run(raw, "broken", VIDEO_ALONE) == [0, 2]
