"""Where the bytes of shards lie, and reading them: whole, as a stream, or a range of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vjepa.errors import DataError


def place_of(shards: Path, shard: str) -> str:
    """Where a shard of the manifest lies: a path."""
    return str(shards / shard)


@contextmanager
def opened(place: str) -> Iterator[BinaryIO]:
    """The bytes at `place` as a stream.

    Raises:
        DataError: they can't be read; also while the stream is in use.
    """
    try:
        with open(place, "rb") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"{place} can't be read: {error.strerror or error}") from error


def read(place: str, offset: int, size: int) -> bytes:
    """The `size` bytes from `offset` on; fewer where the file ends before.

    Raises:
        DataError: they can't be read.
    """
    with opened(place) as stream:
        stream.seek(offset)
        return stream.read(size)
