"""The page of a curation: counts, histograms, what was left out and why, and pictures of some of both.

Equal inputs give equal bytes, as for the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from vjepa.data.balance import Group
from vjepa.data.curation import EXAMPLES
from vjepa.data.examination import Rejected
from vjepa.data.shards import read_episode_members, read_manifest, unpack_episode
from vjepa.files import atomic_path
from vjepa.report import charts, film
from vjepa.report.data_section import data_summary, film_strip
from vjepa.report.html import render

KEPT = 6
"""Episodes that are used whose pictures are shown, evenly spread over the manifest."""
HISTOGRAMS = (
    ("frames", "Frames", "frames in an episode", 1.0),
    ("duration_s", "Duration", "s", 1.0),
    ("motion_m", "Motion", "path of the hand, cm", 100.0),
)
"""Columns of the manifest, with a title, the words of the axis and a factor."""


def write_curation_page(
    path: Path,
    shards: Path,
    counts: Mapping[str, Any],
    left_out: Sequence[Rejected],
    clusters: Sequence[Group] = (),
) -> None:
    """Write the page.

    Args:
        path: the file.
        shards: of which it tells.
        counts: as `vjepa.data.curation.Curated` has them.
        left_out: the quarantine list; those with pictures are shown.
        clusters: of the training episodes, if there are any.
    """
    manifest = read_manifest(shards)
    page = render(
        "curation.html.j2",
        facts=facts(manifest, counts, len(left_out)),
        charts=distributions(manifest),
        data=data_summary(manifest, []),
        clusters=[
            {"episodes": len(group.members), "used": min(len(group.members), group.limit), "matches": group.matches}
            for group in clusters
        ],
        strips=kept_strips(shards, manifest),
        kinds=kinds(left_out),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def facts(manifest: pd.DataFrame, counts: Mapping[str, Any], left_out: int) -> list[tuple[str, str]]:
    """The main numbers."""
    return [
        ("Read", f"{counts['episodes_read']:,} episodes"),
        ("To train on", f"{counts['episodes_train']:,}"),
        ("Held out", f"{counts['episodes_test']:,}"),
        ("Left out", f"{left_out:,}"),
        ("Near-duplicates", f"{counts['near_duplicates']:,}"),
        ("Repaired", f"{counts['repaired']:,}"),
        ("Length", f"{manifest['duration_s'].sum() / 60:,.1f} min, {counts['frames']:,} frames"),
    ]


def distributions(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """What is worth a histogram: where there are no hand poses, motion is not."""
    found = [histogram(manifest, *what) for what in HISTOGRAMS if manifest[what[0]].max() > 0]
    return [*found, per_task(manifest)]


def histogram(manifest: pd.DataFrame, column: str, title: str, words: str, factor: float) -> dict[str, Any]:
    """How a column is distributed over the episodes that are used."""
    values = manifest[column].to_numpy() * factor
    low, middle, high = (f"{value:.3g}" for value in (values.min(), pd.Series(values).median(), values.max()))
    said = f"from {low} to {high}, half of them below {middle}"
    svg = charts.histogram(column, f"{title} of {len(values)} episodes: {said}", words, values)
    return {"title": title, "said": said, "svg": Markup(svg)}


def per_task(manifest: pd.DataFrame) -> dict[str, Any]:
    """How many episodes the tasks have."""
    values = manifest["task"].value_counts().to_numpy()
    said = f"{len(values)} {'task' if len(values) == 1 else 'tasks'} of {values.min():,} to {values.max():,} episodes"
    svg = charts.histogram("per-task", f"Episodes per task: {said}", "episodes of a task", values, "tasks")
    return {"title": "Tasks", "said": said, "svg": Markup(svg)}


def kept_strips(shards: Path, manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Some of the episodes that are used."""
    places = sorted({round(place * (len(manifest) - 1) / (KEPT - 1)) for place in range(KEPT)})
    rows = [manifest.iloc[place] for place in places]
    return [film_strip(unpack_episode(row["key"], read_episode_members(shards, row))) for row in rows]


def kinds(left_out: Sequence[Rejected]) -> list[dict[str, Any]]:
    """What was left out, by kind, the most frequent first, with the first ones as examples."""
    found: dict[str, list[Rejected]] = {}
    for item in left_out:
        found.setdefault(item.kind, []).append(item)
    return [
        {
            "kind": kind,
            "count": len(items),
            "examples": [
                {
                    "episode": item.episode,
                    "file": item.file,
                    "reason": item.reason,
                    "frames": [film.data_uri(picture) for picture in item.pictures],
                }
                for item in items[:EXAMPLES]
            ],
        }
        for kind, items in sorted(found.items(), key=lambda kind_items: (-len(kind_items[1]), kind_items[0]))
    ]
