from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_lerobot import CAMERA, CONFIG, SOURCE, recording, truncate, write_lerobot

from vjepa.data.curation import curate
from vjepa.errors import UserError


def shards(raw: Path, out: Path, ray: str | None) -> dict[Path, bytes]:
    out.mkdir()
    curate(raw, out, SOURCE, replace(CONFIG, ray=ray), out.with_name(f"{out.name}-journal"))
    return {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_a_ray_cluster_gives_the_same_shards(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(9)])
    truncate(raw / f"films/{CAMERA}/part-00-02.mp4")
    assert shards(raw, tmp_path / "cluster", "local") == shards(raw, tmp_path / "alone", None)


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0)])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where Ray notes the clusters of this machine
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^curate\.ray: no Ray cluster at 'auto': [^\n]*$"):
        shards(raw, tmp_path / "nowhere", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed: pip install"):
        shards(raw, tmp_path / "without", "local")
