"""Export the world model as ONNX files that numpy and onnxruntime alone can plan with.

Reads models/encoder, models/world_model, models/untrained, data/profile.json and the held-out part of data/shards;
writes models/onnx and metrics/export.json, and models/untrained_onnx, the same of the arm on an encoder with random
weights (empty where there is none). The bundle's manifest also keeps the settings of the stages that made the model and
their metrics.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.runner import main
from vjepa.checkpoints.encoder import load_encoder, untrained_encoder
from vjepa.config import CurateConfig, EncoderConfig, ExportConfig, PosttrainConfig, PretrainConfig, SourceConfig
from vjepa.data.layout import PROFILE, read_layout
from vjepa.data.shards import load_episodes
from vjepa.errors import UserError
from vjepa.export.bundle import write_bundle
from vjepa.files import atomic_directory, write_json
from vjepa.posttraining.world_model import load_world_model

METRICS, MODELS, DATA, SHARDS = Path("metrics"), Path("models"), Path("data"), Path("data/shards")
MADE_BY = ("pretrain", "posttrain")


def measured_by(stage: str) -> Any:
    """The metrics of a stage.

    Raises:
        UserError: it has not run.
    """
    path = METRICS / f"{stage}.json"
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro {stage}` makes it")
    return json.loads(path.read_text())


def run(
    export: ExportConfig,
    seed: int,
    source: SourceConfig,
    curate: CurateConfig,
    encoder: EncoderConfig,
    pretrain: PretrainConfig,
    posttrain: PosttrainConfig,
) -> None:
    """Export, compare with torch, and write the bundle."""
    sections: dict[str, Any] = {
        "source": source,
        "curate": curate,
        "encoder": encoder,
        "pretrain": pretrain,
        "posttrain": posttrain,
        "export": export,
    }
    made_with = {"seed": seed, **{name: asdict(section) for name, section in sections.items()}}
    measured = {stage: measured_by(stage) for stage in MADE_BY}
    held_out, layout = load_episodes(SHARDS, "test"), read_layout(SHARDS)
    profile = json.loads((DATA / PROFILE).read_text())
    trained = load_encoder(MODELS / "encoder")
    model = load_world_model(MODELS / "world_model", trained)
    parity = write_bundle(MODELS / "onnx", model, held_out, layout, export, made_with, measured, profile)
    if posttrain.untrained:
        rival = load_world_model(MODELS / "untrained", untrained_encoder(trained, seed))
        write_bundle(MODELS / "untrained_onnx", rival, held_out, layout, export, made_with, {}, profile)
    else:
        with atomic_directory(MODELS / "untrained_onnx"):
            pass
    write_json(METRICS / "export.json", parity)


if __name__ == "__main__":
    main(run)
