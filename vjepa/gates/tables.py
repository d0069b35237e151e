"""The tables that expectations look at, computed from the shards: what cannot be read becomes a row that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vjepa.data.shards import BALANCE, QUARANTINE, REPAIRS, SHORT_SHOT, SPLITS
from vjepa.data.storage import exists, place_of, sha256_at
from vjepa.errors import DataError

NO_PROBLEM = "none"
ABOUT = {
    "raw": "raw data",
    "shards": "shards",
    "episodes": "shards",
    "counts": "shards",
    "samples": "sampled clips",
    "pictures": "sampled clips",
    "columns": "sampled clips",
    "states": "sampled clips",
    "actions": "sampled clips",
    "drift": "drift",
    "tasks": "drift",
}
"""The tables, and what each is about."""
ROW_NAMES = {
    "raw": ["episode"],
    "shards": ["shard"],
    "episodes": ["key"],
    "counts": ["data"],
    "samples": ["key"],
    "pictures": ["key", "frame"],
    "columns": ["column"],
    "states": ["key", "frame"],
    "actions": ["key", "frame"],
    "drift": ["quantity", "medians"],
    "tasks": ["key"],
}
"""The columns by which a row of each table is named."""


def column_of_kind(kind: str) -> str:
    """The column of table `raw` for a kind of episodes that are left out, named as in `metrics/curate.json`."""
    return kind.replace(" ", "_").lower()


def manifest_tables(shards: Path, manifest: pd.DataFrame, kinds: list[str]) -> dict[str, pd.DataFrame]:
    """The tables that need no episode opened: `raw`, `shards`, `episodes` and `counts`.

    Raises:
        DataError: a list that curation wrote is missing or can't be read.
    """
    return {
        "raw": raw_table(shards, manifest, kinds),
        "shards": shard_table(shards, manifest),
        "episodes": episode_table(manifest),
        "counts": count_table(shards, manifest),
    }


def raw_table(shards: Path, manifest: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """One row an episode that curation read: why it was left out, by kind, and what was set right in it."""
    rows: list[dict[str, str]] = []
    repaired = read_list(shards / REPAIRS, ("notes",)) if (shards / REPAIRS).exists() else []
    repairs = {entry["episode"]: "; ".join(entry["notes"]) for entry in repaired}
    for key, number in zip(manifest["key"], manifest["episode_index"], strict=True):
        rows.append({"episode": key, "repaired": repairs.get(number, NO_PROBLEM)})
    for entry in read_list(shards / QUARANTINE, ("file", "kind", "reason")):
        if entry["kind"] in (BALANCE, SHORT_SHOT):  # nothing is wrong with it
            continue
        name = f"episode {entry['episode']} of {entry['file']}"
        rows.append({"episode": name, "left_out": entry["reason"], column_of_kind(entry["kind"]): entry["reason"]})
    columns = ["episode", "left_out", *map(column_of_kind, kinds), "repaired"]
    return pd.DataFrame([dict.fromkeys(columns, NO_PROBLEM) | row for row in rows], columns=columns)


def read_list(path: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One of curation's lists of episodes, each with its number and `names`.

    Raises:
        DataError: it can't be read, or an entry lacks a name.
    """
    try:
        entries = json.loads(path.read_text())
        return [{name: entry[name] for name in ("episode", *names)} for entry in entries]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    except (TypeError, KeyError) as error:
        raise DataError(f"{path} is no list of episodes with {', '.join(names)}: curate the raw data again") from error


def shard_table(shards: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row a tar: whether it is there, byte by byte as it was written.

    Raises:
        DataError: a server that should have them does not answer.
    """
    rows = []
    for (name, digest), group in manifest.groupby(["shard", "shard_sha256"]):
        place, problem = place_of(shards, str(name)), NO_PROBLEM
        if not exists(place):
            problem = "the file is missing"
        elif sha256_at(place) != digest:
            problem = "its bytes have changed since curation"
        rows.append({"shard": place, "episodes": len(group), "problem": problem})
    return pd.DataFrame(rows, columns=["shard", "episodes", "problem"])


def episode_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest, with the number of splits in which each key, group and content is found."""
    table = manifest.copy()
    for column in ("key", "group", "content_sha256"):
        table[f"splits_of_{column}"] = manifest.groupby(column)["split"].transform("nunique")
    table["duration_error_s"] = (manifest["duration_s"] - (manifest["frames"] - 1) / manifest["fps"]).abs()
    return table


def count_table(shards: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row: episodes of each split."""
    counts = {f"episodes_{split}": int((manifest["split"] == split).sum()) for split in SPLITS}
    return pd.DataFrame([{"data": str(shards), **counts}])


def draw(shards: Path, manifest: pd.DataFrame, files: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Rows of the manifest, at most so many, of episodes in files of table `shards` that are intact."""
    intact = set(files.loc[files["problem"] == NO_PROBLEM, "shard"])
    readable = manifest[[place_of(shards, shard) in intact for shard in manifest["shard"]]].drop_duplicates("key")
    drawn = np.random.default_rng(seed).permutation(len(readable))[:most]
    return readable.iloc[np.sort(drawn)]
