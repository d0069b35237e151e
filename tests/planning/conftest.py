"""Bundles of the toy world, which `toy_world` describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_world import write_toy_bundle

from vjepa.planning import Bundle, WorldModel


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that tests only read."""
    return write_toy_bundle(tmp_path_factory.mktemp("toy") / "onnx")


@pytest.fixture
def make_toy_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bundle of the test's own; arguments as `write_toy_bundle`."""
    return lambda **gains: write_toy_bundle(tmp_path / "onnx", **gains)


@pytest.fixture(scope="session")
def toy_model(toy_folder: Path) -> WorldModel:
    """The toy world model."""
    return WorldModel(Bundle.open(toy_folder, threads=1))
