"""The page's pictures of single cases, as plain values for the template.

Which cases are shown is a rule that the page states (the first of each kind in the file's order), never a choice of the
good ones. A section without material returns nothing, and the template says so in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from vjepa.data.episode import Episode
from vjepa.report import charts, film
from vjepa.report.inputs import EnergyLandscape, PlannedEpisodes
from vjepa.report.quantities import spaced

Values = dict[str, Any]
CLOSE_M = 0.05
"""The hand's distance to the goal that counts as reached, m."""
MASK_SCALE = 3
"""Masked clips are enlarged before they are cut, so that the borders of the patches stay sharp."""


@dataclass
class MaskPicture:
    """What one mask generator leaves of a held-out clip.

    Attributes:
        words: the generator, for readers.
        context: ids of the visible tokens, `int64 [K]`, in the order (tubelet, row, column).
        tokens: number of all tokens of the clip.
    """

    words: str
    context: np.ndarray
    tokens: int


def mask_rows(clip: np.ndarray, masks: Sequence[MaskPicture], tubelet: int, patch: int) -> list[Values]:
    """The clip and what each mask generator leaves of it."""
    large = film.enlarge(clip, MASK_SCALE)
    rows = [{"words": "The clip", "share": "", "frames": [film.data_uri(frame) for frame in large]}]
    for mask in masks:
        shown = film.show_context(large, mask.context, tubelet, patch * MASK_SCALE)
        hidden = 1 - len(mask.context) / mask.tokens
        share = f"{100 * hidden:.0f}\N{NO-BREAK SPACE}% hidden"
        rows.append({"words": mask.words, "share": share, "frames": [film.data_uri(frame) for frame in shown]})
    return rows


def planned_cards(planned: PlannedEpisodes | None, frame_ms: int) -> list[Values]:
    """The first recorded episodes of each benchmark: four of the first benchmark, two of each other one."""
    if planned is None:
        return []
    names = list(dict.fromkeys(str(name) for name in planned.names))
    chosen = [
        (name, i) for name in names for i in np.flatnonzero(planned.names == name)[: 4 if name == names[0] else 2]
    ]
    cards = []
    for name, i in chosen:
        distances = planned.distances_m[i].astype(float)
        top = max(float(planned.distances_m[planned.names == name].max()), 2 * CLOSE_M)
        across = np.linspace(0, 100, len(distances))
        line = " ".join(f"{x:.1f},{100 - 100 * y / top:.1f}" for x, y in zip(across, distances, strict=True))
        cards.append(
            {
                "title": spaced(name),
                "success": bool(planned.success[i]),
                "animation": film.animation(planned.frames[i], frame_ms, 1500),
                "still": film.data_uri(planned.frames[i][-1]),
                "goal": film.data_uri(planned.goals[i]),
                "moves": len(distances) - 1,
                "first_cm": f"{100 * distances[0]:.1f}",
                "last_cm": f"{100 * distances[-1]:.1f}",
                "line": line,
                "close": round(100 - 100 * CLOSE_M / top, 1),
            }
        )
    return cards


def energy_section(energy: EnergyLandscape | None) -> Values:
    """The contour plot with the images before and after the step; empty without it."""
    if energy is None:
        return {}
    row, column = np.unravel_index(int(energy.energy.argmin()), energy.energy.shape)
    best = energy.offsets_m[[row, column]].astype(float)
    true = energy.true_action[:2].astype(float)
    apart = f"{100 * float(np.linalg.norm(best - true)):.1f}"
    alt = f"Contours of the energy over displacements along x and y; its minimum lies {apart} cm from the true action."
    svg = charts.energy_chart("energy", alt, energy.offsets_m.astype(float), energy.energy.astype(float), true, best)
    return {
        "svg": Markup(svg),
        "start": film.data_uri(energy.start),
        "goal": film.data_uri(energy.goal),
        "key": energy.key,
        "apart_cm": apart,
        "moved_cm": f"{100 * float(np.linalg.norm(true)):.1f}",
    }


def answer_cards(answers: Sequence[Values], episodes: Sequence[Episode], frames: int, stride: int) -> list[Values]:
    """The first two recorded questions of each kind, with four frames of the clip that they are about."""
    by_key = {episode.key: episode for episode in episodes}
    taken: Counter[str] = Counter()
    cards = []
    for answer in answers:
        taken[answer["kind"]] += 1
        if taken[answer["kind"]] > 2 or answer["key"] not in by_key:
            continue
        clip = by_key[answer["key"]].frames[answer["start"] :][: (frames - 1) * stride + 1 : stride]
        texts = {name: str(answer[name]) for name in ("question", "answer", "predicted", "blind")}
        cards.append(
            {
                **texts,
                "kind": spaced(answer["kind"]),
                "frames": [film.data_uri(frame) for frame in film.spread(clip, 4)],
                "right": texts["predicted"] == texts["answer"],
                "blind_right": texts["blind"] == texts["answer"],
            }
        )
    return sorted(cards, key=lambda card: card["kind"])
