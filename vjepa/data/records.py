"""Small files that are kept between runs: a line that says what is in them, then bytes, each with its own SHA-256.

So the line is read without the bytes and checked all the same. What is damaged counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjepa.files import atomic_path


def write_record(path: Path, about: Any, payloads: Sequence[bytes]) -> None:
    """Write `about`, which JSON can hold, and the bytes that belong to it."""
    held = [(len(payload), hashlib.sha256(payload).hexdigest()) for payload in payloads]
    text = json.dumps({"about": about, "held": held}).encode() + b"\n"
    line = hashlib.sha256(text).hexdigest().encode() + b" " + text
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join([line, *payloads]))


def read_about(path: Path) -> Any:
    """What a record says of itself; None if there is none, its line is damaged or bytes are missing."""
    found = _first_line(path)
    return None if found is None else found[1]["about"]


def read_payload(path: Path, number: int) -> bytes | None:
    """The bytes of that number in a record; None if there is none, or they are damaged."""
    found = _first_line(path)
    if found is None:
        return None
    start, header = found
    size, digest = header["held"][number]
    with open(path, "rb") as file:
        file.seek(start + sum(length for length, _ in header["held"][:number]))
        payload = file.read(size)
    return payload if hashlib.sha256(payload).hexdigest() == digest else None


def forget_others(folder: Path, paths: set[Path]) -> None:
    """Remove all records in subfolders of two letters but these, and what a killed run left half written there."""
    for file in folder.glob("??/*"):
        if file not in paths:
            file.unlink()


def _first_line(path: Path) -> tuple[int, Any] | None:
    """How long the line is, and what stands in it."""
    try:
        with open(path, "rb") as file:
            line, size = file.readline(), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    digest, _, text = line.partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    header = json.loads(text)
    return (len(line), header) if size == len(line) + sum(length for length, _ in header["held"]) else None
