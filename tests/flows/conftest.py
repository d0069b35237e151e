from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness
from toy_chain import write_toy_chain


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server for this run alone."""
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def untouched_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that `toy` is a copy of."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_chain(folder)
    return folder


@pytest.fixture
def toy(untouched_toy: Path, tmp_path: Path) -> Path:
    """A fresh DVC repository of four shell stages."""
    return Path(shutil.copytree(untouched_toy, tmp_path / "toy"))
