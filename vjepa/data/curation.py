"""From a raw data set to shards: which episodes are used, in which split, and why others are not.

The split of an episode hangs on its own states alone, so it stays where it is when episodes are added, moved or encoded
anew. Near-duplicates, and the parts of one video, share a split, that of the member with the smallest hash; so the one
thing that can move an episode is a new near-duplicate with a smaller hash, since leaving it would leak one split into
the other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vjepa.config import BY_FEATURES, CurateConfig, SourceConfig
from vjepa.data.balance import Group, balance, tasks_of
from vjepa.data.duplicates import near_duplicates
from vjepa.data.examination import Examined, Rejected
from vjepa.data.findings import Findings, Progress, look_through
from vjepa.data.journal import pictures_in
from vjepa.data.layout import write_layout
from vjepa.data.records import forget_others
from vjepa.data.s3 import require_bucket
from vjepa.data.shards import BALANCE, QUARANTINE, REPAIRS, SHORT_SHOT, PackedEpisode, write_shards
from vjepa.errors import DataError, UserError

KINDS = (
    "unreadable",
    "missing frames",
    "time stamps off",
    "NaN state",
    "too short",
    "black",
    "frozen",
    "shot cut",
    "motionless",
    SHORT_SHOT,
    BALANCE,
)
"""Why an episode may be left out."""
EXAMPLES = 3
"""Episodes of each kind whose pictures are given back."""


@dataclass
class Curated:
    """What a curation did.

    Attributes:
        counts: for the metrics: episodes read, kept, in each split, repaired, near-duplicates, quarantined by kind.
        left_out: the quarantine list; the first few of a kind have pictures.
        remembered: entries of the index that the journal knew from a run before.
        clusters: of the training episodes, where they were balanced by an encoder's features.
    """

    counts: dict[str, Any]
    left_out: list[Rejected]
    remembered: int
    clusters: list[Group]


def curate(
    raw: Path,
    out: Path,
    source: SourceConfig,
    config: CurateConfig,
    journal: Path,
    workers: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> Curated:
    """Write the episodes of the data set `raw` as shards into `out`, with a manifest and what was left out.

    Args:
        raw: the data set's folder; nothing else is read.
        out: an empty folder; what was set right in episodes that are used is listed there as well, if anything was.
        source: what the data set is, and which of it makes an episode.
        config: what to take and what to leave out.
        journal: a folder that keeps what was found in each episode for the next run; the shards do not depend on it.
        workers: processes, where no Ray cluster is named; the shards do not depend on their number either.
        progress: told at the start and after each episode what is being done, how much of it, and how much there is.

    Raises:
        DataError: the data set is missing, empty, lacks what the settings name, or no episode can be used; the same of
            the targets; the store can't be written to.
        UserError: the encoder can't be opened.
    """
    if config.image_size < 2 or config.image_size % 2:
        raise UserError(f"curate.image_size must be an even number of pixels, not {config.image_size}")
    if config.store is not None:
        require_bucket(config.store)
    retrieval = None
    if config.balance in BY_FEATURES:
        from vjepa.data.retrieval import Retrieval  # here alone, since it opens an encoder

        retrieval = Retrieval(config, journal, workers, progress)
    found = look_through(raw, source, config, journal, workers, progress, "curate")
    kept, rejected = sort_out(found)
    if not kept:
        raise DataError(
            f"{raw}: none of {len(rejected)} episodes can be used; the first, {rejected[0].episode}, "
            f"is left out since {rejected[0].reason}"
        )
    near_duplicates_found = assign_splits(kept, config.duplicate_distance, config.test_share)
    training = [episode for episode in kept if episode.row["split"] == "train"]
    groups = tasks_of(training, config.balance_limit) if config.balance == "task" else []
    if retrieval is not None and training:
        groups = retrieval.clusters(found, training)
    kept, surplus = balance(kept, groups)
    rejected += surplus
    places = found.places()
    packed = (PackedEpisode(item.row, found.payload(*places[item.row["key"]])) for item in kept)
    manifest = write_shards(out, packed, config.episodes_per_shard, config.store)
    write_layout(out, found.dataset.layout)
    repaired = write_lists(out, kept, rejected)
    forget_others(journal, set(found.paths))
    kinds = Counter(item.kind for item in rejected)
    counts = {
        "episodes_read": len(found.outcomes),
        "episodes_kept": len(kept),
        "episodes_train": int((manifest["split"] == "train").sum()),
        "episodes_test": int((manifest["split"] == "test").sum()),
        "repaired": repaired,
        "near_duplicates": near_duplicates_found,
        "frames": int(manifest["frames"].sum()),
        "quarantined": {kind.replace(" ", "_").lower(): kinds[kind] for kind in KINDS},
    }
    return Curated(counts, rejected, found.remembered, groups if retrieval is not None else [])


def sort_out(found: Findings) -> tuple[list[Examined], list[Rejected]]:
    """The episodes that can be used, and those that can't, of which the first of each kind have pictures."""
    kept: list[Examined] = []
    rejected: list[Rejected] = []
    seen: Counter[str] = Counter()
    for place, outcome in enumerate(found.outcomes):
        for number, part in enumerate(outcome.parts):
            if isinstance(part, Examined):
                kept.append(part)
                continue
            seen[part.kind] += 1
            if seen[part.kind] <= EXAMPLES:
                part = replace(part, pictures=pictures_in(found.payload(place, number)))
            rejected.append(part)
    return kept, rejected


def write_lists(out: Path, kept: Sequence[Examined], rejected: Sequence[Rejected]) -> int:
    """Write what was left out and what was set right, and count the latter."""
    quarantine = [
        {"episode": item.episode, "file": item.file, "kind": item.kind, "reason": item.reason} for item in rejected
    ]
    (out / QUARANTINE).write_text(json.dumps(quarantine, indent=2) + "\n")
    repaired = [{"episode": item.row["episode_index"], "notes": list(item.notes)} for item in kept if item.notes]
    if repaired:
        (out / REPAIRS).write_text(json.dumps(repaired, indent=2) + "\n")
    return len(repaired)


def assign_splits(episodes: list[Examined], duplicate_distance: float, test_share: float) -> int:
    """Set `split` and `group` in the rows: near-duplicates and parts of one recording share both, in any order.

    Returns:
        How many episodes have a near-duplicate before them.
    """
    near = near_duplicates(np.stack([episode.hashes for episode in episodes]), duplicate_distance)
    _, recording = np.unique([episode.fingerprint for episode in episodes], return_inverse=True)
    # an episode links its near-duplicates to the other parts of the recording that it comes from
    size = near.max() + recording.max() + 2
    links = coo_array((np.ones(len(near)), (near, near.max() + 1 + recording)), shape=(size, size))
    _, labels = connected_components(links, directed=False)
    groups: dict[int, list[Examined]] = {}
    for label, episode in zip(labels[near], episodes, strict=True):
        groups.setdefault(int(label), []).append(episode)
    for members in groups.values():
        first = min(members, key=lambda member: (member.fingerprint, member.row["key"]))
        for member in members:
            member.row["group"] = first.row["key"]
            member.row["split"] = split_of(first.fingerprint, test_share)
    return len(episodes) - len(np.unique(near))


def split_of(fingerprint: str, test_share: float) -> str:
    """The split of an episode: its hash, read as a fraction of all hashes, is in the test share or not."""
    return "test" if int(fingerprint[:16], 16) / 2**64 < test_share else "train"
