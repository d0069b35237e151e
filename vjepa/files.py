"""Writing files so that a reader finds the old one or the new one, never half of one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vjepa.errors import UserError

ASIDE = ".old.tmp"
"""Ending of the name of a folder that is about to be replaced."""
LEFT = re.compile(r"\.(?P<name>.+)\.(?P<process>[0-9]+)(?P<aside>\.old)?\.tmp")
"""Temporary names, of which killed processes leave some."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; on leaving without an error it is synced and becomes `path`.

    Raises:
        UserError: the file system refused a write.
    """
    temporary = _temporary(path)
    with _refusals_named(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on leaving without an error it takes the place of `path`.

    A program that is killed between leaves the old folder or the new one, whole, or for an instant none: the old one is
    moved aside before the new one takes its name, never deleted file by file under it, and comes back with the next one
    that is written there. Where the new one can't take its name the old one comes back at once.

    Raises:
        UserError: the file system refused a write.
    """
    temporary = _temporary(path)
    aside = temporary.with_suffix(ASIDE)
    with _refusals_named(path, temporary):
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        if path.exists():
            os.replace(path, aside)
        try:
            os.replace(temporary, path)
        except OSError:
            if aside.exists():
                os.replace(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Remove a folder (or a file) so that a reader finds all of it or nothing.

    Raises:
        UserError: the file system refused.
    """
    temporary = _temporary(path)
    try:
        os.replace(path, temporary)
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink()
    except OSError as error:
        raise UserError(f"can't remove {path}: {error.strerror or error}") from error


def clear_left(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left half written or half removed; what they had moved aside comes back.

    Args:
        folder: where they wrote.
        name: of what they wrote there, as a pattern.

    Raises:
        UserError: an old folder that one of them had moved aside can't be brought back.
    """
    for left in folder.glob(f".{name}.*.tmp"):
        found = LEFT.fullmatch(left.name)
        if found and not _runs(int(found["process"])):
            path = folder / found["name"]
            if found["aside"] and not path.exists():
                _bring_back(left, path)  # killed between moving the old one aside and giving its name to the new one
            _remove(left)


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses, after removing what killed processes left under such names.

    Raises:
        UserError: see `clear_left`.
    """
    clear_left(path.parent, path.name)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _bring_back(aside: Path, path: Path) -> None:
    """Give a folder its name again."""
    try:
        os.replace(aside, path)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error


def _sync(folder: Path) -> None:
    """Let all files of a folder reach the disk, so that a name never stands for less than was written."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return process != os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _refusals_named(path: Path, temporary: Path) -> Iterator[None]:
    """Turn a refused write into one line about `path`; what can't be read meanwhile keeps its own name."""
    try:
        yield
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str | os.PathLike) else None
        ours = named is None or named in (path, *path.parents, temporary) or temporary in named.parents
        what = f"can't write {path}" if ours else f"{named} can't be used"
        raise UserError(f"{what}: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Write `path` atomically with a function that takes a file name (e.g. safetensors' `save_file`)."""
    with atomic_path(path) as temporary:
        write(temporary)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are errors, since JSON has none."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def require_inside(folder: Path, file: Path) -> None:
    """Refuse a file that a name from outside places out of its folder, by `..`, an absolute path or a link.

    A snapshot of the Hugging Face Hub's cache may link to the blobs beside it, of which its files consist.

    Raises:
        ValueError: it lies elsewhere.
    """
    root, place = folder.resolve(), file.resolve()
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
    if not place.is_relative_to(root) and not place.is_relative_to(blobs):
        raise ValueError(f"{file} leads out of {folder}")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
