"""Probes on disk: `model.safetensors` with the tensors of all three, and `config.json` with what their outputs mean."""

from __future__ import annotations

from pathlib import Path

from vjepa.checkpoints.folder import write_folder
from vjepa.data.motion import DIRECTIONS
from vjepa.files import atomic_directory
from vjepa.probing.probe import FittedProbes


def save_probes(path: Path, fitted: FittedProbes, tasks: list[str]) -> None:
    """Write the folder; tensors are named `<subject>.<name>`, those that standardise the tokens `token_<name>`."""
    tensors = {
        f"{subject}.{name}": tensor
        for subject, probe in fitted.probes.items()
        for name, tensor in probe.state_dict().items()
    }
    tensors |= {"token_mean": fitted.token_mean, "token_scale": fitted.token_scale}
    first = next(iter(fitted.probes.values()))
    config = {
        "model_type": "attentive_probes",
        "width": first.linear.in_features,
        "heads": first.cross_attention_block.heads,
        "depth": len(first.blocks) + 1,
    }
    meanings = {
        "task": {"classes": tasks},
        "motion": {"classes": [word for pair in DIRECTIONS for word in pair]},
        "hand": {"unit": "m", "mean": fitted.hand_mean.tolist(), "std": fitted.hand_std.tolist()},
    }
    config |= {subject: meanings[subject] for subject in fitted.probes}
    with atomic_directory(path) as folder:
        write_folder(folder, config, tensors)
