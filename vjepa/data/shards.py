"""Episodes as WebDataset tars with a manifest that says where each one is and what its bytes must be.

A sample is five members: `<key>.video.mp4`, `<key>.state.npy`, `<key>.action.npy`, `<key>.time.npy`, `<key>.meta.json`.
Tars hold no clock, owner or chance, so the same episodes give the same bytes. What is read is checked against the
manifest's hashes before anything decodes it, and nothing is ever unpickled. Works without torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from webdataset.tariterators import group_by_keys, tar_file_expander

from vjepa.data.episode import Episode
from vjepa.data.s3 import upload
from vjepa.data.storage import opened, place_of, read
from vjepa.data.video import decode_video, encode_mp4
from vjepa.errors import DataError

MANIFEST, QUARANTINE, REPAIRS = "manifest.parquet", "quarantine.json", "repairs.json"
# Kinds on the quarantine list with which nothing is wrong: of such episodes there are enough; a video was cut there.
BALANCE, SHORT_SHOT = "balance", "short shot"
SPLITS = ("train", "test")
MEMBERS = ("video.mp4", "state.npy", "action.npy", "time.npy", "meta.json")

COLUMNS = {
    "key": pa.string(),
    "source": pa.string(),
    "episode_index": pa.int64(),
    "split": pa.string(),
    "shard": pa.string(),  # relative to the shards' folder, or an S3 URL
    "shard_sha256": pa.string(),  # of the whole tar: paddings and headers too
    "offset": pa.int64(),  # where in its tar the episode's blocks begin
    "bytes": pa.int64(),  # how many bytes its blocks are
    "frames": pa.int64(),
    "fps": pa.float64(),
    "duration_s": pa.float64(),
    "task": pa.string(),
    "content_sha256": pa.string(),
    "state_width": pa.int64(),  # 0: video alone
    "motion_m": pa.float64(),  # path length of the hand; 0 where states are no hand poses
    "group": pa.string(),  # equal for near-duplicates: the key of one of them
}
"""The manifest's columns and their types."""


@dataclass
class PackedEpisode:
    """An episode as it will stand in a tar.

    Attributes:
        row: its manifest row; `write_shards` adds where it stands, curation sets `split` and `group`.
        blocks: the tar blocks of its members, headers and paddings included.
    """

    row: dict[str, Any]
    blocks: bytes


def pack_episode(episode: Episode, source: str, episode_index: int, fps: float, pose: bool) -> PackedEpisode:
    """Encode an episode and hash it; its split is `train` and its group itself unless curation says otherwise.

    Args:
        episode: to be packed.
        source: where it comes from.
        episode_index: its number there.
        fps: frames a second.
        pose: whether its states are hand poses, of which the path's length is known.
    """
    steps = np.diff(episode.states[:, :3].astype(np.float64), axis=0) if pose else np.zeros((1, 3))
    members = {
        "video.mp4": encode_mp4(episode.frames, fps),
        "state.npy": npy_bytes(episode.states.astype(np.float32)),
        "action.npy": npy_bytes(episode.actions.astype(np.float32)),
        "time.npy": npy_bytes(episode.times.astype(np.float64)),
        "meta.json": meta_bytes({"task": episode.task, "source": source, "episode_index": episode_index, "fps": fps}),
    }
    row = {
        "key": episode.key,
        "source": source,
        "episode_index": episode_index,
        "split": "train",
        "frames": len(episode.frames),
        "fps": float(fps),
        "duration_s": float(episode.times[-1] - episode.times[0]),
        "task": episode.task,
        "content_sha256": content_hash(members),
        "state_width": episode.states.shape[1],
        "motion_m": float(np.linalg.norm(steps, axis=1).sum()),
        "group": episode.key,
    }
    return PackedEpisode(row, sample_blocks(episode.key, members))


def write_shards(
    root: Path, episodes: Iterable[PackedEpisode], episodes_per_shard: int, store: str | None = None
) -> pd.DataFrame:
    """Write `<split>/<split>-NNNNNN.tar` and the manifest under `root`, each split in the order in which it comes.

    With a `store` (`s3://bucket/prefix`) a tar is sent there as soon as it is complete and its file removed.

    Returns:
        The manifest.

    Raises:
        DataError: a tar can't be sent.
    """
    rows: list[dict[str, Any]] = []
    counts = dict.fromkeys(SPLITS, 0)
    done: dict[str, dict[str, str]] = {}
    digests: dict[str, hashlib._Hash] = {}
    for episode in episodes:
        split = episode.row["split"]
        shard, place = divmod(counts[split], episodes_per_shard)
        name = f"{split}/{split}-{shard:06d}.tar"
        (root / split).mkdir(parents=True, exist_ok=True)
        with open(root / name, "wb" if place == 0 else "ab") as tar:
            rows.append({**episode.row, "shard": name, "offset": tar.tell(), "bytes": len(episode.blocks)})
            tar.write(episode.blocks)
        digests.setdefault(name, hashlib.sha256()).update(episode.blocks)
        counts[split] += 1
        if place == episodes_per_shard - 1:
            done[name] = finish_shard(root, name, digests.pop(name), store)
    for name in sorted(digests):
        done[name] = finish_shard(root, name, digests[name], store)
    columns = {name: [{**row, **done[row["shard"]]}[name] for row in rows] for name in COLUMNS}
    manifest = pa.table(columns, schema=pa.schema(list(COLUMNS.items()))).to_pandas()
    manifest.to_parquet(root / MANIFEST, index=False)
    return manifest


def finish_shard(root: Path, name: str, written: hashlib._Hash, store: str | None) -> dict[str, str]:
    """Write the end mark of a tar, `written` so far, and send it to the store, if there is one; its manifest columns.

    Its name in the store holds a part of its hash: what another manifest names there stays as it is.
    """
    path, end = root / name, bytes(2 * tarfile.BLOCKSIZE)
    with open(path, "ab") as tar:
        tar.write(end)
    written.update(end)
    digest = written.hexdigest()
    if store is None:
        return {"shard": name, "shard_sha256": digest}
    url = f"{store}/{path.stem}-{digest[:16]}.tar"
    upload(path, url, digest)
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
    return {"shard": url, "shard_sha256": digest}


def read_manifest(shards: Path) -> pd.DataFrame:
    """The manifest of a shards folder.

    Raises:
        DataError: it is missing, unreadable or lacks a column.
    """
    path = shards / MANIFEST
    if not path.exists():
        raise DataError(f"{path} is missing: curate the raw data first")
    try:
        manifest = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    for column in COLUMNS:
        if column not in manifest:
            raise DataError(f"{path} has no column {column!r}: curate the raw data again")
    return manifest


def read_split(shards: Path, split: str) -> pd.DataFrame:
    """The rows of a split in the manifest of a shards folder, in its order.

    Raises:
        DataError: as for `read_manifest`, or the split is empty.
    """
    manifest = read_manifest(shards)
    manifest = manifest[manifest["split"] == split]
    if manifest.empty:
        raise DataError(f"{shards / MANIFEST} lists no episodes of the split {split!r}")
    return manifest


def read_members(shards: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The members of every episode in `manifest` (or a selection of its rows), checked, with the episode's key.

    Raises:
        DataError: a shard is missing or damaged, or an episode is missing or not what the manifest says; the message
            names the shard, the key and the reason.
    """
    for name, rows in manifest.groupby("shard", sort=True):
        place = place_of(shards, str(name))
        with opened(place) as stream:
            yield from checked_samples(place, stream, dict(zip(rows["key"], rows["content_sha256"], strict=True)))


def read_episode_members(shards: Path, row: Mapping[str, Any] | pd.Series) -> dict[str, bytes]:
    """The members of the one episode of a manifest's row, checked; nothing else of its tar is read.

    Raises:
        DataError: as for `read_members`.
    """
    place = place_of(shards, row["shard"])
    blocks = io.BytesIO(read(place, int(row["offset"]), int(row["bytes"])))
    return dict(checked_samples(place, blocks, {row["key"]: row["content_sha256"]}))[row["key"]]


def checked_samples(
    place: str, stream: BinaryIO, expected: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a tar, or of a part of it, that are `expected`: SHA-256 by key; `place` names it in messages."""
    found = set()
    try:
        # webdataset's own stages, on a stream of ours: its openers run shells for some names and leave files open.
        for sample in group_by_keys(tar_file_expander([{"url": place, "stream": stream}])):
            key = sample["__key__"]
            if key not in expected:
                continue
            members = {part: data for part, data in sample.items() if not part.startswith("__")}
            if content_hash(members) != expected[key]:
                raise DataError(f"{place}: {key} is damaged: its bytes do not have the manifest's SHA-256")
            found.add(key)
            yield key, members
    except (tarfile.TarError, ValueError) as error:
        reason = str(error.args[0]).split(" @ ")[0]  # webdataset appends the stream
        raise DataError(f"{place} is damaged: {reason}") from error
    for key in expected:
        if key not in found:
            raise DataError(f"{place}: {key} is missing or its place in the tar is damaged")


def load_episodes(shards: Path, split: str) -> list[Episode]:
    """All episodes of a split in the manifest's order, every byte checked.

    Raises:
        DataError: as for `read_members`, or the split is empty.
    """
    manifest = read_split(shards, split)
    episodes = {key: unpack_episode(key, members) for key, members in read_members(shards, manifest)}
    return [episodes[key] for key in manifest["key"]]


def unpack_episode(key: str, members: Mapping[str, bytes]) -> Episode:
    """Decode an episode from the bytes of its members."""
    frames, _ = decode_video(members["video.mp4"])
    times, states, actions = (npy_array(members[f"{name}.npy"]) for name in ("time", "state", "action"))
    return Episode(key, meta_of(members)["task"], frames, times, states, actions)


def content_hash(members: Mapping[str, bytes]) -> str:
    """SHA-256 over names, lengths and bytes of a sample's members, in any order of theirs."""
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name} {len(members[name])}\n".encode())
        digest.update(members[name])
    return digest.hexdigest()


def meta_bytes(meta: Mapping[str, Any]) -> bytes:
    """What an episode says of itself, as it stands in `meta.json`."""
    return json.dumps(meta, sort_keys=True).encode()


def meta_of(members: Mapping[str, bytes]) -> dict[str, Any]:
    """The same, read."""
    return json.loads(members["meta.json"])


def sample_blocks(key: str, members: Mapping[str, bytes]) -> bytes:
    """All members of a sample as they stand in a tar."""
    return b"".join(tar_blocks(f"{key}.{name}", members[name]) for name in MEMBERS)


def tar_blocks(name: str, data: bytes) -> bytes:
    """One member of a tar: its header (time, owner and mode fixed), its bytes and the padding."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def npy_bytes(array: np.ndarray) -> bytes:
    """An array in numpy's file format."""
    target = io.BytesIO()
    np.save(target, array, allow_pickle=False)
    return target.getvalue()


def npy_array(data: bytes) -> np.ndarray:
    """The array in the bytes of an npy file; pickled objects are refused."""
    return np.load(io.BytesIO(data), allow_pickle=False)
