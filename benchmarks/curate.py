"""Episodes a second that curation reads, checks, encodes and packs, with one process and with two.

python -m benchmarks.curate              # on data/raw with params.yaml, as the stage does
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks._result import Comparison, in_turn
from stages.runner import read_params
from vjepa.data.curation import curate
from vjepa.errors import UserError

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the stage does: there is a process for each core already
RAW = Path("data/raw")
REPEATS = 3


def episodes_per_second(workers: int) -> float:
    """Of one whole curation into a folder that is thrown away."""
    params = read_params()
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as journal:
        started = time.perf_counter()
        done = curate(RAW, Path(out), params["source"], params["curate"], Path(journal), workers)
        return done.counts["episodes_read"] / (time.perf_counter() - started)


def main() -> None:
    """Measure both in turn and print one line of JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sides = {f"{workers} processes": partial(episodes_per_second, workers) for workers in (1, 2)}
    try:
        one, two = in_turn(sides, REPEATS, "{:.1f} episodes/s".format).values()
    except UserError as error:
        raise SystemExit(f"curate: {error}") from error
    found = Comparison(two, one, "episodes/s")
    summary = (
        f"Curation of {RAW}: {statistics.median(one):.0f} episodes a second with one process, "
        f"{statistics.median(two):.0f} with two, {found} as many ({REPEATS} runs of each, in turn)."
    )
    print(json.dumps(found.record("curate", "the same with one process", summary)))


if __name__ == "__main__":
    main()
