"""Attentive probes on the frozen encoder: which task, which way the hand moves, where it is.

Reads data/shards and models/encoder; writes models/probes and metrics/probe.json. The same probes are trained alike on
an encoder with random weights, and beside both stand guesses that see no video. A run that was killed goes on from
runs/probe when it is started again with the same settings, data and encoder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.runner import main
from vjepa.checkpoints.encoder import load_encoder, untrained_encoder
from vjepa.config import ProbeConfig
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes
from vjepa.files import sha256_of, write_json
from vjepa.probing.folder import save_probes
from vjepa.probing.probe import baselines, prepare, probe_encoder

SHARDS, ENCODER, RUNS = Path("data/shards"), Path("models/encoder"), Path("runs/probe")


def run(probe: ProbeConfig, seed: int) -> None:
    """Train the probes on both encoders and measure them on held-out episodes."""
    encoder = load_encoder(ENCODER)
    train, test = load_episodes(SHARDS, "train"), load_episodes(SHARDS, "test")
    data = prepare(train, test, probe, seed, read_layout(SHARDS).pose)
    identity = [sha256_of(SHARDS / "manifest.parquet"), sha256_of(ENCODER / "model.safetensors")]
    fitted, metrics = probe_encoder(encoder, data, probe, seed, "trained encoder", RUNS / "trained", identity)
    random = untrained_encoder(encoder, seed)
    _, untrained = probe_encoder(random, data, probe, seed, "random weights", RUNS / "untrained", identity)
    metrics |= {f"{name}_untrained": estimate for name, estimate in untrained.items()}
    metrics |= baselines(data)
    save_probes(Path("models/probes"), fitted, data.tasks)
    write_json(Path("metrics/probe.json"), metrics)
    shutil.rmtree(RUNS)


if __name__ == "__main__":
    main(run)
