"""A DVC repository of four shell stages, for tests of the flow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOY = """
stages:
  gate:
    desc: Refuses a crate that is not sound
    meta: {gate: true}
    cmd: sh gate.sh
    deps: [gate.sh, crate]
    outs: [verdict.txt]
  pack:
    desc: Packs a crate
    cmd: sh pack.sh
    deps: [pack.sh]
    outs: [crate]
    metrics: [{metrics/pack.json: {cache: false}}]
  ship:
    cmd: cp verdict.txt shipped.txt
    deps: [verdict.txt]
    outs: [shipped.txt]
  paint:
    cmd: touch painted.txt
    outs: [painted.txt]
"""
PACK = """
mkdir -p crate metrics
echo sound > crate/apple
echo '{"mass_g": {"value": 92.5, "low": 90.0, "high": 95.0, "n": 4}}' > metrics/pack.json
echo packed one apple
"""
GATE = """
grep -q sound crate/apple || { echo 'gate failed: crate/apple is rotten' >&2; exit 1; }
echo fine > verdict.txt
"""


def write_toy_chain(folder: Path) -> None:
    """Make `folder` a DVC repository whose dvc.yaml lists the stages in another order than they run in."""
    (folder / "dvc.yaml").write_text(TOY)
    (folder / "pack.sh").write_text(PACK)
    (folder / "gate.sh").write_text(GATE)
    dvc(folder, "init", "--no-scm")


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC in `folder` and return what it printed."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
