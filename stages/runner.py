"""What every stage does around its own work: read its settings, time itself, and say in one line what went wrong.

A stage module ends with `main(run)`. The parameters of `run` name the sections of `params.yaml` that the stage reads,
each annotated with its dataclass, so the signature is the list of what the stage depends on:

    def run(encoder: EncoderConfig, pretrain: PretrainConfig, seed: int) -> None: ...
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

import psutil
import yaml
from rich.console import Console

from vjepa import config
from vjepa.config import read_config
from vjepa.errors import UserError
from vjepa.files import write_json

PARAMS = Path("params.yaml")
TIMINGS = Path("metrics/timings.json")
TRIALS = "VJEPA_TRIALS"
"""An environment variable: a folder for the timings of DVC's experiments, whose own folders are deleted after them."""
WATCH_S = 0.2
SECTIONS: dict[str, type] = {
    "data_seed": int,  # of the simulated episodes, and of what the gates sample of any data
    "seed": int,  # of everything that is trained and measured
    "collect": config.CollectConfig,
    "source": config.SourceConfig,
    "curate": config.CurateConfig,
    "validate": config.ValidateConfig,
    "encoder": config.EncoderConfig,
    "pretrain": config.PretrainConfig,
    "posttrain": config.PosttrainConfig,
    "probe": config.ProbeConfig,
    "align": config.AlignConfig,
    "export": config.ExportConfig,
    "plan": config.PlanConfig,
}


def read_params(path: Path = PARAMS) -> dict[str, Any]:
    """Every section of `params.yaml`, typed.

    All of it is checked whichever stage runs, so that a misspelt key of a late stage is found before hours of training.

    Raises:
        UserError: the file or one of its keys can't be used.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings")
    for key in values:
        if key not in SECTIONS:
            raise UserError(f"{path}: the key {key!r} is unknown; known are {', '.join(SECTIONS)}")
    for key in SECTIONS:
        if key not in values:
            raise UserError(f"{path}: the key {key!r} is missing")
    typed: dict[str, Any] = {}
    for key, cls in SECTIONS.items():
        if cls is int:
            if type(values[key]) is not int:
                raise UserError(f"{path}: the key {key!r} must be a whole number, not {values[key]!r}")
            typed[key] = values[key]
        else:
            typed[key] = read_config(cls, {} if values[key] is None else values[key], f"{path}: {key}")
    pools = {section: typed[section].pool for section in ("posttrain", "probe")}
    frames = {f"{section}.frames": typed[section].frames for section in ("pretrain", "probe", "align")}
    frames["pretrain.cooldown_frames"] = typed["pretrain"].cooldown_frames
    try:
        config.require_fit(typed["curate"], typed["encoder"], typed["pretrain"], pools, frames)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return typed


def sections_of(run: Callable[..., None]) -> dict[str, type]:
    """The sections of `params.yaml` that a stage reads, from the signature of its `run`."""
    hints = get_type_hints(run)
    return {name: hints[name] for name in inspect.signature(run).parameters}


def main(run: Callable[..., None], launched: Callable[[str, config.EngineConfig], bool] | None = None) -> None:
    """Run a stage as a program; exits with 1 and one line on standard error when the user can mend what is wrong.

    Args:
        run: the stage.
        launched: for stages whose settings may ask for several processes, see `stages.launch.launched`.
    """
    name = Path(inspect.getfile(run)).stem
    description = (sys.modules[run.__module__].__doc__ or "").strip()
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = f"Settings come from {PARAMS}: {', '.join(sections_of(run))}. Run it in the repository's folder."
    parser.parse_args()
    if "DVC_STAGE" in os.environ:  # set by DVC for the stages that it runs
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    started, memory = time.monotonic(), PeakMemory()
    rank = int(os.environ.get("RANK", "0"))  # set by torchrun
    try:
        params = read_params()
        sections = {section: params[section] for section in sections_of(run)}
        with memory:
            if launched is None or not launched(f"stages.{name}", sections[name].engine):
                run(**sections)
        if rank == 0:
            record_timing(name, time.monotonic() - started, memory.peak)
    except UserError as error:
        which = f" (process {rank})" if rank else ""
        Console(stderr=True, soft_wrap=True).print(f"[bold red]{name} failed{which}:[/] ", end="")
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(f"{name} was stopped; what it had not finished was not written")


def end_with(parent: int) -> None:
    """End this process when its parent has gone: a stage must not write on after the `dvc repro` that started it.

    The checkpoint that it leaves is whole, and its worker processes end as well (see `vjepa.processes`).
    """
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


class PeakMemory:
    """Watches the memory of this process and of its descendants together; what they share counts once for each.

    Attributes:
        peak: bytes, the highest sum seen.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._watcher.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            total = 0
            for process in [own, *own.children(recursive=True)]:
                with suppress(psutil.Error):  # it ended meanwhile
                    total += process.memory_info().rss
            self.peak = max(self.peak, total)
            if self._done.wait(WATCH_S):
                return


def record_timing(name: str, seconds: float, memory: int) -> None:
    """Add a stage's seconds and peak memory (bytes, all of its processes) to the timings file."""
    trial = os.environ.get("DVC_EXP_NAME")  # set by DVC
    path = Path(os.environ[TRIALS]) / f"{trial}.json" if trial and TRIALS in os.environ else TIMINGS
    timings = json.loads(path.read_text()) if path.exists() else {}
    timings[name] = {"seconds": round(seconds, 1), "peak_memory_gb": round(memory / 1024**3, 2)}
    write_json(path, timings)
