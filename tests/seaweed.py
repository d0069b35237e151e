"""A real S3 server for tests."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

from scripts.s3 import BUCKET, PORTS, Server


class S3Server:
    """A real SeaweedFS server that a test may kill and start again; it keeps what it was sent.

    Attributes:
        url: of its bucket.
    """

    url = f"s3://{BUCKET}"

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder, free_ports(len(PORTS)))
        self.start()

    def start(self) -> None:
        self._process = self.server.start()
        self.server.wait(self._process)

    def kill(self) -> None:
        """End it as a power cut would: connections break in the middle."""
        self._process.kill()
        self._process.wait()


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nothing uses; below those that systems hand out by themselves."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 32_000, count):
        try:
            for port in range(first, first + count):
                with closing(socket.socket()) as tried:
                    tried.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
