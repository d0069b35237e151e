"""Export the world model as ONNX files that numpy and onnxruntime alone can plan with.

Reads models/encoder, models/world_model and the held-out part of data/shards; writes models/onnx and
metrics/export.json. The bundle's manifest also keeps the settings of the stages that made the model and their metrics.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path

from stages.runner import main, read_params
from vjepa.checkpoints.encoder import load_encoder
from vjepa.config import ExportConfig
from vjepa.data.shards import load_episodes
from vjepa.export.bundle import write_bundle
from vjepa.files import write_json
from vjepa.posttraining.world_model import load_world_model

METRICS = Path("metrics")
MADE_BY = ("pretrain", "posttrain")


def run(export: ExportConfig) -> None:
    """Export, compare with torch, and write the bundle."""
    params = read_params()
    made_with = {
        section: asdict(params[section]) if is_dataclass(params[section]) else params[section]
        for section in ("seed", "curate", "encoder", *MADE_BY, "export")
    }
    measured = {
        stage: json.loads((METRICS / f"{stage}.json").read_text())
        for stage in MADE_BY
        if (METRICS / f"{stage}.json").exists()
    }
    model = load_world_model(Path("models/world_model"), load_encoder(Path("models/encoder")))
    held_out = load_episodes(Path("data/shards"), "test")
    parity = write_bundle(Path("models/onnx"), model, held_out, export, made_with, measured)
    write_json(METRICS / "export.json", parity)


if __name__ == "__main__":
    main(run)
