"""A folder of DROID's raw episodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from vjepa.data import droid
from vjepa.data.inspection.summary import STRIP, CameraSummary, Inspection, pace, spread, watch, widen
from vjepa.data.raw import frames_by_order
from vjepa.errors import DataError
from vjepa.files import require_inside


def inspect_droid(path: Path, most: int) -> Inspection:
    """A folder of DROID's raw episodes."""
    entries = droid.entries_in(path)
    found = Inspection(
        path=path,
        format="droid",
        robot="droid",
        fps=0.0,
        episodes=len(entries),
        frames=0,
        cameras={
            name: CameraSummary(name, "60 frames a second in its header, whatever it shows") for name in droid.CAMERAS
        },
        columns={},
        tasks=Counter(),
        opened=min(most, len(entries)),
        findings={},
        strip=None,
    )
    rows, rates = [], []
    for folder in (entry.folder for entry in spread(entries, most)):
        where = folder.relative_to(path).as_posix()
        try:
            metadata = droid.read_metadata(path, folder)
            require_inside(path, folder / "trajectory.h5")
            with h5py.File(folder / "trajectory.h5", "r") as trajectory:
                lengths = look_at_trajectory(found, trajectory)
                clocks = [name for name in trajectory.get("observation/timestamp/cameras", {})]
                clock = next((name for name in clocks if name.endswith(droid.CLOCKS)), None)
                if clock is not None:
                    times = droid.numbers(trajectory, f"observation/timestamp/cameras/{clock}") / 1000
                    rates.append(pace(times))
        except (DataError, OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
            found.note("an episode can't be read", f"{where}: {' '.join(str(error).split())}")
            continue
        rows.append(max(lengths, default=0))
        if len(set(lengths)) > 1:
            found.note("columns of trajectory.h5 differ in length", where)
        found.tasks[str(metadata.get("current_task") or "")] += 1
        for name, camera in found.cameras.items():
            if not metadata.get(f"{name}_cam_serial"):
                camera.missing += 1
                continue
            try:
                file, _ = droid.video_of(path, folder, metadata, name)
                if not file.exists():
                    camera.missing += 1
                    continue
                camera.shown[watch(file)[0]] += 1
                if found.strip is None:
                    places = np.linspace(0, rows[-1] - 2, STRIP).astype(int)
                    frames, _, _ = frames_by_order(file, places, rows[-1], droid.MISSING_FRAMES)
                    found.strip = np.concatenate(list(frames), axis=1)
            except DataError as error:
                found.note(f"{name}: a video can't be used", f"{where}: {error}")
    found.fps = float(np.nanmedian(rates)) if np.isfinite(rates).any() else 0.0
    found.frames = round(float(np.mean(rows)) * len(entries)) if rows else 0
    return found


def look_at_trajectory(found: Inspection, trajectory: h5py.File) -> list[int]:
    """Ranges of the numbers that can make a state or an action; returns the lengths of these columns."""
    lengths = []
    for group in ("observation/robot_state", "action"):
        for name, values in trajectory.get(group, {}).items():
            if isinstance(values, h5py.Dataset) and values.ndim in (1, 2) and values.dtype.kind in "fiu":
                numbers = droid.numbers(trajectory, f"{group}/{name}")
                lengths.append(len(numbers))
                widen(found.columns, f"{group}/{name}", numbers.reshape(len(numbers), -1))
    return lengths
