"""What the data must be: one suite of expectations a table, each with what to do where it fails."""

from __future__ import annotations

import great_expectations.expectations as gxe

from vjepa.config import CurateConfig, ValidateConfig
from vjepa.data.layout import Layout
from vjepa.data.shards import SPLITS
from vjepa.gates.clips import END_OUTLIER, JERK_OUTLIER, JUMP, picture_of
from vjepa.gates.drift import BOTH
from vjepa.gates.expectations import NOTE, is_between, is_one_of, is_unique, present
from vjepa.gates.tables import NO_PROBLEM, column_of_kind

EXACT = 1e-5
"""Float32 arithmetic repeated on another machine."""
AGAIN = "curate again (dvc repro -f curate)"
LEFT_OUT = {
    "unreadable": "copy or download the files again, which can't be read or decoded",
    "missing frames": "record or export these episodes again: their videos and rows are not of the same time",
    "time stamps off": "look at the clock that wrote the time stamps; export the data set anew",
    "NaN state": "look at the sensor or the export that left gaps; fill or cut them in the raw data",
    "too short": "lower curate.min_frames or curate.fps if such short episodes are of use",
    "black": "look at the camera and its exposure; raise curate.max_black if so many dark pictures are of use",
    "frozen": "look at the camera and the recording: its pictures stop while the robot moves (curate.max_frozen)",
    "shot cut": "cut these recordings apart in the raw data; raise curate.max_scene_change if pictures may change so",
    "motionless": "lower curate.min_motion if standing still is of use, else look whether the states were recorded",
}
"""What to do about each kind of episode that curation leaves out."""
SEE_LIST = (
    "data/shards/quarantine.json names all; only where so many may be missing raise validate.max_quarantined_share"
)


def build_suites(config: ValidateConfig, curate: CurateConfig, layout: Layout) -> dict[str, list[gxe.Expectation]]:
    """The expectations on each table (see `vjepa.gates.tables`).

    Args:
        config: the limits.
        curate: what the shards should be.
        layout: what their states and actions are.
    """
    width = len(layout.state_names)
    return {
        "raw": raw_suite(config),
        "shards": [is_one_of("problem", [NO_PROBLEM], f"never edit shards; {AGAIN}, or dvc pull data/shards")],
        "episodes": episodes_suite(config, curate, layout),
        "counts": [
            is_between(
                f"episodes_{split}",
                getattr(config, f"min_episodes_{split}"),
                None,
                f"add data, or lower validate.min_episodes_{split}; curate.test_share parts the splits",
            )
            for split in SPLITS
        ],
        "samples": samples_suite(config, curate, width),
        "pictures": pictures_suite(config, curate),
        "columns": [
            is_between(
                "range",
                0,
                None,
                "nothing, if this part of the robot never moves; else look at the column in conf/source",
                strict_min=True,
                severity=NOTE,
            )
        ],
        "states": states_suite(config, layout),
        "actions": actions_suite(config, layout),
        "drift": drift_suite(config),
        "tasks": [
            is_one_of(
                "unknown_task",
                [NO_PROBLEM],
                "the model in service never saw these tasks: retrain and compare on them before you promote, and raise "
                "validate.max_unknown_task_share if they are wanted; else mend the sentences in the raw data",
                config.max_unknown_task_share,
            )
        ],
    }


def raw_suite(config: ValidateConfig) -> list[gxe.Expectation]:
    """What curation found in the raw data: of each kind, in all, and what it set right."""
    most = config.max_quarantined_share
    kinds = [
        is_one_of(column_of_kind(kind), [NO_PROBLEM], f"{remedy}; {SEE_LIST}", most)
        for kind, remedy in LEFT_OUT.items()
    ]
    repaired = (
        "see data/shards/repairs.json; export the data set anew if what was set right there is not what you expect, "
        "else raise validate.max_repaired_share"
    )
    return [
        *kinds,
        is_one_of("left_out", [NO_PROBLEM], f"data/summary.html shows some of each kind; {SEE_LIST}", most),
        is_one_of("repaired", [NO_PROBLEM], repaired, config.max_repaired_share, severity=NOTE),
    ]


def episodes_suite(config: ValidateConfig, curate: CurateConfig, layout: Layout) -> list[gxe.Expectation]:
    """The manifest, row by row, and that no episode is on both sides of the split."""
    moved = ["motion_m"] if layout.pose else []
    still = "an episode without motion was let in: raise curate.min_motion above 0 and curate again"
    return [
        *present(["key", "split", "group", "task", *moved], f"the manifest has a gap: {AGAIN}"),
        is_unique("key", f"two episodes share a name: give them other numbers in the raw data and {AGAIN}"),
        is_one_of("split", list(SPLITS), f"the manifest was changed: {AGAIN}"),
        *(
            is_one_of(f"splits_of_{what}", [1], f"what is trained on leaks into what is held out: {AGAIN}")
            for what in ("key", "group", "content_sha256")
        ),
        is_one_of(
            "state_width",
            [len(layout.state_names)],
            f"episodes of different robots are mixed: part the data sets, or {AGAIN}",
        ),
        is_between("frames", 2, None, f"raise curate.min_frames and {AGAIN}"),
        is_between("fps", curate.fps - EXACT, curate.fps + EXACT, f"curate.fps was changed since: {AGAIN}"),
        is_between(
            "duration_error_s",
            0,
            config.time_tolerance,
            "set curate.fps to a rate that divides the recording's, or raise validate.time_tolerance",
        ),
        *(is_between(column, 0, None, still, strict_min=True) for column in moved),
    ]


def samples_suite(config: ValidateConfig, curate: CurateConfig, width: int) -> list[gxe.Expectation]:
    """Each opened episode as a whole: sizes, and pictures that stand still while the robot moves."""
    size = curate.image_size
    suite = [
        is_one_of("problem", [NO_PROBLEM], f"the episode can't be opened: {AGAIN}"),
        is_one_of("length_difference", [0], f"frames, times, states and actions differ in number: {AGAIN}"),
        is_one_of("widths", [NO_PROBLEM], f"the widths are not those of data/shards/layout.json: {AGAIN}"),
        is_one_of("picture", [picture_of(size, size)], f"curate.image_size was changed since: {AGAIN}"),
        is_between(
            "frozen_share",
            0,
            config.max_frozen_share,
            "look at the video: the camera hung, or shows another scene; drop these episodes from the raw data, or see "
            "validate.min_picture_change and validate.max_frozen_share",
            **({} if width else {"severity": NOTE}),  # a video without states may well show nothing that moves
        ),
    ]
    flat = "pictures of one colour: a covered or dead camera, or another one than source.camera should name"
    suite += [is_between("flat_share", 0, curate.max_black, f"{flat} (validate.min_contrast, curate.max_black)")]
    if width:
        odd = "look at these episodes: a bumped robot, a lost tracker, or merely a rare task (validate.max_outlier)"
        suite += [
            is_between(
                "static_share",
                0,
                config.max_static_share,
                "the robot hardly moves: cut the pauses, or raise validate.max_static_share",
                severity=NOTE,
            ),
            *(is_between(name, None, config.max_outlier, odd, severity=NOTE) for name in (JERK_OUTLIER, END_OUTLIER)),
        ]
    return suite


def pictures_suite(config: ValidateConfig, curate: CurateConfig) -> list[gxe.Expectation]:
    """Every frame of the opened episodes, and so of every clip that training can draw from them."""
    step, tolerance = 1 / curate.fps, config.time_tolerance
    off = "set curate.fps to a rate that divides the recording's, or raise validate.time_tolerance"
    return [
        *present(["time_step_s"], f"a time stamp is no number: {AGAIN}"),
        is_between("time_step_s", step - tolerance, step + tolerance, off),
    ]


def states_suite(config: ValidateConfig, layout: Layout) -> list[gxe.Expectation]:
    """Every state of the opened episodes; of a hand pose x, y, z, three angles and the gripper also their limits."""
    names = layout.state_names
    suite = present(names, f"a state is no number: look at its column in the raw data and {AGAIN}")
    if layout.pose:
        low, high = config.position_low, config.position_high
        far = "see the unit in conf/source (m, mm), or widen validate.position_low and position_high to the workspace"
        suite += [is_between(name, low[axis], high[axis], far) for axis, name in enumerate(names[:3])]
        degrees = "angles are rad: set source.state.rotation.unit to deg if the recording has degrees"
        suite += [is_between(name, -6.2832, 6.2832, degrees) for name in names[3:6]]
        closed = "set source.state.gripper.open and closed to the recorded values of the open and the closed gripper"
        suite += [is_between(names[6], -EXACT, 1 + EXACT, closed)]
    return suite


def actions_suite(config: ValidateConfig, layout: Layout) -> list[gxe.Expectation]:
    """Every step of the opened episodes: no leaps; actions that are derived are what the states say."""
    gap = f"an action is no number: look at its column in the raw data and {AGAIN}"
    if layout.derived:
        differ = f"actions are not what the states of the same file say: {AGAIN}"
        suite = [*present(["difference_from_states"], gap), is_between("difference_from_states", 0, EXACT, differ)]
    else:
        suite = present(layout.action_names, gap)
    if layout.pose:
        far = "look at the frames before and after: the tracker leapt; else raise validate.max_move or curate.fps"
        return [*suite, is_between("largest_move_m", 0, config.max_move, far)]
    leap = (
        "look at the column there: a lost sample, a reset, an angle that wraps around (unwrap it in the raw data); "
        "else raise validate.max_jump"
    )
    return [*suite, *(is_between(JUMP + name, 0, config.max_jump, leap) for name in layout.state_names)]


def drift_suite(config: ValidateConfig) -> list[gxe.Expectation]:
    """New data against the profile of the data that the model in service learned from."""
    shift = (
        "see whether robot, camera, light or units changed on purpose: then retrain and raise validate.max_drift for "
        "once, or name the profile of comparable data in validate.reference; else mend the recording"
    )
    other = (
        "the states are others than the model in service knows: check source.state, or set validate.reference to null"
    )
    return [is_one_of("found_in", [BOTH], other), is_between("distance", 0, config.max_drift, shift)]
