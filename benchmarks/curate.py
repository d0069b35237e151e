"""Episodes a second that curation reads, checks, encodes and packs, with one process and with two.

python -m benchmarks.curate              # on data/raw with params.yaml, as the stage does
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

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
    rates: dict[int, list[float]] = {1: [], 2: []}
    try:
        for repeat in range(REPEATS):
            for workers, found in rates.items():
                found.append(episodes_per_second(workers))
                print(f"repeat {repeat + 1}: {workers} processes, {found[-1]:.1f} episodes a second", file=sys.stderr)
    except UserError as error:
        raise SystemExit(f"curate: {error}") from error
    one, two = (statistics.median(found) for found in rates.values())
    ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
    summary = (
        f"Curation of {RAW}: {one:.0f} episodes a second with one process, {two:.0f} with two, {two / one:.2f} times "
        f"as many [{min(ratios):.2f}, {max(ratios):.2f}] ({REPEATS} runs of each, in turn)."
    )
    result = {
        "name": "curate",
        "ours": round(two, 1),
        "peer": round(one, 1),
        "unit": "episodes/s",
        "ratio": round(two / one, 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "peer_is": "the same with one process",
        "summary": summary,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
