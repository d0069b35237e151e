"""Objects on S3: reading them as streams, sending files, and waiting for a server that goes away and comes back.

Which server, and with which credentials, boto3 finds out from its own environment and profiles (AWS_ENDPOINT_URL_S3,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE), never from files of this project. Objects are named by URLs
`s3://bucket/key`. What is sent carries S3's own checksums; S3 checks no part of an object that is read.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from vjepa.errors import DataError

T = TypeVar("T")

PATIENCE_S = 120.0
"""How long a server that does not answer is waited for, in s."""

PAUSE_S = 0.5
BUFFER = 1 << 20
CLIENT = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=10, read_timeout=30)
PARTS = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)

UNREACHABLE = (ConnectionError, HTTPClientError, IncompleteReadError)
AGAIN = ("RequestTimeout", "NoSuchUpload", "BadDigest")
"""What S3 calls failures below 500 that another attempt from the beginning may mend."""


def upload(file: Path, url: str, sha256: str, patience_s: float = PATIENCE_S) -> None:
    """Send a file in parts, unless an object with this `sha256` is there already.

    Raises:
        DataError: the server refuses it or is away for too long.
    """
    bucket, key = split_url(url)

    def attempt() -> None:
        there = describe(url)
        if there and there["ContentLength"] == file.stat().st_size and sha256_of_object(url, patience_s) == sha256:
            return
        with open(file, "rb") as stream:
            client().upload_fileobj(stream, bucket, key, Config=PARTS)

    try:
        persist(url, attempt, patience_s)
    except OSError as error:
        raise DataError(f"{url} can't be written: {error.strerror or error}") from error


def sha256_of_object(url: str, patience_s: float = PATIENCE_S) -> str:
    """The SHA-256 of an object as it is there now, in hexadecimal.

    Raises:
        OSError: it can't be read.
    """
    with io.BufferedReader(ObjectStream(url, 0, None, patience_s), BUFFER) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_bucket(url: str) -> None:
    """Refuse a place to write to whose bucket is missing or closed to us, before hours of work.

    Raises:
        DataError: it can't be used.
    """
    try:
        persist(url, lambda: client().head_bucket(Bucket=split_url(url)[0]))
    except OSError as error:
        raise DataError(f"{url} can't be used: {error.strerror}") from error


class ObjectStream(io.RawIOBase):
    """The bytes of an object as a stream; a connection that breaks is made anew at the byte where it broke."""

    def __init__(self, url: str, offset: int, size: int | None, patience_s: float) -> None:
        self.url, self.patience_s = url, patience_s
        self._next, self._last = offset, "" if size is None else str(offset + size - 1)
        self._same: dict[str, str] = {}  # what another request must ask for: the object that the first one met
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of `buffer`.

        Raises:
            OSError: the object can't be read further; `strerror` says why and what to check.
        """
        data = persist(self.url, lambda: self._read(len(buffer)), self.patience_s)
        buffer[: len(data)] = data
        self._next += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            if self._body is None:
                bucket, key = split_url(self.url)
                asked = f"bytes={self._next}-{self._last}"
                answer = client().get_object(Bucket=bucket, Key=key, Range=asked, **self._same)
                self._same, self._body = {"IfMatch": answer["ETag"]}, answer["Body"]
            return self._body.read(size)
        except UNREACHABLE:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop()
        super().close()


def client() -> Any:
    """This process's S3 client: connections must not be shared with the process that one was forked from."""
    return client_of(os.getpid())


@cache
def client_of(process: int) -> Any:
    """A client for one process; made once."""
    return boto3.session.Session().client("s3", config=CLIENT)


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def describe(url: str) -> dict[str, Any] | None:
    """What S3 says about an object without sending it; None where there is none."""
    bucket, key = split_url(url)
    try:
        return client().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if status(error) == 404:
            return None
        raise


def persist(place: str, attempt: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `attempt` gives, which is made again while the server is away.

    botocore repeats single requests for some seconds; a server that is started anew takes longer.

    Raises:
        OSError: it fails for another reason, or still after `patience_s`; `strerror` says why and what to check.
    """
    failed_first = None
    while True:
        try:
            return attempt()
        except ValueError as error:  # botocore's, of an endpoint without a scheme
            raise OSError(errno.EINVAL, f"{error}: AWS_ENDPOINT_URL_S3 must begin with http:// or https://") from error
        except (BotoCoreError, ClientError) as error:
            failed_first = failed_first or time.monotonic()
            if not may_pass(error):
                raise OSError(errno.EIO, reason(error, place)) from error
            if time.monotonic() - failed_first > patience_s:
                said = " ".join(str(error).split())
                advice = "check that the server runs and that AWS_ENDPOINT_URL_S3 names it"
                raise OSError(errno.EIO, f"it still fails after {patience_s:g} s ({said}): {advice}") from error
        time.sleep(PAUSE_S)


def status(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def may_pass(error: BotoCoreError | ClientError) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, ClientError):
        return status(error) >= 500 or error.response["Error"]["Code"] in AGAIN
    return isinstance(error, UNREACHABLE)


def reason(error: BotoCoreError | ClientError, place: str) -> str:
    """Why a request failed for good, in one line with what to do."""
    said = " ".join(str(error).split())
    if isinstance(error, NoCredentialsError | PartialCredentialsError | ProfileNotFound):
        return f"{said}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if not isinstance(error, ClientError):
        return said
    bucket, _ = split_url(place)
    if status(error) == 403:
        allowed = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and what they allow"
        return f"the server refuses these credentials for the bucket {bucket} ({said}): {allowed}"
    if status(error) == 412:
        return "it was replaced while it was read: start again"
    if status(error) == 416:
        return "it ends before the place that the manifest names: curate again"
    if error.response["Error"]["Code"] == "NoSuchBucket" or error.operation_name == "HeadBucket":
        return f"there is no bucket {bucket}: create it or correct its name"
    if status(error) == 404:
        return "there is no such object: curate again, or fetch the manifest that belongs to what is there"
    return said
