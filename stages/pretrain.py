"""Pretrain the encoder on the training split: V-JEPA 2's masked prediction in latent space.

Reads data/shards; writes models/encoder, metrics/pretrain.json, plots/pretrain.csv. A run that was killed goes on from
runs/pretrain when it is started again with the same settings and data. With `pretrain.start` it starts from given
weights; without steps these become models/encoder as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from stages.launch import launched
from stages.runner import main
from vjepa.checkpoints.encoder import save_encoder
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.episode_store import EpisodeStore
from vjepa.files import sha256_of, write_json
from vjepa.nn.encoder import VisionTransformer
from vjepa.pretraining.pretrain import Pretraining
from vjepa.training.parallel import joined

SHARDS = Path("data/shards")
END = 0.1  # share of the steps over which the metrics are averaged: one batch, still or moving, says little


def run(encoder: EncoderConfig, pretrain: PretrainConfig, seed: int) -> None:
    """Train, keep the target encoder, and report where the loss and the features ended."""
    with joined() as world:
        episodes = EpisodeStore(SHARDS, "train", pretrain.kept_mb * 2**20, pretrain.episodes_share)
        watched = episodes if pretrain.episodes_share == 1 else EpisodeStore(SHARDS, "train", kept_bytes=0)
        data = sha256_of(SHARDS / "manifest.parquet")
        training = Pretraining(episodes, encoder, pretrain, seed, Path("runs/pretrain"), data, world, watched)
        training.train()
        if pretrain.keep == "best":
            training.run.load_best()
        readout = training.readout()
        kept, predictor = training.trained()
        if world.leads:
            of_latents = predictor if pretrain.predict == "latents" else None  # what predicts pixels no reader has
            save_encoder(Path("models/encoder"), kept, of_latents, training.batches.phases[-1].frames)
            metrics = ending(pd.DataFrame(training.run.log), readout, pretrain, kept)
            write_json(Path("metrics/pretrain.json"), metrics | {"episodes": len(episodes.lengths)})
            training.run.finish(Path("plots/pretrain.csv"))


def ending(
    log: pd.DataFrame, readout: dict[str, float], config: PretrainConfig, encoder: VisionTransformer
) -> dict[str, float]:
    """The loss and what shows a collapse, averaged over the end of the run, the last read-out, and what went in."""
    end: Any = log[log["step"] >= (1 - END) * (config.steps - 1)].mean() if config.steps else {}  # one row at least
    return {
        **{name: end[name] for name in ("loss", "feature_deviation", "effective_rank") if name in end},
        **readout,
        "steps": config.steps,
        "clips_seen": config.steps * config.batch_size,
        "parameters": sum(p.numel() for p in encoder.parameters()),
    }


if __name__ == "__main__":
    main(run, launched)
