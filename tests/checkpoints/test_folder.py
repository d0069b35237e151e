"""Tensors that the disk refuses are one clear line, and the old model stays."""

import resource
import subprocess
import sys

import torch

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.files import atomic_directory

CODE = """
import resource, sys
from pathlib import Path
import torch
from vjepa.checkpoints.folder import write_folder
from vjepa.errors import UserError
from vjepa.files import atomic_directory
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, int(sys.argv[2])))
try:
    with atomic_directory(Path(sys.argv[1])) as folder:
        write_folder(folder, {"new": True}, {"w": torch.zeros(10_000)})
except UserError as error:
    print("clear:", error)
"""


def test_a_full_disk_leaves_the_old_model_whole(tmp_path, repository):
    """The operating system itself refuses to write past a limit, as a full disk does."""
    path = tmp_path / "model"
    with atomic_directory(path) as folder:
        write_folder(folder, {"new": False}, {"w": torch.ones(3)})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    command = [sys.executable, "-c", CODE, str(path), str(limit)]
    printed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("clear: can't write") and printed.count("\n") == 1
    config, tensors = read_folder(path)
    assert config == {"new": False} and torch.equal(tensors["w"], torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
