"""Data gates over data/shards: Great Expectations, with its Data Docs in data/docs; stops the chain when one fails."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from stages.runner import main
from vjepa.config import CurateConfig, ValidateConfig
from vjepa.data.layout import PROFILE
from vjepa.files import atomic_directory, write_json
from vjepa.gates.gate import check

SHARDS = Path("data/shards")
DOCS = Path("data/docs")
DATA = Path("data")  # its profile says what the data are like: new data are held against it (validate.reference)
LAST_DOCS = Path("runs/validate/docs")  # of the last run, passed or not; data/docs holds good data's only
METRICS = Path("metrics/validate.json")


def run(validate: ValidateConfig, curate: CurateConfig, data_seed: int) -> None:
    """Check the shards; their pages are left in runs/validate/docs even if they fail."""
    METRICS.unlink(missing_ok=True)  # later stages depend on this file: it must be there only where the gates passed
    with atomic_directory(LAST_DOCS) as folder:
        verdict = check(SHARDS, validate, curate, data_seed, folder)
    verdict.require(LAST_DOCS / "index.html")
    with atomic_directory(DOCS) as folder:
        shutil.copytree(LAST_DOCS, folder, dirs_exist_ok=True)
    write_json(DATA / PROFILE, asdict(verdict.profile))
    write_json(METRICS, verdict.counts())
    noted = f", {len(verdict.notes)} things are noted" if verdict.notes else ""
    text = f"all {verdict.required} expectations hold{noted}: {DOCS / 'index.html'}"
    Console(stderr=True, soft_wrap=True).print(text)


if __name__ == "__main__":
    main(run)
