"""`vjepa data inspect`: what a data set is, what is wrong with it, and how it would be read."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Column, Table

from vjepa.cli.arguments import positive
from vjepa.data.inspection import Inspection, inspect, proposal
from vjepa.errors import UserError
from vjepa.files import atomic_path

TASKS, EXAMPLES, RATES = 5, 3, 6
STRIP_HEIGHT = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    look = actions.add_parser("inspect", help="say what a data set is and what contradicts itself in it")
    look.add_argument(
        "path", type=Path, help="a LeRobot data set (v2.0, v2.1, v3.0), a folder of DROID's raw episodes or of videos"
    )
    look.add_argument("--episodes", type=positive, default=200, help="episodes that are opened, evenly spread (200)")
    look.add_argument(
        "--out",
        type=Path,
        help="folder for the proposed source (NAME.yaml) and the film strip (NAME.png); default: here",
    )
    look.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print what was found and write the proposal and the film strip."""
    name = options.path.resolve().name
    out = options.out or Path()
    targets = [out / f"{name}.yaml", out / f"{name}.png"]
    if there := [str(target) for target in targets if target.exists()]:
        raise UserError(f"{', '.join(there)}: there already; choose another folder (--out) or remove it")
    console = Console(soft_wrap=True, markup=False, highlight=False)
    with Console(stderr=True).status(f"looking at {options.path}"):
        found = inspect(options.path, options.episodes)
    show(found, console)
    with atomic_path(targets[0]) as temporary:
        temporary.write_text(proposal(found))
    console.print(f"\n{targets[0]}: a proposed source; check it (the next steps: data/README.md, Your own episodes)")
    if found.strip is not None:
        with atomic_path(targets[1]) as temporary:
            strip(found.strip).save(temporary, "PNG")
        console.print(f"{targets[1]}: frames of one episode")


def strip(frames: np.ndarray) -> Image.Image:
    """The film strip at a height that fits a screen."""
    image = Image.fromarray(frames)
    return image.resize((round(image.width * STRIP_HEIGHT / image.height), STRIP_HEIGHT))


def show(found: Inspection, console: Console) -> None:
    """Everything that was found, as tables and lists."""
    console.print(
        f"{found.path}: {found.format}, robot {found.robot}\n{found.episodes:,} episodes, {found.frames:,} frames, "
        f"{found.hours:.2f} hours at {found.fps:.4g} rows a second; {found.opened:,} episodes opened\n"
        f"rates that divide it, for curate.fps: {', '.join(f'{found.fps / n:.4g}' for n in range(1, RATES + 1))}"
    )
    cameras = Table(named("camera"), "said to be", "is", "files missing", box=box.SIMPLE_HEAD)
    for camera in found.cameras.values():
        shown = ", ".join(f"{what} ({count})" for what, count in camera.shown.most_common()) or "nothing"
        cameras.add_row(camera.name, camera.said, shown, str(camera.missing))
    columns = Table(named("column"), "values", "lowest to highest of each", "never changes", box=box.SIMPLE_HEAD)
    for column in found.columns.values():
        ranges = [f"{low:.3g} to {high:.3g}" for low, high in zip(column.low, column.high, strict=True)]
        listed = ", ".join(ranges[:8]) + (f", ... ({len(ranges)})" if len(ranges) > 8 else "")
        columns.add_row(column.name, str(column.width), listed, str(int((column.low == column.high).sum())))
    console.print(cameras, *([columns] if found.columns else ()))
    console.print(f"{len(found.tasks)} tasks:")
    for task, count in found.tasks.most_common(TASKS):
        console.print(f"  {count:,} x {task or '(none)'}")
    if len(found.tasks) > TASKS:
        console.print("  ...")
    console.print(f"\n{len(found.findings)} things contradict each other:" if found.findings else "\nnothing is wrong")
    for finding, places in found.findings.items():
        known = [place for place in places if place]
        often = f" ({len(places)} episodes)" if len(places) > 1 else ""
        examples = f": {'; '.join(known[:EXAMPLES])}{' ...' if len(known) > EXAMPLES else ''}" if known else ""
        console.print(f"  - {finding}{often}{examples}")


def named(title: str) -> Column:
    """A table's column of names, which are never cut."""
    return Column(title, overflow="fold", min_width=24)
