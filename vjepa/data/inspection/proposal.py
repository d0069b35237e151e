"""A `conf/source` file for a data set that was inspected."""

from __future__ import annotations

from typing import Any

import yaml

from vjepa.data.inspection.summary import Inspection

POSE_WORDS = ("cartesian", "eef", "ee_", "pose", "tcp")
"""In the names of columns that hold a pose."""
POSE_WIDTHS = (3, 6, 7, 8)
AXES = ["x", "y", "z"]
"""With which the values of a pose begin, where the data set names them."""


PACKAGE = "# @package _global_\n"
"""Tells Hydra that the file sets more than its own section."""
FASTEST = 8.0
"""Rows a second, at most, that are proposed: the default profile's."""
EPISODES = {"min_episodes_train": (1000, 2), "min_episodes_test": (100, 20)}
"""The default profile's limits, and which part of a smaller data set is asked for instead."""


def proposal(found: Inspection) -> str:
    """A `conf/source` file for the data set, with a remark at what has to be checked.

    It sets what else hangs on the data: the rate, how many episodes there must be, and planning without the simulator.
    """
    remarks = [f"Proposed for {found.path.name} ({found.format}): check the columns before you use it."]
    camera: str | None = next((name for name, camera in found.cameras.items() if camera.shown), None)
    source: dict[str, Any] = {"format": found.format.split()[0], "camera": camera or next(iter(found.cameras), None)}
    if found.format == "video":
        remarks = [f"For {found.path.name}: videos alone, on which the encoder can be pretrained."]
        source |= {"camera": None, "state": None, "columns": []}
    elif found.format == "droid":
        pose, gripper = (f"observation/robot_state/{name}_position" for name in ("cartesian", "gripper"))
        state = {
            "position": {"column": pose, "at": [0, 1, 2], "unit": "m"},
            "rotation": {"column": pose, "at": [3, 4, 5], "convention": "xyz", "unit": "rad"},
            "gripper": {"column": gripper, "at": 0, "open": 0.0, "closed": 1.0},
        }
        source |= {"state": state, "columns": []}
    else:
        state_or_columns, more = proposed_state(found)
        source |= state_or_columns
        remarks += more
    source["action"] = None
    settings = {"source": source, **other_sections(found, joints=bool(source["columns"]))}
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=120)
    return PACKAGE + "".join(f"# {remark}\n" for remark in remarks) + text


def other_sections(found: Inspection, joints: bool) -> dict[str, Any]:
    """What the profile's values of other sections become for this data set."""
    rates = [found.fps / n for n in range(1, 1000) if found.fps / n <= FASTEST]
    whole = [rate for rate in rates if rate == round(rate)]
    sections: dict[str, Any] = {"curate": {"fps": next(iter([*whole, *rates]), FASTEST)}}
    fewer = {name: max(1, found.episodes // part) for name, (most, part) in EPISODES.items()}
    sections["validate"] = {name: min(count, EPISODES[name][0]) for name, count in fewer.items()}
    sections["plan"] = {"closed_loop": None}
    if joints:  # of which 1 is half the range that their actions have
        sections["plan"]["planner"] = {"sigma": 0.7, "max_move": 1.0}
    return sections


def proposed_state(found: Inspection) -> tuple[dict[str, Any], list[str]]:
    """`state` or `columns` of the column that looks most like a pose, and what has to be checked of it."""
    names = [name for name in found.columns if "state" in name]
    poses = [name for name in names if any(word in name for word in POSE_WORDS)]
    name = next(iter([*poses, *names, *found.columns]), None)
    if name is None:
        return {"state": None, "columns": []}, ["It has no column of numbers: the encoder alone can be trained on it."]
    column = found.columns[name]
    remarks = [f"{name} has {column.width} values; nothing in the data set says in which unit and convention they are."]
    begins = [value.lower()[-1:] for value in column.values[:3]]
    called_pose = name in poses if not column.values else begins == AXES
    if column.width not in POSE_WIDTHS or not called_pose:
        remarks += [
            "Nothing says that it is a hand's pose: the values that change are used as they are. Set their unit; if a",
            "column holds the hand's pose, `state` takes it (see conf/source/lerobot.yaml).",
            "An action is the difference of two states; `action` takes recorded ones (see conf/source/joints.yaml).",
        ]
        moving = [place for place in range(column.width) if column.low[place] < column.high[place]]
        if still := [str(place) for place in range(column.width) if place not in moving]:
            remarks.append(
                f"Left out, since they never change in the {found.opened} episodes opened: {', '.join(still)}."
            )
        return {"state": None, "columns": [{"column": name, "at": moving, "unit": "rad"}]}, remarks
    state: dict[str, Any] = {
        "position": {"column": name, "at": [0, 1, 2], "unit": "m"},
        "rotation": None,
        "gripper": None,
    }
    if column.width in (6, 7):
        state["rotation"] = {"column": name, "at": [3, 4, 5], "convention": "xyz", "unit": "rad"}
    elif column.width == 8:
        state["rotation"] = {"column": name, "at": [3, 4, 5, 6], "convention": "quaternion xyzw", "unit": "rad"}
    low, high = float(column.low[-1]), float(column.high[-1])
    if column.width in (7, 8) and low < high:
        state["gripper"] = {"column": name, "at": column.width - 1, "open": low, "closed": high}
        remarks.append("The gripper's lowest value is taken for open: exchange both if it is closed there.")
    return {"state": state, "columns": []}, remarks
