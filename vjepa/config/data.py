"""Settings of the data's way: made, read, curated, judged."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from itertools import pairwise

from vjepa.config.reading import require, require_counts


@dataclass
class Variation:
    """How much the simulated scenes differ between episodes; 0 leaves a property as Meta-World sets it."""

    light: float  # brightness and direction of the lights, 0 to 1
    colour: float  # tint of table, floor and objects, 0 to 1
    camera: float  # displacement of the camera, in m
    distractor: float  # how often a coloured ball or box that belongs to no task is in view, 0 to 1


@dataclass
class CollectConfig:
    """Simulated robot episodes: Meta-World over MuJoCo, written as a LeRobot v3.0 data set."""

    tasks: dict[str, int]  # Meta-World task -> number of episodes
    frames: int  # frames in an episode
    steps_per_frame: int  # simulator control steps (12.5 ms each) between two frames
    image_size: int  # pixels on each side of the stored video
    waypoint_share: float  # share of episodes that move between way-points over the whole workspace
    expert_share: float  # share that follow the scripted expert with noise; what is left makes random moves
    expert_noise: float  # standard deviation of the noise on the expert's commands (its commands are within -1 to 1)
    max_move: float  # largest displacement commanded between two frames, on each axis, in m
    variation: Variation  # light, colour and camera between episodes
    workers: int  # simulator processes


POSITION_UNITS, ANGLE_UNITS = ("m", "cm", "mm"), ("rad", "deg")
ROTATION_WIDTHS = {
    "quaternion xyzw": 4,
    "quaternion wxyz": 4,
    "rotation vector": 3,
    "matrix": 9,  # row by row
    "6d columns": 6,  # the first two columns, one after the other
    "6d rows": 6,
}
"""Conventions of rotations and the number of their values; beside them, Euler angles by three letters."""


@dataclass
class PositionConfig:
    """Where the end effector is: three values of a column."""

    column: str
    at: list[int]  # which values of the column, from 0: x, y, z in the robot's base frame
    unit: str  # m, cm or mm

    def __post_init__(self) -> None:
        fits = len(set(self.at)) == len(self.at) == 3 and min(self.at) >= 0
        require(fits, "state.position.at needs three different places, of x, y and z")
        require(self.unit in POSITION_UNITS, f"state.position.unit must be one of {POSITION_UNITS}, not {self.unit!r}")


@dataclass
class RotationConfig:
    """How the end effector is turned: 3, 4, 6 or 9 values of a column."""

    column: str
    at: list[int]  # which values of the column, from 0
    convention: str  # Euler angles: xyz (extrinsic), XYZ (intrinsic), zyx, ...; or one of ROTATION_WIDTHS
    unit: str  # of angles: rad or deg

    def __post_init__(self) -> None:
        euler = len(self.convention) == 3 and (self.convention.islower() or self.convention.isupper())
        letters = self.convention.lower()
        euler = euler and set(letters) <= set("xyz") and all(a != b for a, b in pairwise(letters))
        known = euler or self.convention in ROTATION_WIDTHS
        names = ", ".join(ROTATION_WIDTHS)
        require(known, f"state.rotation.convention must be Euler letters or one of {names}, not {self.convention!r}")
        width = ROTATION_WIDTHS.get(self.convention, 3)
        fits = len(set(self.at)) == len(self.at) == width and min(self.at) >= 0
        require(fits, f"state.rotation.at needs {width} different places")
        require(self.unit in ANGLE_UNITS, f"state.rotation.unit must be one of {ANGLE_UNITS}, not {self.unit!r}")


@dataclass
class GripperConfig:
    """How far the gripper is closed: one value of a column."""

    column: str
    at: int  # which value of the column, from 0
    open: float  # what the column says when it is open
    closed: float  # and when it is closed

    def __post_init__(self) -> None:
        require(self.at >= 0, "state.gripper.at must be 0 or more")
        require(self.open != self.closed, f"state.gripper: open and closed can't both be {self.open}")


@dataclass
class StateConfig:
    """Which columns make the hand's pose; what a robot has not is null, and 0 in the state."""

    position: PositionConfig
    rotation: RotationConfig | None
    gripper: GripperConfig | None


@dataclass
class ColumnConfig:
    """Values of a column that are used as they are, e.g. the angles of joints."""

    column: str
    at: list[int]  # which values of the column, from 0
    unit: str  # of these values, which stay in it: rad, deg, m, ...; 1 for none

    def __post_init__(self) -> None:
        fits = len(set(self.at)) == len(self.at) > 0 and min(self.at) >= 0
        require(fits, f"columns: {self.column}: at needs one place or more, each once and from 0")


BETWEEN = ("last", "sum")


@dataclass
class ActionConfig:
    """Actions as they were recorded, instead of differences of states."""

    columns: list[ColumnConfig]
    between: str  # of the rows from one sampled frame to the next: the last one (targets) or their sum (displacements)

    def __post_init__(self) -> None:
        require(len(self.columns) > 0, "action.columns is empty: action: null derives actions from states")
        require(self.between in BETWEEN, f"action.between must be one of {BETWEEN}, not {self.between!r}")


@dataclass
class SourceConfig:
    """What lies in data/raw, and which of it is used. `vjepa data inspect` proposes it.

    A state is a hand's pose (`state`) or columns as they are (`columns`); with neither there is video alone, which the
    encoder can learn from and nothing else.
    """

    format: str  # lerobot, droid or video
    camera: str | None  # LeRobot: video feature, e.g. observation.images.front; DROID: ext1, ext2, wrist; video: null
    state: StateConfig | None
    columns: list[ColumnConfig]  # one after the other
    action: ActionConfig | None  # null: derived from the states between sampled frames

    def __post_init__(self) -> None:
        require(
            self.state is None or not self.columns, "state and columns can't both be given: one of them is the state"
        )
        stateless = self.state is None and not self.columns
        require(not (stateless and self.action is not None), "action needs a state: give state or columns")


BY_FEATURES = ("cluster", "retrieval")
BALANCES = ("none", "task", *BY_FEATURES)


@dataclass
class CurateConfig:
    """Raw episodes -> WebDataset shards and their manifest."""

    fps: float  # frames a second wanted in the shards; chosen by time stamp
    image_size: int  # pixels on each side in the shards
    test_share: float  # share of episodes held out, by hash of the episode
    min_frames: int  # shorter episodes go on the quarantine list
    min_motion: float  # path length of the hand, in m; episodes that move less go on the quarantine list
    max_black: float  # share of nearly black frames; episodes with more go on the quarantine list
    # s for which the picture may stand still while the states move (or at all where there are none)
    max_frozen: float
    # % of the range of brightness by which the picture may change at once; more is a cut to another scene: a video
    # without states is parted there, an episode with states goes on the quarantine list
    max_scene_change: float
    duplicate_distance: int  # bits (of 64 a frame) by which perceptual hashes of near-duplicates may differ on average
    episodes_per_shard: int
    store: str | None  # where the tars go: s3://bucket/prefix; null: beside the manifest, in data/shards
    # which episodes are trained on, the others go on the quarantine list. none: all. task, cluster: of each task, or of
    # each cluster of the encoder's features, balance_limit at most. retrieval: of each cluster in proportion to the
    # target clips that are nearest to it, balance_limit in all
    balance: str
    balance_limit: int
    clusters: int  # for cluster and retrieval
    encoder: str | None  # for cluster and retrieval: folder of an earlier model, ours or of transformers
    targets: str | None  # for retrieval: folder of example videos, or with a videos.csv that lists them
    # null: processes of this machine; the address of a Ray cluster (auto, ray://host:port), or local: one started here
    ray: str | None

    def __post_init__(self) -> None:
        require(0 < self.fps < float("inf"), f"fps must be a number above 0, not {self.fps}")
        require(0 <= self.max_black <= 1, f"max_black must be from 0 to 1, not {self.max_black}")
        require(self.max_frozen >= 0, f"max_frozen must be 0 or more, not {self.max_frozen}")
        require(self.max_scene_change > 0, f"max_scene_change must be above 0, not {self.max_scene_change}")
        require(self.balance in BALANCES, f"balance must be one of {BALANCES}, not {self.balance!r}")
        needs_encoder = self.balance in BY_FEATURES
        require(not needs_encoder or bool(self.encoder), f"balance: {self.balance} needs encoder: a model's folder")
        require(self.balance != "retrieval" or bool(self.targets), "balance: retrieval needs targets: a videos' folder")
        require_counts(self, "min_frames", "balance_limit", "clusters")
        require(0 < self.test_share < 1, f"test_share must be between 0 and 1, not {self.test_share}")
        require(self.episodes_per_shard >= 1, "episodes_per_shard must be 1 or more")
        url = self.store is None or re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*", self.store)
        require(bool(url), f"store must be null or s3://bucket/prefix, not {self.store!r}")


@dataclass
class ValidateConfig:
    """Limits of the data gates. What is only noted stops nothing."""

    min_episodes_train: int
    min_episodes_test: int
    max_quarantined_share: float  # share of raw episodes that curation may leave out, for one kind of reason and in all
    max_repaired_share: float  # a note is made where curation set something right in a larger share of episodes
    sampled_episodes: int  # how many are opened and checked value by value
    time_tolerance: float  # s, how far a time step may be off 1/fps
    min_contrast: float  # of 255, standard deviation of a picture's pixels
    min_picture_change: float  # of 255, change of the most changed part of a picture; less is a frozen picture
    max_frozen_share: float  # share of an episode's steps with motion that may show a frozen picture
    position_low: list[float]  # m, workspace of the hand: x, y, z; where states are hand poses
    position_high: list[float]
    max_move: float  # m, largest displacement of the hand between two frames on one axis; where states are hand poses
    max_jump: float  # largest step of a state that is no hand pose, in units of its column's usual step
    max_static_share: float  # share of an episode's steps without motion above which it is noted
    max_outlier: float  # interquartile ranges from the median above which an episode's jerk or end is noted
    # profile.json of the data that the model in service learned from (in its bundle, or in data/); null: no drift gate
    reference: str | None
    max_drift: float  # Wasserstein distance from the reference, in standard deviations of the reference
    max_unknown_task_share: float  # share of episodes with tasks that the reference has not

    def __post_init__(self) -> None:
        require_counts(self, "sampled_episodes")
        for name in ("position_low", "position_high"):
            require(len(getattr(self, name)) == 3, f"{name} needs three numbers: x, y, z")
        for field in fields(self):
            if field.name.endswith("_share"):
                share = getattr(self, field.name)
                require(0 <= share <= 1, f"{field.name} must be between 0 and 1, not {share}")
