"""Train and measure arms of conf/arm/ with several training seeds, as DVC experiments, and keep what came out.

    make ablation                                                # the recipe and its rivals, as far as not recorded yet
    python -m scripts.ablation --arms untrained pixels --shares 1 0.1 --seeds 14 15 --jobs 4
    python -m scripts.ablation --measure development --arms default long_pretraining --shares 1 --seeds 21

conf/measure/ says how they are measured: recipes are screened by the read-outs of pretraining alone (`readout`), chosen
in the scenes of `development`, both with training seeds of their own, and reported on those of `ablation`, so that none
is chosen by the numbers that speak for it.

Each arm is post-trained on all robot episodes and on shares of them. A trial is what one command reruns:
`dvc exp run -S +arm=pixels -S +measure=ablation -S seed=14 probe plan`. All of them share the data (`data_seed`) and
the closed loop's scenes. Trials wait in DVC's queue and run in folders of their own; what has ended is written to
docs/experiments.jsonl at once, so that this program may be stopped and started again: trials that are recorded, with
the settings that they would have now, are not run again. DVC's workers go on when it is stopped (`dvc queue kill NAME`
ends a trial). docs/experiments.md is made from that file
(`python -m scripts.experiments`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from filelock import FileLock, Timeout
from rich.console import Console

from scripts.compose import digest, settings_of
from scripts.experiments import ARMS, MEASURES, TARGETS, targets_of, write_page
from stages.runner import TRIALS
from vjepa.errors import UserError
from vjepa.report.experiments import RECIPE, REPORTED, RIVALS
from vjepa.report.quantities import quantities
from vjepa.report.trials import RECORDS, read_records, write_records

COMPARED = (RECIPE, *RIVALS)
"""The arms that run unless others are named: the recipe and what it has to beat."""
SEEDS = (14, 15, 16)
SHARES = (1.0, 0.1, 0.02)
CHOSEN_ON_SEEDS, CHOSEN_ON_SHARES = (21, 22), (1.0,)
"""Of every other way of measuring than the one that is reported."""
STAGES = ("pretrain", "posttrain", "probe", "plan")
"""Whose metrics are kept, as far as they were made."""
OUTCOMES = "plots/plan/outcomes.csv"
TIMINGS = Path("runs/ablation")
FIRST_POLL_S, LAST_POLL_S, POLL_GROWTH = 2.0, 60.0, 1.5
"""Asking DVC's queue takes a second of a processor that the trials need, for minutes: ask ever more rarely."""
SETTLED, LIVE = ("Success", "Failed"), ("Queued", "Running")
DEAD = "Dead"
"""DVC itself goes on calling such a trial running."""

console = Console(stderr=True, soft_wrap=True)


@dataclass(frozen=True)
class Trial:
    """An arm, post-trained on a share of the episodes, with a training seed.

    Attributes:
        measure: the file of conf/measure/ that says how it is measured.
        settings: digest of the settings that its stages read, but for the seed.
        base: digest of those that the arms share.
    """

    measure: str
    arm: str
    share: float
    seed: int
    settings: str
    base: str

    @property
    def name(self) -> str:
        """Of its experiment, and of no experiment with other settings."""
        return f"{self.arm.replace('_', '-')}-{100 * self.share:g}-{self.seed}-{self.settings}".replace(".", "-")

    @property
    def command(self) -> list[str]:
        """What reruns it."""
        told = [*overrides(self.measure, self.arm, self.share), f"seed={self.seed}"]
        targets = targets_of(self.measure)
        return ["dvc", "exp", "run", *(part for override in told for part in ("-S", override)), *targets]


def overrides(measure: str, arm: str, share: float) -> list[str]:
    """What Hydra is told of an arm."""
    return [f"+arm={arm}", f"+measure={measure}", *([] if share == 1 else [f"posttrain.episodes_share={share:g}"])]


def trials_of(measure: str, arms: Sequence[str], shares: Sequence[float], seeds: Sequence[int]) -> list[Trial]:
    """The largest share first, then seed by seed, so that whoever stops early has every arm.

    Smaller shares come last also because they have the same encoders: until then DVC's cache has them, and none is
    trained twice.

    Raises:
        UserError: an arm can't be used.
    """
    names = settings_of(targets_of(measure))
    base = digest([f"+measure={measure}"], names)
    settings = {(arm, share): digest(overrides(measure, arm, share), names) for share in shares for arm in arms}
    return [
        Trial(measure, arm, share, seed, settings[arm, share], base)
        for share in sorted(shares, reverse=True)
        for seed in seeds
        for arm in arms
    ]


def run(*command: str) -> str:
    """What a command prints.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(f"`{' '.join(command)}` failed: {' '.join(last)}")
    return done.stdout


def queue() -> dict[str, str]:
    """The state of each trial in DVC's queue, by name; of one that no worker is left to run it is `DEAD`."""
    found: dict[str, str] = {}
    working = True
    for line in run("dvc", "queue", "status").splitlines()[1:]:
        words = line.split()
        state = next((word for word in words if word in (*SETTLED, *LIVE)), None)
        if state and len(words) > 2:
            if found.get(words[1]) not in LIVE:  # of a trial that runs again the earlier task is listed, too
                found[words[1]] = state
        elif line.startswith("Worker status:"):
            working = "0 active" not in line
    return {name: DEAD if state == "Running" and not working else state for name, state in found.items()}


def finished() -> dict[str, str]:
    """The commit of each experiment that has ended well, by name."""
    lines = run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    pairs = [line.split() for line in lines]
    return {name.rpartition("/")[2]: commit for commit, name in pairs if not name.startswith("refs/exps/celery")}


def rounded(value: float) -> float:
    """To five figures."""
    return float(f"{value:.5g}")


def record(trial: Trial, commit: str) -> dict[str, Any]:
    """What is kept of a trial that has ended."""
    seconds = TIMINGS / f"{trial.name}.json"
    whole = trial.measure not in TARGETS
    numbers: dict[str, list[float | None]] = {}
    for stage in STAGES if whole else TARGETS[trial.measure]:
        values = json.loads(run("git", "show", f"{commit}:metrics/{stage}.json"))
        for q in quantities(stage, values):
            numbers[f"{stage}.{q.name}"] = [
                None if part is None else rounded(part) for part in (q.value, q.low, q.high, q.n)
            ]
    return {
        **asdict(trial),
        "name": trial.name,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": run("git", "rev-parse", f"{commit}^").strip()[:12],
        "command": " ".join(trial.command),
        "stages": json.loads(seconds.read_text()) if seconds.exists() else {},
        "numbers": numbers,
        "scenes": scenes(pd.read_csv(io.StringIO(dvc.api.read(OUTCOMES, rev=commit)))) if whole else {},
    }


def scenes(outcomes: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Of each benchmark the seeds of its scenes (`seed`), and of each metric what the planner came to in each."""
    mine = outcomes[outcomes["arm"] == "planner"].sort_values("seed").drop(columns="arm").set_index("benchmark")
    return {
        str(name): {"seed": part.pop("seed").tolist()}
        | {str(metric): [rounded(float(value)) for value in values] for metric, values in part.items()}
        for name, part in mine.groupby("benchmark")
    }


def keep(trials: Sequence[Trial]) -> list[Trial]:
    """Record what has ended; returns the trials that are not recorded.

    Raises:
        UserError: what a trial left can't be read; all others are recorded.
    """
    records = read_records()
    known = {entry["name"] for entry in records}
    done = finished()
    new, unreadable = [], []
    for trial in trials:
        if trial.name in done and trial.name not in known:
            try:
                new.append(record(trial, done[trial.name]))
            except (UserError, DvcException, KeyError, ValueError) as error:
                unreadable.append(f"{trial.name} ({error})")
    if new:
        write_records([*records, *new])
        write_page(read_records())  # in the file's order, as `python -m scripts.experiments` has them
        for entry in new:
            known.add(entry["name"])
            console.print(f"recorded {entry['name']}")
    if unreadable:
        raise UserError(
            f"what these left can't be read; `dvc exp remove NAME` and they run again: {listed(unreadable)}"
        )
    return [trial for trial in trials if trial.name not in known]


def enqueue(missing: Sequence[Trial]) -> None:
    """Put trials into DVC's queue, save those that wait or run already; those that failed or died come again."""
    states = queue()
    if dead := [trial.name for trial in missing if states.get(trial.name) == DEAD]:
        run("dvc", "queue", "kill", *dead)
        states = queue()
    if failed := [trial.name for trial in missing if states.get(trial.name) == "Failed"]:
        run("dvc", "queue", "remove", *failed)
    for trial in missing:
        if states.get(trial.name) not in LIVE:
            command = trial.command
            run(*command[:3], "--queue", "--name", trial.name, *command[3:])
            console.print(f"queued {trial.name}")


def start_workers(jobs: int) -> None:
    """Let DVC's workers run what waits in its queue.

    They live on after the command that starts them, with whatever it was given to write to: not a pipe of ours, whose
    end would never come.
    """
    environment = {**os.environ, TRIALS: str(TIMINGS.absolute()), "OMP_NUM_THREADS": "1"}
    command = ["dvc", "queue", "start", "--jobs", str(jobs)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait(trials: Sequence[Trial], jobs: int) -> Iterator[list[Trial]]:
    """The trials that are not recorded, each time that one has ended, until none is waiting or running.

    A worker that finds no time to say what it does is taken for idle by DVC, which ends it: where trials wait and fewer
    than `jobs` run, workers are started again, in the slow pace of asking, since a new one takes a while to begin.
    """
    missing, pause = keep(trials), FIRST_POLL_S
    while missing:
        states = queue()
        still = [states[trial.name] for trial in missing if states.get(trial.name) in LIVE]
        if not still:
            break
        if pause == LAST_POLL_S and "Queued" in still and list(states.values()).count("Running") < jobs:
            start_workers(jobs)
        time.sleep(pause)
        before, missing = missing, keep(missing)
        if len(missing) < len(before):
            pause = FIRST_POLL_S
            yield missing
        else:
            pause = min(pause * POLL_GROWTH, LAST_POLL_S)


def listed(values: Sequence[object]) -> str:
    """As they would be typed."""
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def main() -> None:
    """Run what is missing; exits with 1 where a trial failed."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known, measures = (sorted(path.stem for path in folder.glob("*.yaml")) for folder in (ARMS, MEASURES))
    parser.add_argument(
        "--arms", nargs="+", choices=known, default=COMPARED, metavar="ARM",
        help=f"of {', '.join(known)} (default: {listed(COMPARED)})",
    )  # fmt: skip
    parser.add_argument("--measure", choices=measures, default=REPORTED, help=f"default: {REPORTED}")
    parser.add_argument(
        "--shares", nargs="+", type=float, metavar="SHARE",
        help=f"of the robot episodes (default: {listed(SHARES)}; of other measures {listed(CHOSEN_ON_SHARES)})",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="SEED",
        help=f"training seeds (default: {listed(SEEDS)}; of other measures {listed(CHOSEN_ON_SEEDS)})",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time, of one thread each (default: 2)")
    arguments = parser.parse_args()
    reported = arguments.measure == REPORTED
    seeds = arguments.seeds or (SEEDS if reported else CHOSEN_ON_SEEDS)
    shares = arguments.shares or (SHARES if reported else CHOSEN_ON_SHARES)
    try:
        if not reported and set(seeds) & set(SEEDS):
            raise UserError(f"the seeds {listed(SEEDS)} are those that recipes are reported on: choose on others")
        if reported and set(seeds) & set(CHOSEN_ON_SEEDS):
            raise UserError(f"recipes are chosen on the seeds {listed(CHOSEN_ON_SEEDS)}: report them on others")
        TIMINGS.mkdir(parents=True, exist_ok=True)
        with FileLock(TIMINGS / "lock", timeout=0):
            trials = trials_of(arguments.measure, arguments.arms, shares, seeds)
            missing = run_missing(trials, arguments.jobs)
    except Timeout:
        stop("another one runs in this folder: two would overwrite each other's records")
    except (UserError, subprocess.CalledProcessError) as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("stopped. DVC's workers go on: `dvc queue stop` lets them end what they do, `dvc queue kill NAME` ends it")
    if missing:
        names = " ".join(trial.name for trial in missing)
        stop(f"failed: {names}; `dvc queue logs NAME` says why")
    console.print(f"all {len(trials)} trials are in {RECORDS}")


def run_missing(trials: Sequence[Trial], jobs: int) -> list[Trial]:
    """Run and record the trials that are not recorded; returns those that failed."""
    missing = keep(trials)
    if missing:
        console.print(f"{len(missing)} of {len(trials)} trials are not recorded; first the data they share")
        subprocess.run(["dvc", "repro", "validate"], check=True)
        enqueue(missing)
        start_workers(jobs)
        for missing in wait(trials, jobs):
            console.print(f"{len(missing)} to go")
    return keep(trials)


def stop(words: str) -> NoReturn:
    """Say why there is no more to do, and exit with 1."""
    console.print(f"[bold red]ablation:[/] {words}")
    sys.exit(1)


if __name__ == "__main__":
    main()
