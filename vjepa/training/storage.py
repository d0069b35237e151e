"""A checkpoint's folder, written and read by `torch.distributed.checkpoint` from any number of processes.

Each process writes the parts of tensors that it holds, as safetensors with their places; one that loads takes what it
needs of them, so that a checkpoint fits other numbers of processes and other ways to spread a network. Beside them lie
`run.json` and the hashes of all files, as `sha256sum --check SHA256SUMS` reads them. Nothing is pickled: torch's own
storage, unlike the one for safetensors, keeps its metadata so.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.futures import Future

from vjepa.errors import UserError
from vjepa.files import atomic_directory, sha256_of

SUMS, RUN = "SHA256SUMS", "run.json"
FILE_BYTES = 1 << 28
"""That a file holds at most if it holds several tensors: torch makes all of it in memory before it writes it."""

# it is said of every run with one process
warnings.filterwarnings("ignore", message=r"torch\.distributed is (disabled|unavailable)")


class DamagedError(Exception):
    """A checkpoint's files are not those that were written."""


class FolderWriter(dcp.HuggingFaceStorageWriter):
    """The files of one checkpoint, whole or not at all; what fails in one process fails in all.

    Args:
        path: of the folder.
        tensors: that it will hold, by name.
        about: the text of `run.json`.
        done: is called in the leading process once the folder stands under its name.
        opened: holds the folder's temporary name while it is written.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        about: str,
        done: Callable[[], None],
        opened: ExitStack,
    ) -> None:
        super().__init__(str(path), fqn_to_index_mapping=files_of(tensors), save_distributed=True)
        self._target, self._about, self._done, self._opened = path, about, done, opened

    def prepare_local_plan(self, plan: dcp.SavePlan) -> dcp.SavePlan:
        """Nothing: the folder is made by the leading process."""
        return plan

    def prepare_global_plan(self, plans: list[dcp.SavePlan]) -> list[dcp.SavePlan]:
        """In the leading process: make the folder and tell the others its temporary name."""
        folder = self._opened.enter_context(atomic_directory(self._target))
        self.path = folder
        planned = super().prepare_global_plan(plans)
        return [dataclasses.replace(p, storage_data={**p.storage_data, "folder": folder}) for p in planned]

    def write_data(self, plan: dcp.SavePlan, planner: dcp.SavePlanner) -> Future[Any]:
        """This process's tensors."""
        self.path = plan.storage_data["folder"]
        return super().write_data(plan, planner)

    def finish(self, metadata: Any, results: Any) -> None:
        """In the leading process, once all have written: the rest of the files, and the folder gets its name."""
        folder = Path(self.path)
        (folder / RUN).write_text(self._about)
        files = sorted(file.name for file in folder.iterdir())
        (folder / SUMS).write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in files))
        self._opened.close()
        self._done()


def files_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of the file, from 1, that each tensor goes to."""
    numbers, number, size = {}, 1, 0
    for name, tensor in tensors.items():
        if size and size + tensor.nbytes > FILE_BYTES:
            number, size = number + 1, 0
        size += tensor.nbytes
        numbers[name] = number
    return numbers


def write_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    about: str,
    done: Callable[[], None],
    group: dist.ProcessGroup | None,
) -> None:
    """Write a checkpoint's folder; all processes of the group have to call it.

    Raises:
        UserError: it can't be written.
    """
    with ExitStack() as opened:
        writer = FolderWriter(path, tensors, about, done, opened)
        try:
            dcp.save(tensors, storage_writer=writer, process_group=group, no_dist=group is None)
        except CheckpointException as failed:
            error = cause(failed)
            if not isinstance(error, OSError):
                raise error from failed
            free = shutil.disk_usage(path.parent).free / 1e6
            raise UserError(f"can't write {path}: {error.strerror or error} ({free:.0f} MB are free)") from failed


def read_about(path: Path) -> dict[str, Any]:
    """What stands in a checkpoint's `run.json`, after all of its files were compared with their hashes.

    Raises:
        DamagedError: they are others, or one is missing; the message names it.
    """
    try:
        lines = [line.partition("  ") for line in (path / SUMS).read_text().splitlines()]
        sums = {name: digest for digest, _, name in lines}
        files = {file.name for file in path.iterdir() if file.suffix == ".safetensors" or file.name == RUN}
        if odd := sorted(files ^ sums.keys()):
            raise DamagedError(f"{SUMS} and the files do not agree about {', '.join(odd)[:200]}")
        for name, digest in sums.items():
            found = sha256_of(path / name)
            if found != digest:
                raise DamagedError(f"the SHA-256 of {name} is {found}, not {digest} as {SUMS} has it")
        return json.loads((path / RUN).read_text())
    except (OSError, ValueError) as error:
        raise DamagedError(" ".join(str(error).split())) from error


def read_names(path: Path) -> set[str]:
    """The names of a checkpoint's tensors."""
    return set(dcp.HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata)


def read_tensors(path: Path, tensors: dict[str, Tensor], group: dist.ProcessGroup | None) -> None:
    """Fill tensors, spread as they may be, with those of a checkpoint; all processes of the group have to call it.

    Raises:
        UserError: it lacks one, or one has another shape.
    """
    reader = dcp.HuggingFaceStorageReader(str(path))
    try:
        dcp.load(tensors, storage_reader=reader, process_group=group, no_dist=group is None)
    except CheckpointException as failed:
        raise UserError(f"{path} can't be used: {' '.join(str(cause(failed)).split())[:200]}") from failed


def cause(failed: CheckpointException) -> BaseException:
    """What went wrong in the first of the processes in which something did."""
    error, _ = next(iter(failed.failures.values()))
    return error
