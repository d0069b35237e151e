"""Programs that keep a run's rows for watching and comparing: DVCLive and TensorBoard.

A run that goes on from a checkpoint goes on with their files, without the rows that it will write again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vjepa.errors import UserError
from vjepa.files import write_with

Logger = Callable[[Mapping[str, float]], None]
"""Is given row after row: `step` and numbers by name."""


@contextmanager
def opened(kinds: Sequence[str], folder: Path, step: int) -> Iterator[Logger]:
    """All that the settings ask for, as one.

    Args:
        kinds: `engine.loggers`.
        folder: of the run.
        step: where the run goes on; rows of this one and of later ones are dropped.

    Raises:
        UserError: a package is missing; or, from the logger, the file system refused a write.
    """
    with ExitStack() as stack:
        loggers = [stack.enter_context(LOGGERS[kind](folder, step)) for kind in kinds]

        def log(row: Mapping[str, float]) -> None:
            try:
                for logger in loggers:
                    logger(row)
            except OSError as error:
                raise UserError(f"can't write what follows the run into {folder}: {error.strerror or error}") from error

        yield log


@contextmanager
def dvclive(folder: Path, step: int) -> Iterator[Logger]:
    """DVCLive's files in `folder`/live: a table for each number, `metrics.json` with the last ones.

    Of DVCLive itself nothing is used that reaches beyond that folder: neither dvc.yaml, nor experiments, nor Studio.
    """
    os.environ["DVC_STUDIO_OFFLINE"] = "true"  # read when a `Live` is made
    from dvclive import Live  # takes a second: it brings DVC

    live = folder / "live"
    for table in (live / "plots").rglob("*.tsv"):
        cut(table, step)
    (live / "metrics.json").unlink(missing_ok=True)  # may be half of one where the run was killed
    # `resume`: it keeps the rows that are there
    kept = Live(str(live), resume=True, report=None, save_dvc_exp=False, dvcyaml=None)

    def log(row: Mapping[str, float]) -> None:
        kept.step = int(row["step"])
        for name, value in row.items():
            if name != "step":
                kept.log_metric(name, value)
        kept.make_summary()  # `next_step` does this and tells an editor, which takes five times as long

    yield log


def cut(table: Path, step: int) -> None:
    """Drop what a DVCLive table has of `step` and later ones, and a line that is half written."""
    head, *lines = table.read_text().splitlines(keepends=True) or [""]
    kept = [line for line in lines if line.endswith("\n") and int(line.split("\t")[0]) < step]
    if kept:
        write_with(table, lambda path: path.write_text("".join([head, *kept])))
    else:  # DVCLive writes a head where there is no file
        table.unlink()


@contextmanager
def tensorboard(folder: Path, step: int) -> Iterator[Logger]:
    """TensorBoard's event files in `folder`/tensorboard.

    Raises:
        UserError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "engine.loggers names tensorboard, which is not installed: pip install '.[tensorboard]'"
        ) from error
    with SummaryWriter(str(folder / "tensorboard"), purge_step=step) as writer:

        def log(row: Mapping[str, float]) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
            writer.flush()  # what a checkpoint has must be here, too, when the run is killed

        yield log


LOGGERS = {"dvclive": dvclive, "tensorboard": tensorboard}
