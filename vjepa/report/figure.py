"""The README's picture: a planned episode beside its goal image, and the run's main numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vjepa.report.film import spread
from vjepa.report.inputs import PlannedEpisodes
from vjepa.report.quantities import spaced

INK, MUTED, ACCENT = "#1b1f24", "#59636e", "#0a62c2"
FRAMES = 6
TILES = 4


def save_figure(path: Path, planned: PlannedEpisodes | None, tiles: Sequence[dict[str, Any]]) -> None:
    """Write the picture as PNG.

    Args:
        path: the file.
        planned: recordings; the first episode of each of the first two benchmarks is shown.
        tiles: the headline tiles, of which the first four are shown.
    """
    firsts: dict[str, int] = {}
    if planned is not None:
        for i, name in enumerate(planned.names):
            firsts.setdefault(str(name), i)
    shown = list(firsts.items())[:2]
    with mpl.rc_context({"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}):
        figure = Figure(figsize=(9.6, 1.5 * len(shown) + 1.35), dpi=150, facecolor="white")
        rows = figure.add_gridspec(
            len(shown) + 1,
            1,
            height_ratios=[1.4] * len(shown) + [1],
            left=0.02,
            right=0.98,
            top=0.94,
            bottom=0.02,
            hspace=0.2,
        )
        for row, (name, i) in enumerate(shown):
            assert planned is not None
            axes = np.asarray(rows[row].subgridspec(1, FRAMES + 1, wspace=0.05).subplots())
            draw_episode(axes, planned, name, i)
        cells = np.asarray(rows[len(shown)].subgridspec(1, TILES).subplots())
        for axis in cells:
            axis.set_axis_off()
        for axis, tile in zip(cells, tiles, strict=False):
            draw_tile(axis, tile)
        figure.savefig(path, format="png")


def draw_episode(axes: np.ndarray, planned: PlannedEpisodes, name: str, i: int) -> None:
    """Frames of episode `i` from first to last, and its goal image in the last of the axes."""
    pictures = [*spread(planned.frames[i], FRAMES), planned.goals[i]]
    for axis in axes:
        axis.set_axis_off()
    for axis, picture in zip([*axes[: len(pictures) - 1], axes[-1]], pictures, strict=True):
        axis.imshow(picture, interpolation="lanczos")
    outcome = "succeeded" if planned.success[i] else "failed"
    distance = 100 * float(planned.distances_m[i][-1])
    axes[0].set_title(
        f"{spaced(name)}: planned from the goal image, {outcome}, hand {distance:.1f} cm away at the end",
        loc="left",
        fontsize=8,
        color=MUTED,
        pad=4,
    )
    axes[-1].set_title("goal", fontsize=8, color=ACCENT, pad=4)


def draw_tile(axis: Axes, tile: dict[str, Any]) -> None:
    """One main number with its interval and its strongest baseline."""
    texts = [
        (1.0, fill(tile["title"], 30), 7.2, INK, "normal"),
        (0.68, tile["value"], 15, ACCENT, "bold"),
        (0.38, f"{tile['interval']}   n = {tile['n']}", 7.2, MUTED, "normal"),
        (0.22, fill(f"against {tile['baseline']}", 34), 7.2, MUTED, "normal"),
    ]
    for height, text, size, colour, weight in texts:
        axis.text(0.0, height, text, fontsize=size, color=colour, fontweight=weight, va="top", transform=axis.transAxes)
