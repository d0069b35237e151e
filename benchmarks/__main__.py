"""Run every benchmark of this folder and write their results, with what the machine is, to benchmarks/results.json."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from vjepa.files import write_json

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"


def processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Run them one after the other: two at once would measure each other."""
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    results = []
    for path in sorted(FOLDER.glob("[!_]*.py")):
        command = [sys.executable, "-m", f"benchmarks.{path.stem}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    machine = {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers")},
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_json(RESULTS, {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
