from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_lerobot import CAMERA, CONFIG, SOURCE, recording, truncate, write_lerobot

from vjepa.data.code_version import code_version
from vjepa.data.curation import curate
from vjepa.data.fanout import Work, examine_elsewhere
from vjepa.data.raw import facts_in_words
from vjepa.data.sources import open_source
from vjepa.errors import UserError


def shards(raw: Path, out: Path, ray: str | None) -> dict[Path, bytes]:
    out.mkdir()
    curate(raw, out, SOURCE, replace(CONFIG, ray=ray), out.with_name(f"{out.name}-journal"))
    return {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_a_ray_cluster_gives_the_same_shards(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(9)])
    truncate(raw / f"films/{CAMERA}/part-00-02.mp4")
    assert shards(raw, tmp_path / "cluster", "local") == shards(raw, tmp_path / "alone", None)


def test_a_node_with_other_code_or_other_data_examines_nothing(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(2)])
    work, dataset = Work(raw, SOURCE, CONFIG), open_source(raw, SOURCE, CONFIG.fps)
    said = [(place, facts_in_words(dataset, dataset.episodes[place])) for place in range(2)]
    assert len(examine_elsewhere(work, said, code_version())) == 2
    with pytest.raises(UserError, match=r"curate\.ray: a node has other code or packages"):
        examine_elsewhere(work, said, "another")
    for other in ([(0, said[1][1])], [(2, said[1][1])]):
        with pytest.raises(UserError, match=r"is not the same for all who curate it"):
            examine_elsewhere(work, other, code_version())


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0)])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where Ray notes the clusters of this machine
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^curate\.ray: no Ray cluster at 'auto': [^\n]*$"):
        shards(raw, tmp_path / "nowhere", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed: pip install"):
        shards(raw, tmp_path / "without", "local")
