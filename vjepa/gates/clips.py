"""Tables of the sampled clips: episodes drawn by chance, opened whole, so that every clip of them is covered.

Robots differ in what is a large step. States that are no hand poses are therefore measured by the data themselves: a
step counts in units of the column's usual step, an episode's oddity in units of the middle half of all episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vjepa.data.layout import Layout
from vjepa.data.pictures import MOVES, largest_change
from vjepa.data.shards import read_members, unpack_episode
from vjepa.errors import DataError
from vjepa.gates.tables import NO_PROBLEM

JUMP = "jump_of_"
"""What the columns of table `actions` begin with that hold steps in units of a state's usual step."""
JERK_OUTLIER, END_OUTLIER = "jerk_outlier", "end_outlier"
SAMPLE = [
    "key",
    "problem",
    "length_difference",
    "widths",
    "picture",
    "static_share",
    "frozen_share",
    "flat_share",
    "jerk",
]
SAMPLE += [JERK_OUTLIER, END_OUTLIER]
"""The columns of table `samples`; what can't be said of an episode is missing there."""


@dataclass
class Motion:
    """The numbers of an episode that could be opened and whose parts are of one length.

    Attributes:
        times: `float64 [T]`, s.
        states: `float32 [T, S]`; NaN also for what is infinite.
        actions: `float32 [T - 1, A]`; the same.
        brightness, contrast: mean and standard deviation of each frame, `float64 [T]`, of 255.
        change: of the most changed part of each picture, as `vjepa.data.pictures.largest_change` has it.
    """

    times: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    change: np.ndarray


@dataclass
class Opened:
    """One sampled episode: what table `samples` says of it at once, and its numbers, if they can be used."""

    row: dict[str, object]
    motion: Motion | None = None


def picture_of(height: int, width: int, dtype: str = "uint8") -> str:
    """Size and type of pictures in words."""
    return f"{height} x {width} {dtype}"


def open_all(shards: Path, rows: pd.DataFrame, layout: Layout) -> list[Opened]:
    """Open the episodes `rows` of one tar; if it can't be read further, all that are left share the reason."""
    opened: dict[str, Opened] = {}
    frames = dict(zip(rows["key"], rows["frames"], strict=True))
    try:
        for key, members in read_members(shards, rows):
            opened[key] = look_at(key, members, frames[key], layout)
    except DataError as error:
        for key in set(rows["key"]) - set(opened):
            opened[key] = Opened({"key": key, "problem": str(error)})
    return [opened[key] for key in rows["key"]]


def look_at(key: str, members: dict[str, bytes], frames: int, layout: Layout) -> Opened:
    """One episode: lengths against each other and the manifest's `frames`, widths against the layout, its numbers."""
    episode = unpack_episode(key, members)
    lengths = [len(episode.frames), len(episode.times), len(episode.states), len(episode.actions) + 1, frames]
    widths = [episode.states.shape[1], episode.actions.shape[1]]
    expected = [len(layout.state_names), len(layout.action_names)]
    height, width = episode.frames.shape[1:3]
    row = {
        "key": key,
        "problem": NO_PROBLEM,
        "length_difference": max(lengths) - min(lengths),
        "widths": NO_PROBLEM if widths == expected else "{} states and {} actions".format(*widths),
        "picture": picture_of(height, width, episode.frames.dtype.name),
    }
    if row["length_difference"] or row["widths"] != NO_PROBLEM:
        return Opened(row)
    flat = episode.frames.reshape(len(episode.frames), -1)
    states, actions = (np.where(np.isfinite(a), a, np.nan) for a in (episode.states, episode.actions))
    return Opened(
        row, Motion(episode.times, states, actions, flat.mean(1), flat.std(1), largest_change(episode.frames))
    )


def clip_tables(
    opened: Sequence[Opened], layout: Layout, fps: float, min_change: float, min_contrast: float
) -> dict[str, pd.DataFrame]:
    """The tables `samples`, `pictures` and, where there are states, `columns`, `states` and `actions`.

    Args:
        opened: the sampled episodes.
        layout: what their states and actions are.
        fps: frames a second that there should be.
        min_change: of 255, by which the most changed part of a picture changes at least where something moves.
        min_contrast: of 255, standard deviation of a picture that is not of one colour.
    """
    usable = {str(one.row["key"]): one.motion for one in opened if one.motion is not None}
    facts: dict[str, dict[str, float]] = {}
    tables: dict[str, pd.DataFrame] = {}
    if usable:
        motions, names = list(usable.values()), list(layout.state_names)
        usual = usual_steps(motions)
        facts = {key: episode_facts(motion, usual, min_change, min_contrast) for key, motion in usable.items()}
        tables["pictures"] = stacked(usable, [picture_rows(motion, fps) for motion in motions])
        if names:
            jerks = outlier(np.array([[fact["jerk"]] for fact in facts.values()]))
            ends = outlier(np.stack([motion.states[-1] for motion in motions]))
            for fact, jerk, end in zip(facts.values(), jerks, ends, strict=True):
                fact |= {JERK_OUTLIER: jerk, END_OUTLIER: end}
            states = stacked(usable, [pd.DataFrame(motion.states, columns=names) for motion in motions])
            ranges = states[names].max() - states[names].min()
            tables["columns"] = pd.DataFrame({"column": names, "range": ranges.to_numpy()})
            tables["states"] = states
            tables["actions"] = stacked(usable, [action_rows(motion, layout, usual) for motion in motions])
    samples = [one.row | facts.get(str(one.row["key"]), {}) for one in opened]
    return {"samples": pd.DataFrame(samples, columns=SAMPLE), **tables}


def stacked(keys: Iterable[str], parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all episodes, each with its episode's key and the number of its frame."""
    return pd.concat(dict(zip(keys, parts, strict=True)), names=["key", "frame"]).reset_index()


def usual_steps(motions: Sequence[Motion]) -> np.ndarray:
    """How far each state goes from frame to frame where it goes fast, but not by a fault: `float64 [S]`.

    It is the 95th percentile of the steps by which the column moves at all, by more than a hundredth of its range: so a
    gripper that rests for most of the time has a usual step, too. Infinite for a column that never moves.
    """
    usual = []
    for place in range(motions[0].states.shape[1]):
        columns = [motion.states[:, place].astype(np.float64) for motion in motions]
        low, high = np.nanquantile(np.concatenate(columns), [0.005, 0.995])
        steps = np.concatenate([np.abs(np.diff(column)) for column in columns])
        moving = steps[steps > (high - low) / 100]
        usual.append(np.quantile(moving, 0.95) if len(moving) else np.inf)
    return np.array(usual)


def episode_facts(motion: Motion, usual: np.ndarray, min_change: float, min_contrast: float) -> dict[str, float]:
    """Of an episode: shares of steps without motion and, where something moves, without another picture; and more.

    That is the share of its pictures that are of one colour, and its jerk: the root mean square of the third
    differences of all states, each in units of its usual step.
    """
    steps = np.diff(motion.states.astype(np.float64), axis=0) / usual
    moves = (np.abs(steps) > MOVES).any(1) if len(usual) else np.ones(len(motion.change), bool)
    jerk = np.diff(steps, n=2, axis=0)
    return {
        "static_share": 1 - float(moves.mean()),
        "frozen_share": float((motion.change[moves] < min_change).mean()) if moves.any() else 0.0,
        "flat_share": float((motion.contrast < min_contrast).mean()),
        "jerk": float(np.sqrt(np.mean(jerk**2))) if jerk.size else 0.0,
    }


def outlier(values: np.ndarray) -> np.ndarray:
    """How far each row `[N, V]` is from the median, in interquartile ranges, in the value in which that is most: `[N]`.

    A value that is equal in most rows has no such range and tells no row from another.
    """
    low, median, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(high > low, high - low, np.inf)
    return np.nan_to_num(np.abs(values - median) / spread).max(1)  # what is NaN fails elsewhere


def picture_rows(motion: Motion, fps: float) -> pd.DataFrame:
    """One row a frame: the time since the one before (since one step before 0 s for the first), and its light."""
    steps = np.diff(motion.times, prepend=-1 / fps)
    return pd.DataFrame({"time_step_s": steps, "brightness": motion.brightness, "contrast": motion.contrast})


def action_rows(motion: Motion, layout: Layout, usual: np.ndarray) -> pd.DataFrame:
    """One row a step: the action, how far it goes, and how far it is from what the states say."""
    rows = pd.DataFrame(motion.actions, columns=list(layout.action_names))
    if layout.pose:
        rows["largest_move_m"] = np.abs(np.diff(motion.states[:, :3].astype(np.float64), axis=0)).max(1)
    else:
        jumps = np.abs(np.diff(motion.states.astype(np.float64), axis=0)) / usual
        rows = rows.join(pd.DataFrame(jumps, columns=[JUMP + name for name in layout.state_names]))
    if layout.derived:
        derived = layout.actions_between(np.nan_to_num(motion.states))
        rows["difference_from_states"] = np.abs(motion.actions - derived).max(1)
    return rows
