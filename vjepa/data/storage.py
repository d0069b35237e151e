"""Where the bytes of shards lie, in a folder or on S3, and reading them: whole, as a stream, or a range of them.

A place is a path or a URL `s3://bucket/key`. A server that goes away and comes back is waited for, and reading goes on
at the byte where it stopped. Whoever knows the SHA-256 of what is read has to compare it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from vjepa.data.s3 import BUFFER, PATIENCE_S, ObjectStream, describe, persist
from vjepa.errors import DataError
from vjepa.files import require_inside


def is_url(place: str) -> bool:
    return place.startswith("s3://")


def place_of(shards: Path, shard: str) -> str:
    """Where a shard of the manifest lies: URLs are whole, names are relative to the shards' folder.

    Raises:
        DataError: the name leads out of the folder.
    """
    if is_url(shard):
        return shard
    try:
        require_inside(shards, shards / shard)
    except ValueError as error:
        raise DataError(f"the manifest names a shard elsewhere: {error}") from error
    return str(shards / shard)


@contextmanager
def opened(
    place: str, offset: int = 0, size: int | None = None, patience_s: float = PATIENCE_S
) -> Iterator[io.BufferedReader]:
    """The bytes at `place` as a stream: from `offset` on; no more than `size` of them are wanted.

    Raises:
        DataError: they can't be read; also while the stream is in use.
    """
    try:
        if is_url(place):
            with io.BufferedReader(ObjectStream(place, offset, size, patience_s), BUFFER) as stream:
                yield cast(io.BufferedReader, stream)
        else:
            with open(place, "rb") as file:
                file.seek(offset)
                yield file
    except OSError as error:
        raise DataError(f"{place} can't be read: {error.strerror or error}") from error


def read(place: str, offset: int, size: int, patience_s: float = PATIENCE_S) -> bytes:
    """The `size` bytes from `offset` on; fewer where the file ends before.

    Raises:
        DataError: they can't be read.
    """
    with opened(place, offset, size, patience_s) as stream:
        return stream.read(size)


def sha256_at(place: str) -> str:
    """The SHA-256 of all bytes at `place`, in hexadecimal.

    Raises:
        DataError: they can't be read.
    """
    with opened(place) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def exists(place: str) -> bool:
    """Whether a file or an object is there.

    Raises:
        DataError: the server does not say.
    """
    if not is_url(place):
        return Path(place).is_file()
    try:
        return persist(place, lambda: describe(place)) is not None
    except OSError as error:
        raise DataError(f"{place} can't be read: {error.strerror}") from error
