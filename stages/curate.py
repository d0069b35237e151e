"""Episodes of data/raw to WebDataset shards with a manifest; what is left out is listed with the reason."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stages.runner import main
from vjepa.config import CurateConfig, SourceConfig
from vjepa.data import curation
from vjepa.data.shards import QUARANTINE, REPAIRS
from vjepa.errors import DataError
from vjepa.files import atomic_directory, write_json
from vjepa.report.curation_page import write_curation_page

RAW = Path("data/raw")
SHARDS = Path("data/shards")
SUMMARY = Path("data/summary.html")  # beside the shards: a change of the page retrains nothing
JOURNAL = Path("runs/curate")  # beside the outputs, which DVC deletes before a stage runs
METRICS = Path("metrics/curate.json")


def run(source: SourceConfig, curate: CurateConfig) -> None:
    """Curate all episodes, in as many processes as there are cores or over the cluster that is named."""
    if not RAW.exists():
        raise DataError(f"{RAW} is missing: put a data set there, or make one with `dvc repro collect`")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the processes to come: there is one a core already
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, soft_wrap=True)
    with Progress(*columns, console=console) as progress, atomic_directory(SHARDS) as folder:
        bars: dict[str, TaskID] = {}

        def show(what: str, count: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=count)

        done = curation.curate(
            RAW,
            folder,
            source,
            curate,
            JOURNAL,
            workers=os.cpu_count() or 1,
            progress=show,
        )
    counts = done.counts
    write_json(METRICS, counts)
    write_curation_page(SUMMARY, SHARDS, counts, done.left_out, done.clusters)
    left_out = len(done.left_out)
    if done.remembered:
        console.print(f"{done.remembered} of {counts['episodes_read']} episodes were examined before ({JOURNAL})")
    console.print(
        f"{counts['episodes_train']} episodes to train on, {counts['episodes_test']} held out, {left_out} left out"
        + (f" (see {SHARDS / QUARANTINE})" if left_out else "")
        + (f", {counts['repaired']} repaired (see {SHARDS / REPAIRS})" if counts["repaired"] else "")
        + f"; {SUMMARY} shows them"
    )


if __name__ == "__main__":
    main(run)
