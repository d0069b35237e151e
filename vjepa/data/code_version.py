"""Which code examines or encodes episodes: what it found before holds only as long as that has not changed."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENTRANCES = ("vjepa.data.examination", "vjepa.data.journal", "vjepa.data.sources")
PACKAGES = ("av", "h5py", "numpy", "pandas", "pyarrow", "scipy")
"""Those that read, decode, hash and encode."""
FOLLOWED = ("vjepa.data.", "vjepa.imaging", "vjepa.checkpoints.", "vjepa.nn.")


@cache
def code_version(entrances: tuple[str, ...] = ENTRANCES, packages: tuple[str, ...] = PACKAGES) -> str:
    """SHA-256 over the modules that examine an episode, or others, and the versions of the packages below them."""
    code = {name: file_of(name).read_text() for name in sorted(modules(entrances))}
    return hashlib.sha256(json.dumps([code, {name: version(name) for name in packages}]).encode()).hexdigest()


def modules(entrances: tuple[str, ...]) -> set[str]:
    """These modules and those among `FOLLOWED` that they import, however far."""
    found: set[str] = set()
    waiting = list(entrances)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            imports = [
                node for node in ast.walk(ast.parse(file_of(name).read_text())) if isinstance(node, ast.ImportFrom)
            ]
            named = {node.module or "" for node in imports}
            named |= {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
            waiting += [module for module in named if module.startswith(FOLLOWED)]
            waiting = [module for module in waiting if file_of(module).exists()]
    return found


def file_of(module: str) -> Path:
    """Where a module of this project is, or would be."""
    return ROOT / (module.replace(".", "/") + ".py")
