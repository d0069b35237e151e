"""Post-train the world model on the frozen encoder: V-JEPA 2-AC's teacher forcing and rollout.

Reads data/shards and models/encoder; writes models/world_model, metrics/posttrain.json, plots/posttrain.csv. A run that
was killed goes on from runs/posttrain when it is started again with the same settings, data and encoder.
"""

from __future__ import annotations

from pathlib import Path

from stages.launch import launched
from stages.runner import main
from vjepa.checkpoints.encoder import load_encoder
from vjepa.config import PosttrainConfig
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes
from vjepa.files import sha256_of, write_json
from vjepa.posttraining.posttrain import Posttraining, evaluate
from vjepa.posttraining.world_model import save_world_model
from vjepa.training.parallel import joined

SHARDS, ENCODER = Path("data/shards"), Path("models/encoder")


def run(posttrain: PosttrainConfig, seed: int) -> None:
    """Train the predictor and measure it on held-out episodes."""
    read_layout(SHARDS).require_states(SHARDS)
    encoder, episodes = load_encoder(ENCODER), load_episodes(SHARDS, "train")
    identity = [sha256_of(SHARDS / "manifest.parquet"), sha256_of(ENCODER / "model.safetensors")]
    with joined() as world:
        training = Posttraining(encoder, episodes, posttrain, seed, Path("runs/posttrain"), identity, world)
        training.train()
        model = training.trained()
        if world.leads:
            metrics = evaluate(model.to(world.device), load_episodes(SHARDS, "test"), posttrain.frames, seed)
            save_world_model(Path("models/world_model"), model.cpu())
            write_json(Path("metrics/posttrain.json"), metrics)
            training.run.finish(Path("plots/posttrain.csv"))


if __name__ == "__main__":
    main(run, launched)
