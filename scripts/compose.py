"""Compose params.yaml from conf/, as `dvc exp run -S` does, without running anything.

    python -m scripts.compose profile=smoke plan.actions=4

Arguments are Hydra overrides. The file is replaced only if every stage can read the result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import reduce
from operator import getitem
from pathlib import Path

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.hydra import compose_and_dump
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from stages.runner import PARAMS, read_params
from vjepa.errors import UserError

CONF = Path("conf")


def compose(target: Path, overrides: Sequence[str], conf: Path = CONF) -> None:
    """Write the composition of `conf`/config.yaml with Hydra's `overrides` to `target`.

    Raises:
        UserError: an override or a setting can't be used; `target` is as it was.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compose-") as folder:
        composed = Path(folder) / PARAMS.name
        try:
            compose_and_dump(composed, str(conf.absolute()), None, "config", "hydra_plugins", list(overrides))
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(f"{conf} can't be composed with {' '.join(overrides)}: {one_line(error)}") from error
        try:
            read_params(composed)
        except UserError as error:
            raise UserError(str(error).replace(str(composed), f"{conf} with {' '.join(overrides)}")) from error
        os.replace(composed, target)


def digest(overrides: Sequence[str], names: Sequence[str]) -> str:
    """Of the settings of these names, but for the seed, as they come out with Hydra's `overrides`.

    Raises:
        UserError: an override or a setting can't be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS.name
        compose(path, [*overrides, "seed=0"])
        settings = yaml.safe_load(path.read_text())
    read = {name: reduce(getitem, name.split("."), settings) for name in names}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:8]


def settings_of(targets: Sequence[str]) -> list[str]:
    """The names of the settings in params.yaml that these stages of dvc.yaml read, or a stage before them.

    A result keeps its settings when those of a stage that has no part in it change.

    Raises:
        UserError: DVC can't read dvc.yaml, or it has no such stage.
    """
    try:
        with Repo() as repo:
            stages = [stage for target in targets for stage in repo.stage.collect(target, with_deps=True)]
    except DvcException as error:
        raise UserError(f"dvc.yaml does not say what {' and '.join(targets)} read: {error}") from error
    return sorted({name for stage in stages for dep in stage.deps for name in getattr(dep, "params", ())})


def one_line(error: Exception) -> str:
    """An error's message without line breaks, and without Hydra's list of the folders where it looked."""
    return " ".join(str(error).partition("Config search path")[0].split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose `params.yaml`; exits with 1 and one line when that can't be done."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.compose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. profile=smoke")
    overrides = parser.parse_args(arguments).overrides
    try:
        compose(PARAMS, overrides)
    except UserError as error:
        Console(stderr=True, soft_wrap=True, markup=False).print(error)
        sys.exit(1)
    Console(soft_wrap=True).print(f"{PARAMS} is the composition of {CONF} with {' '.join(overrides) or 'its defaults'}")


if __name__ == "__main__":
    main()
