"""A made-up run: every file that the report reads, with plausible numbers and drawn pictures."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vjepa import config
from vjepa.config import read_config
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES, write_layout
from vjepa.data.shards import pack_episode, write_shards
from vjepa.report.examples import MaskPicture
from vjepa.report.inputs import Inputs, read_inputs
from vjepa.report.page import Settings, write_report
from vjepa.report.trials import RECORDS, write_records
from vjepa.statistics import rate

TRIED = {"default": 0.8, "untrained": 0.4}
"""Arm of the trials -> share of successes."""
TASKS = ("reach the goal position", "close the drawer", "press the button", "slide the plate")
SECTIONS = {
    "curate": config.CurateConfig,
    "encoder": config.EncoderConfig,
    "pretrain": config.PretrainConfig,
    "posttrain": config.PosttrainConfig,
    "align": config.AlignConfig,
    "plan": config.PlanConfig,
}


def share(successes: int, n: int) -> dict[str, float | int]:
    """A rate as the metrics files hold it."""
    return rate(np.arange(n) < successes)


def measured(value: float, half: float, n: int) -> dict[str, float | int]:
    """A mean with a symmetric interval."""
    return {"value": value, "low": value - half, "high": value + half, "n": n}


METRICS: dict[str, dict[str, Any]] = {
    "curate": {"episodes": 60, "quarantined": 3, "groups": 58},
    "validate": {"expectations": 21, "rows_checked": 60},
    "pretrain": {"loss": 0.41, "feature_deviation": 0.62, "effective_rank": 31.7, "parameters": 826000},
    "posttrain": {
        "latent_l1": measured(0.121, 0.004, 352),
        "latent_l1_copy_last": measured(0.172, 0.005, 352),
        "latent_l1_shuffled_actions": measured(0.196, 0.006, 352),
    },
    "probe": {
        "task_accuracy": share(331, 352),
        "task_accuracy_untrained": share(282, 352),
        "task_accuracy_majority": share(105, 352),
        "motion_accuracy": share(220, 301),
        "motion_accuracy_untrained": share(206, 301),
        "motion_accuracy_majority": share(99, 301),
        "hand_error_cm": measured(3.41, 0.12, 352),
        "hand_error_cm_untrained": measured(2.9, 0.1, 352),
        "hand_error_cm_mean_guess": measured(14.2, 0.6, 352),
    },
    "align": {
        "answer_accuracy": share(151, 180),
        "answer_accuracy_blind": share(76, 180),
        "answer_accuracy_untrained": share(140, 180),
        "kinds": {"up_down": {"answer_accuracy": share(40, 60), "answer_accuracy_blind": share(31, 60)}},
    },
    "export": {"encoder_max_abs_error": 2.1e-6, "predictor_max_abs_error": 1.4e-6},
    "plan": {
        "offline": {
            "true_action_rank": measured(0.015, 0.004, 250),
            "direction_error_deg": measured(26.1, 2.2, 250),
            "direction_error_deg_random": measured(92.8, 0.9, 250),
        },
        "reach": {
            "success": share(44, 50),
            "success_random": share(3, 50),
            "success_still": share(0, 50),
            "success_expert": share(50, 50),
            "success_ever": share(48, 50),
            "success_ever_random": share(10, 50),
            "success_ever_still": share(0, 50),
            "final_distance_cm": measured(4.2, 0.8, 50),
        },
        "handle_press": {
            "success": share(4, 20),
            "success_random": share(1, 20),
            "success_still": share(0, 20),
            "final_distance_cm": measured(9.7, 2.2, 20),
        },
        "seconds_per_action": measured(0.094, 0.003, 90),
    },
}


def scene(hand: tuple[float, float], size: int, tint: int) -> np.ndarray:
    """A table, a box and an arm that ends at `hand` (shares of the picture): `uint8 [size, size, 3]`."""
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.stack([150 + 40 * y, 140 + 30 * y, 125 + 20 * x + tint], -1)
    picture[y > 0.55] = (176, 138, 98)
    picture[(abs(x - 0.7) < 0.07) & (abs(y - 0.72) < 0.06)] = (50, 90 + tint, 160)
    picture[(abs(x - hand[0]) < 0.035) & (y < hand[1])] = (190, 60, 45)
    picture[(x - hand[0]) ** 2 + (y - hand[1]) ** 2 < 0.006] = (60, 60, 66)
    return picture.clip(0, 255).astype(np.uint8)


def movie(frames: int, size: int, tint: int, end: tuple[float, float]) -> np.ndarray:
    """The arm on its way to `end`: `uint8 [frames, size, size, 3]`."""
    way = np.linspace(0, 1, frames) ** 0.7
    return np.stack([scene((0.25 + (end[0] - 0.25) * s, 0.3 + (end[1] - 0.3) * s), size, tint) for s in way])


def make_episodes(size: int, count: int = 24, frames: int = 16) -> list[Episode]:
    """Episodes, one task after another."""
    made = []
    for i in range(count):
        clip = movie(frames, size, 2 * i, (0.4 + 0.02 * i, 0.6))
        states = np.linspace([0, 0, 0, 0, 0, 0, 0], [0.1, 0.2, -0.1, 0, 0, 0, 1], frames).astype(np.float32)
        made.append(
            Episode(
                f"made-{i:06d}",
                TASKS[i % len(TASKS)],
                clip,
                np.arange(frames) / 8,
                states,
                POSES.actions_between(states),
            )
        )
    return made


def made_trial(arm: str, seed: int, success: np.ndarray) -> dict[str, Any]:
    """A trial of `make ablation` with one closed-loop benchmark."""
    value = float(success.mean())
    return {
        "measure": "ablation", "arm": arm, "share": 1.0, "seed": seed, "name": f"{arm}-{seed}", "settings": arm,
        "base": "profile", "recorded": f"2026-01-{seed}", "code": "c0de", "command": "dvc exp run", "stages": {},
        "numbers": {"plan.reach.success": [value, value - 0.1, value + 0.1, len(success)]},
        "scenes": {"reach": {"success": success.astype(float).tolist()}},
    }  # fmt: skip


@dataclass
class MadeUpRun:
    """The folders of a made-up run: change `metrics` before `write`, files before `render`."""

    folder: Path
    metrics: dict[str, dict[str, Any]]
    settings: Settings

    def write(self) -> None:
        """Write all files."""
        size, rng = self.settings.encoder.image_size, np.random.default_rng(0)
        (self.folder / "metrics").mkdir()
        for stage, values in self.metrics.items():
            (self.folder / "metrics" / f"{stage}.json").write_text(json.dumps(values))
        timings = {
            stage: {"seconds": 20.0 * i + 9, "peak_memory_gb": 1.5} for i, stage in enumerate(["collect", *METRICS])
        }
        (self.folder / "metrics" / "timings.json").write_text(json.dumps(timings))
        plots = self.folder / "plots"
        (plots / "plan").mkdir(parents=True)
        step = np.arange(20, 1001, 20)
        noise = rng.normal(0, 0.01, len(step))
        pretrain = {"loss": 0.4 + 0.5 * np.exp(-step / 200) + noise, "learning_rate": 1e-3, "ema": 0.99}
        pretrain |= {"feature_deviation": 0.6 + noise, "effective_rank": 30 * (1 - np.exp(-step / 300)) + 4}
        pretrain |= {"clip_similarity": 0.8 + noise, "gradient_norm": 2 + noise}
        pretrain |= {"state_readout": np.where(step % 200 == 20, 0.5 - 100 / step, np.nan)}  # not at every row
        pd.DataFrame({"step": step, **pretrain}).to_csv(plots / "pretrain.csv", index=False)
        posttrain = {"loss": 0.3 + np.exp(-step / 200), "teacher_forcing": 0.12 + 0.4 * np.exp(-step / 200) + noise}
        posttrain |= {"rollout": 0.18 + 0.6 * np.exp(-step / 200) + noise, "learning_rate": np.full(len(step), 1e-3)}
        pd.DataFrame({"step": step, **posttrain}).to_csv(plots / "posttrain.csv", index=False)
        answers = []
        for i, (kind, right) in enumerate([("task", "close the drawer"), ("direction", "up"), ("order", "before")] * 4):
            wrong, at = ("down" if kind == "direction" else "something else"), f"made-{3 * (i % 8):06d}"
            answer = {
                "key": at,
                "task": TASKS[i % 4],
                "kind": kind,
                "question": f"What of the {kind}?",
                "answer": right,
            }
            answers.append(
                answer | {"predicted": right if i % 4 else wrong, "blind": wrong if i % 3 else right, "start": 2}
            )
        (plots / "answers.json").write_text(json.dumps(answers))
        names = ["reach"] * 6 + ["handle_press"] * 3
        ends = [(0.45 + 0.05 * i, 0.55 + 0.02 * i) for i in range(len(names))]
        distances = np.stack([np.geomspace(0.3, 0.02 + 0.01 * i, 13) for i in range(len(names))])
        np.savez(
            plots / "plan" / "episodes.npz",
            frames=np.stack([movie(13, size, 8 * i, end) for i, end in enumerate(ends)]),
            goals=np.stack([scene(end, size, 8 * i) for i, end in enumerate(ends)]),
            distances_m=distances.astype(np.float32),
            names=np.array(names),
            success=distances[:, -1] < 0.05,
        )
        offsets = np.linspace(-0.08, 0.08, 17)
        x, y = np.meshgrid(offsets, offsets, indexing="ij")
        np.savez(
            plots / "plan" / "energy.npz",
            offsets_m=offsets.astype(np.float32),
            energy=(0.1 + 8 * (x - 0.03) ** 2 + 4 * (y + 0.02) ** 2 + 3 * x * y).astype(np.float32),
            true_action=np.array([0.034, -0.018, 0.01, 0, 0, 0, 0], np.float32),
            start=scene((0.3, 0.4), size, 0),
            goal=scene((0.5, 0.5), size, 0),
            key=np.array("made-000003"),
        )
        self.write_shards()
        docs = self.folder / "data" / "docs"
        docs.mkdir()
        (docs / "index.html").write_text("<h1>Data gates</h1>")
        rng = np.random.default_rng(1)
        trials = [
            made_trial(arm, seed, rng.random(40) < share) for arm, share in TRIED.items() for seed in (11, 12, 13)
        ]
        write_records(trials, self.folder / RECORDS)

    def write_shards(self) -> None:
        """Sixteen training and eight held-out episodes, and the quarantine list."""
        shards = self.folder / "data" / "shards"
        made = make_episodes(self.settings.encoder.image_size)
        packed = [pack_episode(episode, "made", i, 8.0, pose=True) for i, episode in enumerate(made)]
        for i, episode in enumerate(packed):
            episode.row["split"] = "test" if i % 3 == 0 else "train"
        write_shards(shards, packed, episodes_per_shard=16)
        write_layout(shards, POSES)
        reasons = ["moves 0.011 m, less than 0.03", "moves 0.02 m, less than 0.03", "the video can't be decoded"]
        quarantine = [{"episode": i, "file": "x.mp4", "reason": reason} for i, reason in enumerate(reasons)]
        (shards / "quarantine.json").write_text(json.dumps(quarantine))

    def read(self) -> Inputs:
        """What the report reads of the files."""
        data = self.folder / "data"
        return read_inputs(
            self.folder / "metrics",
            self.folder / "plots",
            data / "shards",
            data / "docs",
            self.folder / RECORDS,
        )

    def render(self, inputs: Inputs | None = None) -> str:
        """Write the report of `inputs` (default: all files) and return the page."""
        inputs = self.read() if inputs is None else inputs
        pretrain, encoder = self.settings.pretrain, self.settings.encoder
        side = encoder.image_size // encoder.patch
        grid = (pretrain.frames // encoder.tubelet, side, side)
        context = np.flatnonzero(np.broadcast_to(np.random.default_rng(1).random((side, side)) < 0.3, grid))
        masks = [MaskPicture(words, context, int(np.prod(grid))) for words in ("8 blocks of 15 %", "2 blocks of 70 %")]
        clip = inputs.episodes[0].frames[: pretrain.frames] if inputs.episodes else None
        write_report(self.folder / "report", inputs, self.settings, clip, masks)
        return (self.folder / "report" / "index.html").read_text(encoding="utf-8")


def make_run(folder: Path) -> MadeUpRun:
    """A run in `folder`, not yet written."""
    params = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    typed: dict[str, Any] = {name: read_config(cls, params[name], name) for name, cls in SECTIONS.items()}
    settings = Settings(seed=params["seed"], **typed)
    return MadeUpRun(folder, copy.deepcopy(METRICS), settings)
