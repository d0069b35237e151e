"""What a page says of the data: episodes by task and split, what was left out, and strips of pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from vjepa.data.episode import Episode
from vjepa.report import film

Values = dict[str, Any]
STRIP_FRAMES = 8


def data_summary(manifest: pd.DataFrame, quarantine: Sequence[Values]) -> Values:
    """Episodes by task and split, and how many were left out for which reason (numbers in a reason are blanked)."""
    splits = [split for split in ("train", "test") if (manifest["split"] == split).any()]
    splits += sorted(set(manifest["split"]) - set(splits))
    counts = manifest.groupby(["task", "split"]).size()
    tasks = sorted(manifest["task"].unique())
    rows = [{"task": task, "counts": [int(counts.get((task, split), 0)) for split in splits]} for task in tasks]
    reasons = Counter(re.sub(r"\d+(\.\d+)?(e-?\d+)?", "…", str(entry["reason"])) for entry in quarantine)
    return {
        "splits": splits,
        "rows": rows,
        "totals": [int((manifest["split"] == split).sum()) for split in splits],
        "largest": max((max(row["counts"]) for row in rows), default=1),
        "quarantine": reasons.most_common(),
    }


def film_strips(episodes: Sequence[Episode]) -> list[Values]:
    """The first held-out episode of each task, at most ten, eight frames each."""
    first: dict[str, Episode] = {}
    for episode in episodes:
        first.setdefault(episode.task, episode)
    return [film_strip(episode) for _, episode in sorted(first.items())[:10]]


def film_strip(episode: Episode) -> Values:
    """Frames of an episode from its first to its last, and what it is."""
    return {
        "task": episode.task,
        "key": episode.key,
        "seconds": f"{episode.times[-1] - episode.times[0]:.1f}",
        "frames": [film.data_uri(frame) for frame in film.spread(episode.frames, STRIP_FRAMES)],
    }
