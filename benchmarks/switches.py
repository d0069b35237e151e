"""What each switch that V-JEPA 2.1 adds to pretraining does to the default profile: the same probes on each encoder.

    python -m benchmarks.switches            # half an hour on two cores, with params.yaml and data/shards as they are

Every arm trains an encoder anew on the same data, seed, steps and clips; one switch differs from the arm that is named
beside it. Intervals are over held-out episodes, for one training seed: they do not hold what another seed would do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from stages.runner import PARAMS, read_params
from vjepa.checkpoints.encoder import freeze, untrained_encoder
from vjepa.config import EncoderConfig, PretrainConfig
from vjepa.data.clips import LoadedEpisodes
from vjepa.data.shards import load_episodes
from vjepa.errors import UserError
from vjepa.nn.sizes import supervised_levels
from vjepa.pretraining.pretrain import Pretraining
from vjepa.probing.probe import prepare, probe_encoder
from vjepa.statistics import Estimate

SHARDS = Path("data/shards")
METRICS = {
    "task_accuracy": ("task", 100, "%"),
    "motion_accuracy": ("motion", 100, "%"),
    "hand_error_cm": ("hand", 1, "cm"),
}

Arms = dict[str, tuple[EncoderConfig, PretrainConfig]]


def arms(encoder: EncoderConfig, pretrain: PretrainConfig) -> Arms:
    """What is trained, by the name that the table shows: V-JEPA 2, with the context loss, and each switch on top."""
    two = replace(encoder, tiled_rope=True, levels=[], image_patches=False)
    context = replace(pretrain, context_weight=pretrain.context_weight or 0.5, context_head=False)
    levels = list(supervised_levels(encoder.depth, min(4, encoder.depth // 2)))
    all_of_it = replace(two, tiled_rope=False, levels=levels, image_patches=True)
    return {
        "V-JEPA 2": (two, replace(context, context_weight=0.0)),
        "+ context loss": (two, context),
        "+ context loss, head of its own": (two, replace(context, context_head=True)),
        "+ context loss, deep supervision": (replace(two, levels=levels), context),
        "+ context loss, modalities": (replace(two, image_patches=True), context),
        "+ context loss, corrected RoPE": (replace(two, tiled_rope=False), context),
        "+ all of them": (all_of_it, replace(context, context_head=True)),
    }


def shown(metrics: dict[str, Estimate]) -> list[str]:
    """The cells of a row."""
    cells = []
    for name, (_, factor, unit) in METRICS.items():
        value, low, high = (factor * metrics[name][key] for key in ("value", "low", "high"))
        cells.append(f"{value:.1f} {unit} [{low:.1f}, {high:.1f}]")
    return cells


def table(found: dict[str, dict[str, Estimate]]) -> str:
    """All arms as a Markdown table."""
    lines = [
        f"| pretraining | {' | '.join(f'{words} ({unit})' for words, _, unit in METRICS.values())} |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(shown(metrics))} |" for name, metrics in found.items()),
    ]
    return "\n".join(lines)


def summary(found: dict[str, dict[str, Estimate]], seed: int) -> str:
    """What the README says of them."""
    n = next(iter(found.values()))["hand_error_cm"]["n"]
    return (
        f"Probes on the default profile's data ({PARAMS}: seed {seed}, {n} held-out episodes), one switch of "
        f"V-JEPA 2.1 at a time:\n\n{table(found)}"
    )


def main() -> None:
    """Train and probe every arm and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    try:
        params = read_params()
        train, test = (load_episodes(SHARDS, split) for split in ("train", "test"))
    except UserError as error:
        raise SystemExit(f"switches: {error}") from error
    seed, probe = params["seed"], params["probe"]
    data = prepare(train, test, probe, seed)
    found: dict[str, dict[str, Estimate]] = {}
    for name, (encoder, pretrain) in arms(params["encoder"], params["pretrain"]).items():
        print(f"{name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            training = Pretraining(LoadedEpisodes(train), encoder, pretrain, seed, Path(folder), "benchmark")
            training.train()
            trained = freeze(training.target_encoder)
            _, found[name] = probe_encoder(trained, data, probe, seed, name, Path(folder), "trained")
            if len(found) == 1:
                random = untrained_encoder(trained, seed)
                _, metrics = probe_encoder(random, data, probe, seed, "random weights", Path(folder), "untrained")
                found = {"random weights": metrics} | found
        print(table(found), file=sys.stderr)
    print(json.dumps({"name": "switches", "arms": found, "summary": summary(found, seed)}))


if __name__ == "__main__":
    main()
