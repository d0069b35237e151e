"""Train probes on frozen features and score them on held-out episodes, beside what needs no video at all.

Every encoder gets the same clips, the same batches, the same initial probe and the same number of steps, so that a
difference between two encoders is a difference between their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vjepa.config import ProbeConfig
from vjepa.data.clips import ClipSampler
from vjepa.data.episode import Episode
from vjepa.data.motion import DIRECTIONS, ClipTable, tabulate
from vjepa.errors import DataError
from vjepa.nn.attentive import AttentiveProbe
from vjepa.nn.encoder import VisionTransformer
from vjepa.probing.features import Labels, encode_clips, labels_of
from vjepa.probing.training import ProbeTraining
from vjepa.statistics import Estimate, mean

PREDICT_BATCH = 256
MIN_TOKEN_SCALE = 1e-3
METRIC = {"task": "task_accuracy", "motion": "motion_accuracy", "hand": "hand_error_cm"}
BASELINE = {"task": "_majority", "motion": "_majority", "hand": "_mean_guess"}


@dataclass
class Split:
    """The clips of one split and their labels."""

    sampler: ClipSampler
    clips: ClipTable
    labels: dict[str, Labels]


@dataclass
class ProbeData:
    """Both splits; `tasks` are the sentences of the training episodes in the order of the task probe's classes."""

    tasks: list[str]
    train: Split
    test: Split

    @property
    def outputs(self) -> dict[str, int]:
        """Outputs of each probe."""
        outputs = {"task": len(self.tasks), "motion": 2 * len(DIRECTIONS), "hand": 3}
        return {name: outputs[name] for name in self.train.labels}


def prepare(
    train: Sequence[Episode], test: Sequence[Episode], config: ProbeConfig, seed: int, pose: bool = True
) -> ProbeData:
    """Choose the clips, `clips_per_episode` of each episode, and label them; without hand poses by the task alone.

    Raises:
        DataError: no episode is long enough, or no clip of a split shows what a probe is asked.
    """
    tasks = sorted({episode.task for episode in train if episode.task})
    splits = []
    for name, episodes in (("training", train), ("held-out", test)):
        sampler = ClipSampler(episodes, config.frames, config.stride, seed)
        clips = spread_clips(tabulate(sampler, pose), config.clips_per_episode, seed)
        labels = labels_of(clips, tasks, config.min_move)
        labels = {subject: labels[subject] for subject in (METRIC if pose else ("task",))}
        for subject, found in labels.items():
            if len(found.clips) == 0:
                raise DataError(
                    f"no {name} clip has a label for the {subject} probe; lower probe.min_move or add episodes"
                )
        splits.append(Split(sampler, clips, labels))
    return ProbeData(tasks, *splits)


def spread_clips(clips: ClipTable, per_episode: int, seed: int) -> ClipTable:
    """At most `per_episode` clips of each episode, drawn without replacement."""
    order = np.random.default_rng(seed).permutation(len(clips))
    order = order[np.argsort(clips.episodes[order], kind="stable")]
    _, first, counts = np.unique(clips.episodes[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    return clips.rows(np.sort(order[rank < per_episode]))


@torch.inference_mode()
def predict(probe: AttentiveProbe, features: Tensor, clips: np.ndarray) -> np.ndarray:
    """The probe's outputs for some rows of the features: `float32 [K, outputs]`."""
    return torch.cat([probe(features[rows].float()) for rows in torch.from_numpy(clips).split(PREDICT_BATCH)]).numpy()


@dataclass
class FittedProbes:
    """The probes of one encoder, with the scale of positions.

    Attributes:
        probes: by subject.
        token_mean, token_scale: `[N, D]`, of the training clips; the probes take (token - mean) / scale.
        hand_mean, hand_std: `float32 [3]`, m, of the training clips; the hand probe gives (position - mean) / std.
            Empty where there is none.
    """

    probes: dict[str, AttentiveProbe]
    token_mean: Tensor
    token_scale: Tensor
    hand_mean: np.ndarray
    hand_std: np.ndarray


def probe_encoder(
    encoder: VisionTransformer,
    data: ProbeData,
    config: ProbeConfig,
    seed: int,
    title: str,
    folder: Path,
    data_identity: Any,
) -> tuple[FittedProbes, dict[str, Estimate]]:
    """Encode the clips, train the probes and score them on held-out episodes.

    Args:
        encoder: is frozen.
        data: clips and labels.
        config: of the probes.
        seed: of light, initial weights and batches.
        title: what the encoder is called where it is shown.
        folder: of the checkpoints of a run that was killed, one inside for each subject.
        data_identity: what the encoder and the data are: other checkpoints are not used.

    Returns:
        The probes, and `task_accuracy`, `motion_accuracy` and `hand_error_cm` with intervals over episodes.
    """
    train, test = data.train, data.test
    side = encoder.grid[0] // config.pool, encoder.grid[1] // config.pool
    grid = (config.frames // encoder.tubelet, *side)
    features = encode_clips(encoder, train.sampler, train.clips, config, seed, f"{title}: training clips")
    token_mean = features.float().mean(0)
    token_scale = (features - token_mean).float().std(0).clamp_min(MIN_TOKEN_SCALE)
    features = ((features - token_mean) / token_scale).half()
    wanted, center, scale = dict(train.labels), np.empty(0), np.empty(0)
    if "hand" in wanted:
        positions = wanted["hand"].values
        center, scale = positions.mean(0), positions.std(0).clip(1e-3)
        wanted["hand"] = Labels(wanted["hand"].clips, (positions - center) / scale)
    probes = {}
    for name, labels in wanted.items():
        training = ProbeTraining(features, grid, labels, data.outputs[name], config, seed, folder / name, data_identity)
        probes[name] = training.fit(f"{title}: {name} probe")
    del features, training

    features = encode_clips(encoder, test.sampler, test.clips, config, seed + 1, f"{title}: held-out clips")
    features = ((features - token_mean) / token_scale).half()
    metrics = {}
    for name, probe in probes.items():
        found = predict(probe, features, test.labels[name].clips)
        guess = found * scale + center if name == "hand" else found.argmax(1)
        metrics[METRIC[name]] = score(name, guess, test.labels[name], test.clips)
    return FittedProbes(probes, token_mean, token_scale, center, scale), metrics


def baselines(data: ProbeData) -> dict[str, Estimate]:
    """Always the most frequent class, or the mean position, of the training clips, scored on the held-out ones."""
    held_out = data.test.labels
    metrics = {}
    for name in held_out:
        values = data.train.labels[name].values
        guess = values.mean(0) if name == "hand" else np.bincount(values).argmax()
        repeated = np.broadcast_to(guess, held_out[name].values.shape)
        metrics[METRIC[name] + BASELINE[name]] = score(name, repeated, held_out[name], data.test.clips)
    return metrics


def score(name: str, guess: np.ndarray, labels: Labels, clips: ClipTable) -> Estimate:
    """Accuracy of classes, or mean Euclidean error of positions in cm, with its interval over episodes."""
    if name == "hand":
        values = 100 * np.linalg.norm(guess - labels.values, axis=1)
    else:
        values = (guess == labels.values).astype(float)
    return mean(values, clips.episodes[labels.clips])
