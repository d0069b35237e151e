from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import webdataset
from tiny_lerobot import recording, truncate

from vjepa.data.episode import Episode
from vjepa.data.layout import POSES
from vjepa.data.poses import actions_between
from vjepa.data.shards import (
    COLUMNS,
    load_episodes,
    npy_array,
    pack_episode,
    read_episode_members,
    read_manifest,
    read_members,
    tar_blocks,
    write_shards,
)
from vjepa.errors import DataError


def episode(number: int) -> Episode:
    made = recording(number)
    return Episode(
        f"toy-{number:06d}", made.task, made.frames, np.arange(16) / 8, made.states, POSES.actions_between(made.states)
    )


def write(root: Path, numbers: range = range(7)) -> pd.DataFrame:
    packed = [pack_episode(episode(number), "toy", number, 8.0, pose=True) for number in numbers]
    packed[-1].row["split"] = "test"
    return write_shards(root, packed, episodes_per_shard=4)


def test_episodes_come_back_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path)
    loaded = load_episodes(tmp_path, "train")
    assert [item.key for item in loaded] == [f"toy-{number:06d}" for number in range(6)]
    for number, item in enumerate(loaded):
        assert (item.states == episode(number).states).all()
        assert (item.times == episode(number).times).all()
        assert item.task == "reach the red square"
        assert np.abs(item.frames.astype(int) - episode(number).frames).mean() < 2
    assert [item.key for item in load_episodes(tmp_path, "test")] == ["toy-000006"]


def test_the_manifest_says_what_is_in_each_shard(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = read_manifest(tmp_path)
    assert list(manifest) == list(COLUMNS)
    assert manifest["shard"].tolist() == ["train/train-000000.tar"] * 4 + ["train/train-000001.tar"] * 2 + [
        "test/test-000000.tar"
    ]
    row = manifest.iloc[2]
    assert (row["frames"], row["fps"], row["duration_s"]) == (16, 8.0, 1.875)
    assert row["motion_m"] == pytest.approx(0.15)


def test_one_episode_is_read_without_the_rest_of_its_tar(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    all_members = dict(read_members(tmp_path, manifest))
    for _, row in read_manifest(tmp_path).iterrows():
        assert read_episode_members(tmp_path, row) == all_members[row["key"]]
    file = tmp_path / "train/train-000000.tar"
    row = manifest.iloc[2]
    part = file.read_bytes()[row["offset"] : row["offset"] + row["bytes"]]
    file.write_bytes(bytes(row["offset"]) + part)
    assert read_episode_members(tmp_path, row) == all_members[row["key"]]
    for damage in (part[:-1024], part[:100], part[:600] + b"?" + part[601:], bytes(len(part))):
        file.write_bytes(bytes(row["offset"]) + damage)
        with pytest.raises(DataError, match=r"train-000000\.tar.*"):
            read_episode_members(tmp_path, row)


def test_shards_open_with_plain_webdataset(tmp_path: Path) -> None:
    write(tmp_path)
    samples = list(webdataset.WebDataset(str(tmp_path / "train/train-000001.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["toy-000004", "toy-000005"]
    assert (npy_array(samples[0]["action.npy"]) == actions_between(episode(4).states)).all()


def test_the_same_episodes_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name)
    for file in (file for file in (tmp_path / "first").rglob("*") if file.is_file()):
        assert file.read_bytes() == (tmp_path / "second" / file.relative_to(tmp_path / "first")).read_bytes()


def test_every_changed_byte_of_a_sample_is_found(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    file = tmp_path / "train/train-000000.tar"
    intact = file.read_bytes()
    for name in (b"toy-000001.video.mp4", b"toy-000001.state.npy", b"toy-000001.meta.json"):
        damaged = bytearray(intact)
        damaged[intact.index(name) + 512 + 20] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"train-000000\.tar: toy-000001 is damaged.*SHA-256"):
            load_episodes(tmp_path, "train")


def test_a_changed_name_in_a_tar_is_found(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    file = tmp_path / "train/train-000000.tar"
    file.write_bytes(file.read_bytes().replace(b"toy-000001.video", b"toy-000009.video"))
    with pytest.raises(DataError, match=r"train-000000\.tar: toy-000001 is missing"):
        load_episodes(tmp_path, "train")


def test_a_truncated_tar_is_found(tmp_path: Path) -> None:
    write(tmp_path)
    truncate(tmp_path / "train/train-000001.tar")
    with pytest.raises(DataError, match=r"train-000001\.tar"):
        load_episodes(tmp_path, "train")


def test_a_missing_tar_is_found(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train/train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar can't be read: No such file"):
        load_episodes(tmp_path, "train")


def test_what_a_tar_holds_beside_its_episodes_is_written_nowhere(tmp_path: Path) -> None:
    """Names that lead out of the folder, as an unpacking would follow them."""
    write(tmp_path / "shards", range(3))
    outside = tmp_path / "outside.video.mp4"
    file = tmp_path / "shards/train/train-000000.tar"
    names = (str(outside), "../../outside.video.mp4", "toy-000009.video.mp4")
    file.write_bytes(b"".join(tar_blocks(name, b"no video") for name in names) + file.read_bytes())
    assert len(load_episodes(tmp_path / "shards", "train")) == 2
    assert not outside.exists() and [path.name for path in tmp_path.iterdir()] == ["shards"]


@pytest.mark.parametrize("name", ["../elsewhere.tar", "{}/elsewhere.tar"])
def test_a_manifest_that_names_a_shard_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path / "shards")
    (tmp_path / "shards/train/train-000001.tar").rename(tmp_path / "elsewhere.tar")
    manifest = read_manifest(tmp_path / "shards")
    manifest["shard"] = manifest["shard"].replace("train/train-000001.tar", name.format(tmp_path))
    manifest.to_parquet(tmp_path / "shards/manifest.parquet")
    with pytest.raises(DataError, match=r"names a shard elsewhere: .* leads out of"):
        load_episodes(tmp_path / "shards", "train")


def test_a_missing_or_empty_split_is_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.parquet is missing: curate"):
        load_episodes(tmp_path, "train")
    write(tmp_path)
    with pytest.raises(DataError, match="lists no episodes of the split 'validation'"):
        load_episodes(tmp_path, "validation")


def test_pickled_arrays_are_refused() -> None:
    data = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(127) + b"\n" + b"cos\n"
    )
    with pytest.raises(ValueError, match="allow_pickle"):
        npy_array(data)


def test_shards_are_read_where_torch_is_missing(tmp_path: Path, repository: Path) -> None:
    write(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from vjepa.data.shards import load_episodes\n"
        f"assert len(load_episodes(Path({str(tmp_path)!r}), 'train')) == 6"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository)
