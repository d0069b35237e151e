"""Charts as inline SVG that follow the page's light or dark colours, and the scale of the dot-and-whisker rows.

matplotlib draws in placeholder colours, which become the page's CSS variables. Everything that would differ between two
runs on the same numbers (dates, random ids) is left out.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {
    "ink": "#010203",
    "muted": "#010204",
    "line": "#010205",
    "accent": "#010206",
    "second": "#010207",
    "third": "#010208",
}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "vjepa",
    "svg.fonttype": "none",  # real text: it takes the page's font and can be read aloud
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that the layout is the same on every machine
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["line"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def line_chart(
    name: str, alt: str, steps: Sequence[float], lines: Mapping[str, Sequence[float]], limit: float | None = None
) -> str:
    """Curves over training steps as inline SVG.

    Args:
        name: starts the ids inside the SVG; unique on the page.
        alt: what it shows, for readers who don't see it.
        steps: shared by all lines.
        lines: words for the legend -> values; one line has no legend. NaN: not measured at that step.
        limit: a value that the lines must not pass, drawn as a dashed line.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.3), layout="constrained")
        axes = figure.subplots()
        colours = ("accent", "second", "third")
        for colour, (words, values) in zip(colours, lines.items(), strict=False):
            known = np.isfinite(values)
            axes.plot(np.array(steps)[known], np.array(values)[known], color=COLOURS[colour], label=words, gid=colour)
        if limit is not None:
            axes.axhline(limit, color=COLOURS["second"], linewidth=1, linestyle="--", gid="limit")
        shown = np.array([0.0, *([] if limit is None else [limit]), *(v for values in lines.values() for v in values)])
        lowest, highest = np.nanmin(shown), np.nanmax(shown)
        margin = 0.06 * (highest - lowest) or 1.0
        axes.set_ylim(lowest - margin if lowest < 0 else 0, highest + margin)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        axes.set_xlabel("step")
        if len(lines) > 1:
            place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1), "borderaxespad": 0}
            axes.legend(frameon=False, fontsize=8, ncols=len(lines), **place)
        return themed_svg(figure, name, alt)


def histogram(name: str, alt: str, words: str, values: np.ndarray, counted: str = "episodes") -> str:
    """How many there are of each size, as inline SVG.

    Args:
        name: starts the ids inside the SVG; unique on the page.
        alt: what it shows, for readers who don't see it.
        words: below the axis of sizes.
        values: the sizes, `[N]`.
        counted: what they are sizes of, beside the other axis.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.3), layout="constrained")
        axes = figure.subplots()
        axes.hist(values, bins=24, color=COLOURS["accent"])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel=words, ylabel=counted)
        return themed_svg(figure, name, alt)


def energy_chart(
    name: str, alt: str, offsets_m: np.ndarray, energy: np.ndarray, true_m: np.ndarray, best_m: np.ndarray
) -> str:
    """Contours of the energy over displacements along x and y, with the true action and the minimum marked.

    Args:
        name: starts the ids inside the SVG; unique on the page.
        alt: what it shows, for readers who don't see it.
        offsets_m: `float [G]`, m.
        energy: `float [G, G]`, first axis x, second y.
        true_m: `float [2]`, displacement of the true action, m.
        best_m: `float [2]`, displacement of the lowest energy, m.
    """
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(4.6, 3.8), layout="constrained")
        axes = figure.subplots()
        offsets_cm = 100 * offsets_m
        filled = axes.contourf(offsets_cm, offsets_cm, energy.T, levels=14, cmap="viridis")
        axes.contour(offsets_cm, offsets_cm, energy.T, levels=filled.levels, colors="white", linewidths=0.4, alpha=0.5)
        mark: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black", "clip_on": False}
        axes.plot(*(100 * true_m), marker="*", markersize=14, color="white", label="true action", **mark)
        axes.plot(*(100 * best_m), marker="X", markersize=9, color="#ff5a4f", label="lowest energy", **mark)
        axes.set(xlabel="displacement along x, cm", ylabel="displacement along y, cm", aspect="equal")
        bar = figure.colorbar(filled, ax=axes, shrink=0.85)
        bar.outline.set_visible(False)
        bar.set_label("energy")
        return themed_svg(figure, name, alt)


def themed_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as SVG for use inside HTML: page colours, no fixed size, no metadata, ids that start with `name`."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', svg)
    assert width is not None
    # 1pt of matplotlib is drawn as 4/3 px, so that its 9pt text is as large as the page's small print
    size = f"max-width:{float(width[1]) * 4 / 3:.0f}px"
    head = f'<svg class="chart" style="{size}" role="img" aria-label="{html.escape(alt)}" '
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', lambda match: f"{head}{match[1]}>", svg, count=1)
    svg = re.sub(r'\b(id="|href="#|url\(#)', lambda match: f"{match[1]}{name}-", svg)
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.strip()


def scale_end(highest: float) -> float:
    """The end of an axis that starts at zero: 1, 2, 2.5, 4, 5 or 8 times a power of ten, at or above `highest`."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= highest * 0.999)
