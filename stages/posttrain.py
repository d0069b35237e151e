"""Post-train the world model on the frozen encoder: V-JEPA 2-AC's teacher forcing and rollout.

Reads data/shards and models/encoder; writes models/world_model, metrics/posttrain.json, plots/posttrain.csv. With
`posttrain.untrained` the same is trained on an encoder with random weights, into models/untrained, which is empty
otherwise. A run that was killed goes on from runs/posttrain when it is started again with the same settings, data and
encoder.
"""

from __future__ import annotations

from pathlib import Path

from stages.launch import launched
from stages.runner import main
from vjepa.checkpoints.encoder import load_encoder, untrained_encoder
from vjepa.config import PosttrainConfig
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes
from vjepa.data.share import first_by_hash
from vjepa.files import atomic_directory, sha256_of, write_json
from vjepa.posttraining.posttrain import Posttraining, evaluate
from vjepa.posttraining.world_model import save_world_model
from vjepa.statistics import Estimate
from vjepa.training.parallel import joined

SHARDS, ENCODER, RUNS = Path("data/shards"), Path("models/encoder"), Path("runs/posttrain")
WORLD_MODEL, UNTRAINED = Path("models/world_model"), Path("models/untrained")
COMPARED = "latent_error_share"


def run(posttrain: PosttrainConfig, seed: int) -> None:
    """Train the predictor on both encoders and measure it on held-out episodes."""
    layout = read_layout(SHARDS)
    layout.require_states(SHARDS)
    between = layout.actions_between if layout.derived else None
    encoder = load_encoder(ENCODER)
    everything = load_episodes(SHARDS, "train")
    episodes = [everything[place] for place in first_by_hash([e.key for e in everything], posttrain.episodes_share)]
    identity = [sha256_of(SHARDS / "manifest.parquet"), sha256_of(ENCODER / "model.safetensors")]
    arms = [("", encoder, RUNS, WORLD_MODEL, Path("plots/posttrain.csv"))]
    if posttrain.untrained:
        random = untrained_encoder(encoder, seed)
        arms.append(("_untrained", random, RUNS / "untrained", UNTRAINED, RUNS / "untrained" / "log.csv"))
    metrics: dict[str, Estimate] = {}
    finished = []
    with joined() as world:
        for suffix, frozen, runs, path, log in arms:
            training = Posttraining(frozen, episodes, posttrain, seed, runs, [*identity, suffix], world, between)
            training.train("posttrain, random weights" if suffix else "posttrain")
            model = training.trained()
            if world.leads:
                found = evaluate(model.to(world.device), load_episodes(SHARDS, "test"), posttrain.frames, seed)
                metrics |= {f"{name}{suffix}": found[name] for name in found if not suffix or name == COMPARED}
                save_world_model(path, model.cpu())
                finished.append((training.run, log))
        if world.leads:
            if not posttrain.untrained:
                with atomic_directory(UNTRAINED):
                    pass
            write_json(Path("metrics/posttrain.json"), metrics)
            for loop, log in finished:
                loop.finish(log)


if __name__ == "__main__":
    main(run, launched)
