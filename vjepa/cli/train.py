"""`vjepa train --dry-run`: what pretraining and post-training take, before anything is spent."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from vjepa.cli.arguments import positive
from vjepa.config import EncoderConfig, EngineConfig, PosttrainConfig, PretrainConfig, read_config
from vjepa.data.shards import read_split
from vjepa.errors import UserError
from vjepa.estimate import Estimate, estimate_posttraining, estimate_pretraining
from vjepa.training.parallel import World

SHARDS = Path("data/shards")
HOW = "vjepa train estimates only, with --dry-run: `dvc repro pretrain posttrain` trains"
GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.add_argument("--dry-run", action="store_true", help="estimate memory and work; nothing is trained")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="settings, or a file of conf/profile (default: %(default)s)",
    )
    parser.add_argument("--processes", type=positive, help="over all machines (default: engine.processes)")
    parser.add_argument(
        "--memory", type=positive, metavar="GB", help="of each process (default: what this machine has)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the estimates and whether they fit."""
    if not options.dry_run:
        raise UserError(HOW)
    encoder, pretrain, posttrain = read_sections(options.params)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    trainings: list[tuple[str, EngineConfig, Estimate]] = []
    world = world_of(pretrain.engine, options.processes)
    with console.status("one pass of each training, on tensors without numbers"):
        for phase in estimate_pretraining(encoder, pretrain, world):
            trainings.append(("pretrain", pretrain.engine, phase))
        world = world_of(posttrain.engine, options.processes)
        trainings.append(("posttrain", posttrain.engine, estimate_posttraining(encoder, posttrain, world)))
    episodes = len(read_split(SHARDS, "train")) if (SHARDS / "manifest.parquet").exists() else None
    for section, engine, estimate in trainings:
        console.print(table(estimate, episodes))
        have, of = memory_of(options.memory, estimate.share.total // estimate.share.clips)
        console.print(verdict(section, engine, estimate, have, of), "\n")


def read_sections(path: Path) -> tuple[EncoderConfig, PretrainConfig, PosttrainConfig]:
    """The sections of what is trained.

    Raises:
        UserError: the file or one of its keys can't be used.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path} holds no settings")

    def section(cls: type[Any], name: str) -> Any:
        if name not in values:
            raise UserError(f"{path}: the key {name!r} is missing")
        return read_config(cls, values[name], f"{path}: {name}")

    return section(EncoderConfig, "encoder"), section(PretrainConfig, "pretrain"), section(PosttrainConfig, "posttrain")


def world_of(engine: EngineConfig, processes: int | None) -> World:
    """The first of the processes that were asked for, or that the engine would start."""
    return World(0, processes or engine.processes or max(1, torch.cuda.device_count()), torch.device("cpu"))


def memory_of(said: int | None, processes: int) -> tuple[float, str]:
    """Bytes that each process has, and of what."""
    if said:
        return said * GB, "that were named"
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return float(found.total_memory), f"of a {found.name}"
    memory, cores = psutil.virtual_memory().total, os.cpu_count()
    return (
        memory / processes,
        f"of {memory / GB:.0f} GB of this machine ({cores} cores, no GPU) for {processes} processes",
    )


def table(estimate: Estimate, episodes: int | None) -> Table:
    """An estimate in rows."""
    share, clips = estimate.share, estimate.batch * estimate.steps
    shown = Table(box=box.SIMPLE, title=estimate.name, title_justify="left", show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(justify="right", no_wrap=True)
    rows = {f"parameters, {name}": f"{number / 1e6:,.1f} M" for name, number in estimate.parameters.items()}
    rows |= {
        "tokens of a clip": f"{estimate.tokens:,}",
        "steps": f"{estimate.steps:,}",
        "clips of a step": f"{estimate.batch:,}",
        "of a process, of a pass": f"{share.clips:,}, {share.micro_batch:,}",
        "clips in all": f"{clips:,}",
    }
    if episodes:
        rows["epochs (a clip of each training episode)"] = f"{clips / episodes:,.1f}"
    rows |= {
        "work of a step": f"{estimate.flops / estimate.steps / 1e12:,.3f} TFLOP",
        "work in all": f"{estimate.flops / 1e18:,.4g} EFLOP",
        "memory of a process: weights": f"{estimate.weights / GB:,.2f} GB",
        "gradients and Adam": f"{(estimate.gradients + estimate.moments) / GB:,.2f} GB",
        "activations and clips of a pass": f"{estimate.measured.activations / GB:,.2f} GB",
        "at the peak": f"{estimate.memory / GB:,.2f} GB",
    }
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def verdict(section: str, engine: EngineConfig, estimate: Estimate, have: float, of: str) -> str:
    """Whether a training fits, and what to change where it does not."""
    said = f"{estimate.memory / GB:.1f} GB of the {have / GB:.1f} GB {of}"
    if estimate.memory <= have:
        return f"fits: {said}"
    clips, fixed = estimate.share.micro_batch, estimate.memory - max(estimate.measured.activations, estimate.logging)
    fitting = [
        n for n in range(1, clips) if clips % n == 0 and fixed + estimate.measured.activations * n / clips <= have
    ]
    if fixed + estimate.logging > have:
        wider = "more processes" if engine.strategy == "fsdp" else "strategy: fsdp and several processes"
        return f"does not fit: {said}, of which weights, gradients and Adam alone {fixed / GB:.1f} GB: {wider}"
    ways = [] if engine.recompute else [f"{section}.engine.recompute: true"]
    if fitting:
        cooling = section == "pretrain" and "cooldown" in estimate.name
        name = "pretrain.cooldown_micro_batch" if cooling else f"{section}.engine.micro_batch"
        ways.append(f"{name}: {max(fitting)}")
    return f"does not fit: {said}; set {' or '.join(ways) or 'a smaller model, or shorter or smaller clips'}"
