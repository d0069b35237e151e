"""The chain as a Prefect flow: every stage of dvc.yaml is a task that runs `dvc repro --single-item <stage>`.

    python -m flows.chain                 # everything that changed
    python -m flows.chain --stage probe   # probe and what it depends on

DVC stays the one that knows what has to run; Prefect adds the record: states, logs, metrics as artifacts, retries.
Without PREFECT_API_URL the run starts a server of its own and ends it afterwards. Stages run one after the other, since
DVC's locks still fail at random when two of them run at once. Data that someone changed by hand are not rebuilt over
their head, as `dvc repro` would: they stay, a warning names them, and the gate that comes after them judges them. What
no gate judges (models) is brought back or made again, as by `dvc repro`.
"""

from __future__ import annotations

import os

# Prefect looks when it is imported whether it may report on its users
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import argparse
import re
import signal
import sys
from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.lock import LockError
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.states import Completed, Failed
from rich.console import Console

from flows.graph import Stage, altered_outputs, stages
from flows.process import run_streaming
from vjepa.report.quantities import Quantity

LOCKED = "LOCKED"
"""Name of the Failed state of a stage that another DVC process kept from running."""
LOCK_MESSAGES = ("Unable to acquire lock", "is busy, it is being blocked by")
TAIL = 60
"""Lines of a stage's output that its artifact keeps; Prefect's log has all of them."""
STARTUP_TIMEOUT_S = 180


def is_locked(task: Any, run: Any, state: State) -> bool:
    """Whether a failed stage is worth another try: only if DVC was locked. A failed gate fails again."""
    return state.name == LOCKED


@task(
    task_run_name="{stage.name}",
    retries=5,
    retry_delay_seconds=[2, 5, 15, 30, 60],
    retry_condition_fn=is_locked,
    cache_policy=NO_CACHE,
)
def run_stage(stage: Stage, folder: Path, force: bool) -> State:
    """Run one stage if DVC finds that it has to, and keep its metrics and the end of its output as an artifact."""
    logger = get_run_logger()
    tail: deque[str] = deque(maxlen=TAIL)

    def pass_on(line: str) -> None:
        if line:
            tail.append(line)
            logger.info(line)

    try:
        altered = altered_outputs(folder, stage.name) if stage.judged and not force else []
    except LockError as error:
        return Failed(name=LOCKED, message=one_line(error))
    if altered:
        kept = f"{', '.join(altered)} changed on disk since {stage.name} made it; kept as it is, not built again"
        logger.warning("%s (dvc repro %s does that)", kept, stage.name)
        return Completed(message=kept)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if force else []), stage.name]
    status = run_streaming(command, folder, pass_on)
    key = "stage-" + re.sub(r"[^a-z0-9]+", "-", stage.name.lower())
    create_markdown_artifact(key=key, markdown=summary(stage, status, tail), description=stage.description)
    if status == 0:
        return Completed(message=f"{stage.name} is up to date")
    if any(message in line for line in tail for message in LOCK_MESSAGES):
        return Failed(name=LOCKED, message=f"{stage.name} could not run: another DVC process holds its lock")
    return Failed(message=reason(stage.name, tail))


def reason(stage: str, tail: Sequence[str]) -> str:
    """What a stage says of its failure (see stages.runner), else DVC's reason, else the last line."""
    own = [place for place, line in enumerate(tail) if line.startswith(f"{stage} failed: ")]
    if own:
        said = list(tail)[own[-1] :]
        return "\n".join([said[0], *takewhile(lambda line: line.startswith("  "), said[1:])])
    errors = [line.removeprefix("ERROR: ") for line in tail if line.startswith("ERROR: ")]
    # Of a command that failed DVC knows only that it did
    errors = [error for error in errors if "failed to run: " not in error]
    others = [line for line in tail if not line.startswith(("ERROR: ", "Running stage ", "> "))]
    return f"{stage} failed: {(errors or others or ['it printed nothing'])[-1]}"


def summary(stage: Stage, status: int, tail: Sequence[str]) -> str:
    """A stage's artifact: what it measured and the end of what it printed, as markdown."""
    measured = stage.measured() if status == 0 else []
    rows = [f"| `{q.name}` | {q.value:.4g} | {interval(q)} | {q.n or ''} |" for q in measured]
    table = ["| metric | value | 95 % interval | n |", "|---|---|---|---|", *rows, ""] if rows else []
    head = f"# {stage.name}: {'done' if status == 0 else f'failed with exit status {status}'}"
    return "\n".join([head, "", stage.description, "", *table, "```text", *tail, "```"])


def interval(quantity: Quantity) -> str:
    """A quantity's interval, empty where it has none."""
    return "" if quantity.low is None or quantity.high is None else f"{quantity.low:.4g} to {quantity.high:.4g}"


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())


@flow(name="chain")
def chain(targets: Sequence[str] = (), force: bool = False, folder: Path | None = None) -> State:
    """Run the stages of dvc.yaml in order and stop at the first that fails.

    Args:
        targets: stages to end with; they and what they depend on are run. Empty: all.
        force: run them even where nothing changed.
        folder: the repository, default the working directory.

    Returns:
        Completed, or Failed with what the failed stage said as its message.
    """
    root = (folder or Path()).resolve()
    todo = stages(root, targets)
    for place, stage in enumerate(todo):
        state = run_stage(stage, root, force, return_state=True)
        if not state.is_completed():
            left = ", ".join(later.name for later in todo[place + 1 :])
            get_run_logger().error("stopped at %s; not run: %s", stage.name, left or "nothing")
            return Failed(message=state.message)
    return Completed(message=f"{len(todo)} stages are up to date")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the flow as a program; exits with 1 and the failed stage's line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.chain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="NAME",
        help="end with this stage (may be repeated; default: all)",
    )
    parser.add_argument("--force", action="store_true", help="run stages even where nothing changed")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, soft_wrap=True, markup=False)
    try:
        stages(Path(), options.stage)
    except (ValueError, DvcException) as error:
        console.print(one_line(error), style="bold red")
        sys.exit(1)
    # By default SIGTERM ends Python at once, without ending the server that Prefect started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Prefect allows 20 s by default, too little for the first start on a small machine
    patience = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS
    updates = {} if patience.name in os.environ else {patience: STARTUP_TIMEOUT_S}
    try:
        with temporary_settings(updates):
            state = chain(options.stage, options.force, return_state=True)
    except KeyboardInterrupt:
        console.print("chain stopped; the same command goes on where it was", style="bold red")
        sys.exit(128 + signal.SIGINT)
    console.print(
        f"chain {state.type.value.lower()}: {state.message}", style="green" if state.is_completed() else "bold red"
    )
    sys.exit(0 if state.is_completed() else 1)


if __name__ == "__main__":
    main()
