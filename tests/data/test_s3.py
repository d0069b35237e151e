"""Shards on a real S3 server that breaks off, comes back, loses bytes and refuses."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from seaweed import S3Server
from tiny_lerobot import CONFIG, SOURCE, recording, write_lerobot

from vjepa.config import ValidateConfig
from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipDraws
from vjepa.data.curation import curate
from vjepa.data.episode import Episode
from vjepa.data.episode_store import EpisodeStore
from vjepa.data.layout import POSES
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.data.s3 import client, require_bucket, split_url, upload
from vjepa.data.shards import (
    MANIFEST,
    PackedEpisode,
    load_episodes,
    pack_episode,
    read_episode_members,
    read_manifest,
    read_members,
    write_shards,
)
from vjepa.data.storage import exists, opened, read, sha256_at
from vjepa.errors import DataError
from vjepa.gates.gate import check
from vjepa.gates.tables import shard_table

SIZE = 20 << 20  # three parts


def packed() -> list[PackedEpisode]:
    """Ten episodes, of which the last three are held out."""
    episodes = []
    for number in range(10):
        made = recording(number)
        actions = POSES.actions_between(made.states)
        episode = Episode(f"toy-{number:06d}", made.task, made.frames, np.arange(16) / 8, made.states, actions)
        episodes.append(pack_episode(episode, "toy", number, 8.0, pose=True))
        episodes[-1].row["split"] = "train" if number < 7 else "test"
    return episodes


@pytest.fixture
def store(s3: S3Server, request: pytest.FixtureRequest) -> str:
    """A prefix of each test's own."""
    return f"{s3.url}/{request.node.name}"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(np.random.default_rng(0).bytes(SIZE))
    return file


def back_soon(s3: S3Server) -> threading.Thread:
    """Kill the server and start it again beside the test."""
    s3.kill()
    starting = threading.Thread(target=s3.start)
    starting.start()
    return starting


def test_episodes_on_s3_are_those_of_a_folder(tmp_path: Path, store: str) -> None:
    here = write_shards(tmp_path, packed(), episodes_per_shard=4)
    there = write_shards(tmp_path / "s3", packed(), episodes_per_shard=4, store=store)
    assert [file.name for file in (tmp_path / "s3").rglob("*")] == [MANIFEST]
    assert there["shard"].str.fullmatch(store + r"/(train|test)-00000\d-[0-9a-f]{16}\.tar").all()
    assert here.drop(columns="shard").equals(there.drop(columns="shard"))
    members = dict(read_members(tmp_path, here))
    assert dict(read_members(tmp_path / "s3", there)) == members
    assert all(read_episode_members(tmp_path / "s3", row) == members[row["key"]] for _, row in there.iterrows())
    for ours, theirs in zip(load_episodes(tmp_path, "train"), load_episodes(tmp_path / "s3", "train"), strict=True):
        assert (ours.frames == theirs.frames).all()


def test_curated_episodes_on_s3_pass_the_gate_and_are_not_sent_twice(
    tmp_path: Path, store: str, repository: Path
) -> None:
    write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(12)])
    sent: list[str] = []
    client().meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.url))
    manifests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        curate(tmp_path / "raw", tmp_path / name, SOURCE, replace(CONFIG, store=store), tmp_path / "journal")
        manifests.append(read_manifest(tmp_path / name))
    assert manifests[0].equals(manifests[1])
    assert len(sent) == manifests[0]["shard"].nunique() > 2
    shapes = {episode.frames.shape for split in ("train", "test") for episode in load_episodes(tmp_path / name, split)}
    assert shapes == {(8, 16, 16, 3)}
    limits = yaml.safe_load((repository / "conf/profile/smoke.yaml").read_text())["validate"]
    limits |= {"min_episodes_train": 2, "position_low": [-9.0] * 3, "position_high": [9.0] * 3}
    verdict = check(tmp_path / "first", ValidateConfig(**limits), CONFIG, 0, tmp_path / "docs")
    assert verdict.failed == []


def test_sending_goes_on_when_the_server_comes_back(s3: S3Server, store: str, large: Path) -> None:
    starting: list[threading.Thread] = []

    def kill_at_the_second_part(request: Any, **_: Any) -> None:
        if "partNumber=2" in request.url and not starting:
            starting.append(back_soon(s3))

    client().meta.events.register("before-send.s3.UploadPart", kill_at_the_second_part)
    digest = hashlib.sha256(large.read_bytes()).hexdigest()
    upload(large, f"{store}/large", digest)
    starting[0].join()
    assert sha256_at(f"{store}/large") == digest
    assert client().head_object(Bucket="vjepa", Key=split_url(f"{store}/large")[1])["ETag"].endswith('-3"')


def test_reading_goes_on_when_the_server_comes_back(s3: S3Server, store: str, large: Path, tmp_path: Path) -> None:
    upload(large, f"{store}/large", "of no interest here")
    manifest = write_shards(tmp_path / "shards", packed(), episodes_per_shard=4, store=store)
    intact = dict(read_members(tmp_path / "shards", manifest))
    episodes = read_members(tmp_path / "shards", manifest)
    first = [next(episodes)]
    with opened(f"{store}/large") as stream:
        start = stream.read(1 << 20)
        starting = back_soon(s3)
        assert dict(first + list(episodes)) == intact
        starting.join()
        assert start + stream.read() == large.read_bytes()


def test_training_streams_the_same_batches_and_waits_for_the_server(s3: S3Server, store: str, tmp_path: Path) -> None:
    write_shards(tmp_path, packed(), episodes_per_shard=4)
    write_shards(tmp_path / "s3", packed(), episodes_per_shard=4, store=store)
    readers = []
    for folder in (tmp_path, tmp_path / "s3"):
        episodes = EpisodeStore(folder, "train", kept_bytes=0)
        draws = ClipDraws(episodes.lengths, 4, 1, seed=0)
        readers.append(ClipReader(episodes, draws, Augmentation((1.0, 1.0), (1.0, 1.0), flip=False), batch_size=2))
    loader = ClipLoader(readers[1], steps=12, workers=1)
    with loader.running("-"):
        for step in range(12):
            if step == 4:
                starting = back_soon(s3)
            assert (loader.batch(step).frames == readers[0].read(step).frames).all()
    starting.join()


def test_changed_bytes_on_s3_are_found_named_and_mended(tmp_path: Path, store: str) -> None:
    manifest = write_shards(tmp_path, packed(), episodes_per_shard=4, store=store)
    row = manifest.iloc[5]
    bucket, key = split_url(row["shard"])
    changed = bytearray(read(row["shard"], 0, 1 << 30))
    changed[row["offset"] + 600] ^= 1
    client().put_object(Bucket=bucket, Key=key, Body=bytes(changed), Metadata={"sha256": row["shard_sha256"]})
    for reader in (lambda: load_episodes(tmp_path, "train"), lambda: read_episode_members(tmp_path, row)):
        with pytest.raises(DataError, match=rf"{row['shard']}: {row['key']} is damaged.*SHA-256"):
            reader()
    read_episode_members(tmp_path, manifest.iloc[6])  # its neighbour is whole
    problems = shard_table(tmp_path, manifest).set_index("shard")["problem"]
    assert problems[problems != "none"].to_dict() == {row["shard"]: "its bytes have changed since curation"}
    write_shards(tmp_path, packed(), episodes_per_shard=4, store=store)
    assert (shard_table(tmp_path, manifest)["problem"] == "none").all()
    client().delete_object(Bucket=bucket, Key=key)
    assert not exists(row["shard"])
    assert "the file is missing" in set(shard_table(tmp_path, manifest)["problem"])


@pytest.mark.parametrize(
    "environment, call, message",
    [
        (
            {},
            lambda: read("s3://elsewhere/x", 0, 1),
            "s3://elsewhere/x can't be read: there is no bucket elsewhere: create",
        ),
        ({}, lambda: require_bucket("s3://elsewhere/x"), "there is no bucket elsewhere: create it"),
        (
            {},
            lambda: read("s3://vjepa/none", 0, 1),
            "s3://vjepa/none can't be read: there is no such object: curate again",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": "other"},
            lambda: read("s3://vjepa/none", 0, 1),
            "none can't be read: the server refuses .* check AWS_ACCESS_KEY_ID",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": ""},
            lambda: read("s3://vjepa/none", 0, 1),
            "none can't be read: .*: set AWS_ACCESS_KEY_ID",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"},
            lambda: read("s3://vjepa/none", 0, 1, patience_s=0.1),
            "none can't be read: it still fails after 0.1 s .*127.0.0.1:9.*: check that the server runs and",
        ),
        (
            {},
            lambda: upload(Path(__file__), "s3://elsewhere/x", ""),
            "x can't be written: there is no bucket elsewhere",
        ),
    ],
)
def test_what_s3_refuses_is_one_line_that_says_what_to_do(
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    call: Callable[[], Any],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_processes_that_are_forked_read_beside_each_other(store: str, large: Path) -> None:
    upload(large, f"{store}/large", "of no interest here")
    places = [(f"{store}/large", offset, 1 << 16) for offset in range(0, SIZE, SIZE // 40)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        theirs = pool.starmap_async(read, places, chunksize=1)
        ours = [read(*place) for place in places]
        assert theirs.get(60) == ours == [large.read_bytes()[at : at + size] for _, at, size in places]
