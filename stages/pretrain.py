"""Pretrain the encoder on the training split: V-JEPA 2's masked prediction in latent space.

Reads data/shards; writes models/encoder, metrics/pretrain.json, plots/pretrain.csv. A run that was killed goes on from
runs/pretrain when it is started again with the same settings and data.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.runner import main
from vjepa.checkpoints.encoder import save_encoder
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.episode_store import EpisodeStore
from vjepa.files import sha256_of, write_json
from vjepa.pretraining.pretrain import Pretraining

SHARDS = Path("data/shards")
END = 0.1  # share of the steps over which the metrics are averaged: one batch, still or moving, says little


def run(encoder: EncoderConfig, pretrain: PretrainConfig, seed: int) -> None:
    """Train, keep the target encoder, and report where the loss and the features ended."""
    episodes = EpisodeStore(SHARDS, "train", pretrain.kept_mb * 2**20)
    data = sha256_of(SHARDS / "manifest.parquet")
    training = Pretraining(episodes, encoder, pretrain, seed, Path("runs/pretrain"), data)
    training.train()
    save_encoder(Path("models/encoder"), training.target_encoder, training.predictor, pretrain.frames)
    log = pd.DataFrame(training.run.log)
    end = log[log["step"] >= (1 - END) * pretrain.steps].mean()
    write_json(
        Path("metrics/pretrain.json"),
        {
            "loss": end["loss"],
            "feature_deviation": end["feature_deviation"],
            "effective_rank": end["effective_rank"],
            "steps": pretrain.steps,
            "clips_seen": pretrain.steps * pretrain.batch_size,
            "parameters": sum(p.numel() for p in training.target_encoder.parameters()),
        },
    )
    training.run.finish(Path("plots/pretrain.csv"))


if __name__ == "__main__":
    main(run)
