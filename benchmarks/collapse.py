"""A pretraining that collapses, beside the recorded one that does not: what the monitors say, and when they end it.

    python -m benchmarks.collapse            # a minute on two cores, with params.yaml and data/shards as they are

The run that collapses has the settings of the recorded one but for what prevents it: the teacher's momentum is 0 and
gradients reach the targets, so that the easiest way to predict is to have nothing to predict.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.runner import PARAMS, read_params
from vjepa.data.episode_store import EpisodeStore
from vjepa.errors import UserError
from vjepa.nn.encoder import VisionTransformer
from vjepa.pretraining.pretrain import Pretraining

SHARDS, RECORDED = Path("data/shards"), Path("plots/pretrain.csv")
SHOWN = ["loss", "feature_deviation", "effective_rank", "clip_similarity"]
ROWS = 6


def learned_targets(encoder: VisionTransformer, video: Tensor) -> Tensor:
    """`target_features` that a gradient reaches."""
    features = encoder.forward_levels(video).unflatten(-1, (-1, encoder.width))
    return F.layer_norm(features, features.shape[-1:]).flatten(-2)


def collapsing() -> tuple[Sequence[dict[str, float]], str]:
    """The log of a run without what prevents a collapse, and what ended it."""
    params = read_params()
    config = params["pretrain"]
    config = replace(config, ema=[0.0, 0.0], engine=replace(config.engine, loggers=[]))
    source = EpisodeStore(SHARDS, "train", config.kept_mb * 2**20)
    with tempfile.TemporaryDirectory() as folder:
        training = Pretraining(source, params["encoder"], config, params["seed"], Path(folder), "benchmark")
        # one network: its features are the targets, and its gradient comes from both sides
        training.objective.target_encoder = training.context_encoder
        with patch("vjepa.pretraining.loss.target_features", learned_targets), patch.object(training, "after_step"):
            try:
                training.train()
            except UserError as error:
                return training.run.log, str(error)
    return training.run.log, "nothing: it went on to its end"


def table(log: Sequence[dict[str, float]]) -> str:
    """Some rows of a log as Markdown, the first and the last among them."""
    chosen = [log[round(i * (len(log) - 1) / (ROWS - 1))] for i in range(ROWS)]
    lines = [f"| step | {' | '.join(name.replace('_', ' ') for name in SHOWN)} |", "|---" * (len(SHOWN) + 1) + "|"]
    for row in chosen:
        lines.append(f"| {row['step']:.0f} | {' | '.join(f'{row[name]:.4g}' for name in SHOWN)} |")
    return "\n".join(lines)


def main() -> None:
    """Print one line of JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    try:
        log, ended = collapsing()
    except UserError as error:
        raise SystemExit(f"collapse: {error}") from error
    rows = pd.read_csv(RECORDED).to_dict("records")
    healthy = [{str(name): value for name, value in row.items()} for row in rows]
    summary = (
        f"A pretraining of {PARAMS} with EMA momentum 0 and without stop-gradient, ended by: {ended}\n\n{table(log)}"
        f"\n\nThe recorded run, with both:\n\n{table(healthy)}"
    )
    print(json.dumps({"name": "collapse", "ended_by": ended, "log": log, "summary": summary}))


if __name__ == "__main__":
    main()
