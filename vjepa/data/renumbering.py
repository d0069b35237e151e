"""Episodes that were examined under another number: numbers that follow from names change when files are added."""

from __future__ import annotations

import io
from dataclasses import replace

from vjepa.data.examination import Examined, Outcome, Rejected, episode_key
from vjepa.data.shards import checked_samples, content_hash, meta_bytes, meta_of, sample_blocks


def number_of(outcome: Outcome) -> int:
    """The number under which an entry was examined."""
    first = outcome.parts[0]
    return int(first.row["episode_index"]) if isinstance(first, Examined) else first.episode


def renumbered(outcome: Outcome, number: int) -> Outcome:
    """What examining the entry under this number would give, byte for byte; `outcome` is whole.

    Raises:
        DataError: tar blocks are damaged.
    """
    parts: list[Examined | Rejected] = []
    for part in outcome.parts:
        if isinstance(part, Rejected):
            parts.append(replace(part, episode=number))
            continue
        row = part.row
        suffix = row["key"].removeprefix(episode_key(row["source"], row["episode_index"]))
        key = episode_key(row["source"], number, suffix)
        stream = io.BytesIO(part.blocks)
        ((_, members),) = checked_samples("the journal", stream, {row["key"]: row["content_sha256"]})
        members["meta.json"] = meta_bytes(meta_of(members) | {"episode_index": number})
        changed = {"key": key, "group": key, "episode_index": number, "content_sha256": content_hash(members)}
        parts.append(replace(part, row=row | changed, blocks=sample_blocks(key, members)))
    return Outcome(parts, outcome.lasting)
