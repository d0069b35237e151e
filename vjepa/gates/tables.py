"""The tables that expectations look at, computed from the shards: what cannot be read becomes a row that says why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vjepa.data.episode import STATE_NAMES
from vjepa.data.poses import actions_between
from vjepa.data.shards import QUARANTINE, npy_array, read_manifest, read_members, unpack_episode
from vjepa.errors import DataError
from vjepa.files import sha256_of

NO_PROBLEM = "none"
ROW_NAMES = {
    "shards": ["shard"],
    "episodes": ["key"],
    "counts": ["data"],
    "samples": ["key"],
    "states": ["key", "frame"],
    "actions": ["key", "frame"],
}
"""The tables, and the columns by which a row of each is named."""


@dataclass
class Sample:
    """What one sampled episode adds to the tables."""

    samples: pd.DataFrame
    states: pd.DataFrame | None = None
    actions: pd.DataFrame | None = None


def build_tables(shards: Path, sampled: int, seed: int) -> dict[str, pd.DataFrame]:
    """All tables of a shards folder; `sampled` episodes, drawn by `seed`, are opened and looked at value by value.

    Raises:
        DataError: the manifest or the quarantine list is missing or can't be read.
    """
    manifest = read_manifest(shards)
    files = shard_table(shards, manifest)
    intact = set(files.loc[files["problem"] == NO_PROBLEM, "shard"])
    readable = manifest[[str(shards / shard) in intact for shard in manifest["shard"]]].drop_duplicates("key")
    drawn = np.random.default_rng(seed).permutation(len(readable))[:sampled]
    opened = [sample for _, rows in readable.iloc[np.sort(drawn)].groupby("shard") for sample in open_all(shards, rows)]
    tables = {"shards": files, "episodes": episode_table(manifest), "counts": count_table(shards, manifest)}
    for name in ("samples", "states", "actions"):
        parts = [getattr(sample, name) for sample in opened if getattr(sample, name) is not None]
        if parts:
            tables[name] = pd.concat(parts, ignore_index=True)
    return tables


def shard_table(shards: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row a tar: whether it is there, byte by byte as it was written."""
    rows = []
    for (name, digest), group in manifest.groupby(["shard", "shard_sha256"]):
        path, problem = shards / str(name), NO_PROBLEM
        if not path.is_file():
            problem = "the file is missing"
        elif sha256_of(path) != digest:
            problem = "its bytes have changed since curation"
        rows.append({"shard": str(path), "episodes": len(group), "problem": problem})
    return pd.DataFrame(rows, columns=["shard", "episodes", "problem"])


def episode_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest, with the number of splits in which each key, group and content is found."""
    table = manifest.copy()
    for column in ("key", "group", "content_sha256"):
        table[f"splits_of_{column}"] = manifest.groupby(column)["split"].transform("nunique")
    table["duration_error_s"] = (manifest["duration_s"] - (manifest["frames"] - 1) / manifest["fps"]).abs()
    return table


def count_table(shards: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row: episodes of each split, and the share of recorded episodes that curation left out."""
    path = shards / QUARANTINE
    try:
        quarantined = len(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    counts = {f"episodes_{split}": int((manifest["split"] == split).sum()) for split in ("train", "test")}
    share = quarantined / max(quarantined + len(manifest), 1)
    return pd.DataFrame([{"data": str(shards), **counts, "quarantined_share": share}])


def open_all(shards: Path, rows: pd.DataFrame) -> list[Sample]:
    """Open the episodes `rows` of one tar; if it can't be read further, all that are left share the reason."""
    opened: dict[str, Sample] = {}
    frames = dict(zip(rows["key"], rows["frames"], strict=True))
    try:
        for key, members in read_members(shards, rows):
            opened[key] = look_at(key, members, frames[key])
    except DataError as error:
        for key in set(rows["key"]) - set(opened):
            opened[key] = Sample(pd.DataFrame([{"key": key, "problem": str(error), "length_difference": 0}]))
    return [opened[key] for key in rows["key"]]


def look_at(key: str, members: dict[str, bytes], frames: int) -> Sample:
    """The rows of one episode: lengths against each other and the manifest's `frames`, every state, every step."""
    episode = unpack_episode(key, members)
    actions = npy_array(members["action.npy"])
    states, numbers = episode.states, np.arange(len(episode.states))
    lengths = [len(episode.frames), len(episode.times), len(states), len(actions) + 1, frames]
    difference = max(lengths) - min(lengths)
    summary = pd.DataFrame([{"key": key, "problem": NO_PROBLEM, "length_difference": difference}])
    if difference:
        return Sample(summary)
    state_rows = pd.DataFrame({"key": key, "frame": numbers, **dict(zip(STATE_NAMES, states.T, strict=True))})
    state_rows["contrast"] = episode.frames.reshape(len(numbers), -1).std(1)
    derived = actions_between(np.nan_to_num(states))
    action_rows = pd.DataFrame({"key": key, "frame": numbers[:-1], "time_step_s": np.diff(episode.times)})
    action_rows["largest_move_m"] = np.abs(actions[:, :3]).max(1)
    action_rows["difference_from_states"] = np.abs(actions - derived).max(1)
    return Sample(summary, state_rows, action_rows)
