from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_lerobot import CAMERA, CONFIG, SOURCE, STATE, Recording, recording, truncate, write_lerobot

from vjepa.data.curation import curate, split_of
from vjepa.data.shards import load_episodes, read_manifest
from vjepa.errors import DataError, UserError


def run(raw: Path, out: Path, workers: int = 1, **changes: Any) -> dict[str, Any]:
    out.mkdir()
    source = replace(SOURCE, camera=changes.pop("camera", SOURCE.camera))
    return curate(raw, out, source, replace(CONFIG, **changes), out.with_name(f"{out.name}-journal"), workers).counts


def splits_by_scene(out: Path, numbers: list[int], seeds: list[int]) -> dict[int, str]:
    """The split of each scene (by the seed that made it), whatever its number in the data set."""
    manifest = read_manifest(out).set_index("episode_index")
    return {seed: manifest.loc[number, "split"] for number, seed in zip(numbers, seeds, strict=True)}


def copied(original: Recording, seed: int) -> Recording:
    """The recording once more, with noise in pixels and states, so that nothing in it is equal byte for byte."""
    rng = np.random.default_rng(seed)
    frames = (original.frames + rng.normal(size=original.frames.shape) * 2).clip(0, 255).astype(np.uint8)
    return Recording(frames, original.states + np.float32(1e-4) * rng.normal(size=(16, 7)).astype(np.float32))


def test_the_split_does_not_change_when_episodes_are_added_or_renumbered(tmp_path: Path) -> None:
    seeds = list(range(12))
    write_lerobot(tmp_path / "few", [recording(seed) for seed in seeds])
    more, numbers = [40, *reversed(seeds), 41, 42], [3 * at for at in range(15)]
    write_lerobot(tmp_path / "more", [recording(seed) for seed in more], numbers, per_file=5)
    run(tmp_path / "few", tmp_path / "few-shards")
    run(tmp_path / "more", tmp_path / "more-shards", fps=10.0)
    before = splits_by_scene(tmp_path / "few-shards", seeds, seeds)
    after = splits_by_scene(tmp_path / "more-shards", numbers, more)
    assert before == {seed: after[seed] for seed in seeds}
    assert set(before.values()) == {"train", "test"}


def test_near_duplicates_never_straddle_the_splits(tmp_path: Path) -> None:
    originals = [recording(seed, size=64) for seed in range(12)]
    copies = [copied(original, seed) for seed, original in enumerate(originals)]
    write_lerobot(tmp_path / "raw", originals + copies)
    counts = run(tmp_path / "raw", tmp_path / "shards", test_share=0.5)
    manifest = read_manifest(tmp_path / "shards").sort_values("episode_index")
    assert (manifest["split"].iloc[:12].to_numpy() == manifest["split"].iloc[12:].to_numpy()).all()
    assert (manifest["group"].iloc[:12].to_numpy() == manifest["group"].iloc[12:].to_numpy()).all()
    assert manifest["group"].nunique() == counts["episodes_kept"] - counts["near_duplicates"] == 12
    assert set(manifest["split"]) == {"train", "test"}
    # Without the rule, their own hashes would part some of them.
    run(tmp_path / "raw", tmp_path / "alone", test_share=0.5, duplicate_distance=-1)
    alone = read_manifest(tmp_path / "alone").sort_values("episode_index")
    assert (alone["split"].iloc[:12].to_numpy() != alone["split"].iloc[12:].to_numpy()).any()


def test_the_split_of_near_duplicates_does_not_hang_on_their_order(tmp_path: Path) -> None:
    originals = [recording(seed, size=64) for seed in range(8)]
    recordings = originals + [copied(original, seed) for seed, original in enumerate(originals)]
    for name, ordered in (("forth", recordings), ("back", recordings[::-1])):
        run(write_lerobot(tmp_path / f"{name}-raw", ordered), tmp_path / name, test_share=0.5)
    forth, back = (read_manifest(tmp_path / name).sort_values("episode_index")["split"] for name in ("forth", "back"))
    assert forth.tolist() == back.tolist()[::-1]


def test_the_split_is_the_hash_as_a_fraction_against_the_test_share() -> None:
    quarter = "4" + 63 * "0"
    assert (split_of(quarter, 0.2501), split_of(quarter, 0.25)) == ("test", "train")
    assert (split_of(64 * "0", 0.001), split_of(64 * "f", 0.999)) == ("test", "train")


def test_shards_are_equal_byte_for_byte_on_a_rerun_and_with_more_processes(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(9)])
    truncate(tmp_path / f"raw/films/{CAMERA}/part-00-02.mp4")
    for name, workers in (("first", 1), ("second", 1), ("parallel", 2)):
        run(tmp_path / "raw", tmp_path / name, workers)
    files = sorted(file.relative_to(tmp_path / "first") for file in (tmp_path / "first").rglob("*") if file.is_file())
    assert [file.name for file in files if file.suffix != ".tar"] == [
        "layout.json",
        "manifest.parquet",
        "quarantine.json",
    ]
    for name in ("second", "parallel"):
        assert len(list((tmp_path / name).rglob("*.*"))) == len(files)
        for file in files:
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "first" / file).read_bytes()


def test_what_is_learned_from_is_what_was_recorded(tmp_path: Path) -> None:
    made = [recording(seed) for seed in range(6)]
    run(write_lerobot(tmp_path / "raw", made), tmp_path / "shards")
    for split in ("train", "test"):
        for episode in load_episodes(tmp_path / "shards", split):
            original = made[int(episode.key.removeprefix("toy-arm-"))]
            assert (episode.states == original.states[::2]).all()
            assert episode.frames.shape == (8, 16, 16, 3)
            expected = original.frames[::2].astype(float).mean((1, 2, 3))
            assert np.abs(episode.frames.astype(float).mean((1, 2, 3)) - expected).max() < 1


def nan_in_z(made: Recording) -> Recording:
    made.states[6, 2] = np.nan
    return made


def still(made: Recording) -> Recording:
    made.states[:, :3] = 0.5
    return made


def jumping(made: Recording) -> Recording:
    return replace(made, columns={"timestamp": np.r_[np.arange(8), np.arange(28, 36)] / 10})


@pytest.mark.parametrize(
    ("spoil", "kind", "reason", "file"),
    [
        (nan_in_z, "nan_state", r"NaN state: z at 0\.600 s", "rows/part-00-01.parquet"),
        (
            lambda made: recording(2, length=6),
            "too_short",
            "too short: 3 frames at 5 a second",
            "rows/part-00-01.parquet",
        ),
        (still, "motionless", r"motionless: the hand moves 0\.000 m in all", "rows/part-00-01.parquet"),
        (jumping, "time_stamps_off", r"time stamps off: row 8 says 2\.800 s", "rows/part-00-01.parquet"),
    ],
)
def test_a_spoiled_episode_is_quarantined_with_its_reason_and_counted(
    tmp_path: Path, spoil: Callable[[Recording], Recording], kind: str, reason: str, file: str
) -> None:
    recordings = [recording(0), recording(1), spoil(recording(2)), recording(3)]
    counts = run(write_lerobot(tmp_path / "raw", recordings), tmp_path / "shards")
    assert counts["episodes_read"] == 4
    assert counts["episodes_kept"] == counts["episodes_train"] + counts["episodes_test"] == 3
    assert {name: count for name, count in counts["quarantined"].items() if count} == {kind: 1}
    (entry,) = json.loads((tmp_path / "shards/quarantine.json").read_text())
    assert (entry["episode"], entry["file"]) == (2, file)
    assert entry["kind"].replace(" ", "_").lower() == kind
    assert re.match(reason, entry["reason"])
    assert read_manifest(tmp_path / "shards")["episode_index"].tolist() == [0, 1, 3]


def test_what_was_set_right_is_counted_and_listed(tmp_path: Path) -> None:
    late = replace(recording(1), columns={"timestamp": (np.arange(16) / 10 + 0.1).astype(np.float32)})
    counts = run(write_lerobot(tmp_path / "raw", [recording(0), late]), tmp_path / "shards")
    assert (counts["episodes_kept"], counts["repaired"]) == (2, 1)
    assert json.loads((tmp_path / "shards/repairs.json").read_text()) == [
        {"episode": 1, "notes": ["its time stamps start at 0.100 s: they are counted from the first row"]}
    ]
    assert run(tmp_path / "raw", tmp_path / "again", fps=10.0)["repaired"] == 1


def test_a_truncated_video_is_quarantined_and_the_rest_is_used(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(6)])
    truncate(tmp_path / f"raw/films/{CAMERA}/part-00-01.mp4")
    counts = run(tmp_path / "raw", tmp_path / "shards")
    assert (counts["episodes_kept"], counts["quarantined"]["unreadable"]) == (4, 2)
    quarantine = json.loads((tmp_path / "shards/quarantine.json").read_text())
    assert [entry["episode"] for entry in quarantine] == [2, 3]
    assert {entry["file"] for entry in quarantine} == {f"films/{CAMERA}/part-00-01.mp4"}
    assert quarantine[0]["reason"].startswith("unreadable: can't be opened as a video")


def test_a_data_set_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [still(recording(0)), still(recording(1))])
    with pytest.raises(DataError, match=r"none of 2 episodes can be used; the first, 0, is left out since motionless"):
        run(tmp_path / "raw", tmp_path / "shards")
    assert not list((tmp_path / "shards").iterdir())


def test_settings_that_do_not_fit_the_data_are_refused_before_reading(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0)])
    with pytest.raises(UserError, match=r"curate\.image_size must be an even number of pixels, not 15"):
        run(raw, tmp_path / "odd", image_size=15)
    with pytest.raises(DataError, match="no video 'wrist'"):
        run(raw, tmp_path / "wrist", camera="wrist")
    info = json.loads((raw / "meta/info.json").read_text())
    info["features"][STATE]["shape"] = [6]
    (raw / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"has the shape \[6\], the source's settings take its value number 6"):
        run(raw, tmp_path / "wide")
