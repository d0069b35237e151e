"""A checkpoint of one process, of DDP or of FSDP2 loads in the others, at other numbers of processes, bit for bit."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from tests.training.toy import Toy
from vjepa.errors import UserError
from vjepa.training.checkpoint import Progress
from vjepa.training.parallel import World
from vjepa.training.storage import RUN


def together(size: int, act: Callable[..., None], folder: Path, *given: Any) -> None:
    """Let processes that know each other call a function with their world and the folder."""
    multiprocessing.set_forkserver_preload(["tests.training.killable", "tests.training.toy"])
    multiprocessing.start_processes(joining, (size, act, folder, *given), size, start_method="forkserver")


def joining(rank: int, size: int, act: Callable[..., None], folder: Path, *given: Any) -> None:
    torch.set_num_threads(1)
    meeting = (folder / f"meeting-of-{size}").resolve()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    act(World(rank, size, torch.device("cpu")), folder, *given)
    dist.destroy_process_group()


def trained_a_while(folder: Path) -> dict[str, Tensor]:
    """The state of a single process's training that died, which `folder` holds."""
    with pytest.raises(KeyboardInterrupt):
        Toy(folder, dies_at=5).train()
    toy = Toy(folder)
    assert toy.run.checkpoints.load(lambda said: None) == Progress(4, toy_log(folder))
    return toy.state()


def toy_log(folder: Path) -> list[dict[str, float]]:
    found = Toy(folder).run.checkpoints.load(lambda said: None)
    assert found is not None and [row["step"] for row in found.log] == [0, 2]
    return found.log


def pass_on(toy: Toy, step: int, expected: dict[str, Tensor]) -> None:
    """Load what is there, compare it, forget it by a step, load it again, and write it as that of the next step."""
    found = toy.run.checkpoints.load(lambda said: None)
    assert found is not None and found.step == step
    require_equal(toy.state(), expected)
    toy.run.advance(toy)
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in toy.state().items())
    toy.run.checkpoints.load(lambda said: None)
    require_equal(toy.state(), expected)
    toy.run.checkpoints.save(Progress(step + 1, found.log), due=True)
    toy.run.checkpoints.wait()


def require_equal(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert state.keys() == expected.keys() and sum(name.endswith("exp_avg") for name in state) == 2
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []


def pass_along(world: World, folder: Path, step: int, strategies: list[str], expected: dict[str, Tensor]) -> None:
    """From strategy to strategy."""
    for number, strategy in enumerate(strategies):
        toy = Toy(folder, world=world, strategy=strategy)
        kind = DistributedDataParallel if strategy == "ddp" else FSDPModule
        assert isinstance(toy.run.objective, kind)
        assert isinstance(toy.net.weight, DTensor) == (strategy == "fsdp")
        pass_on(toy, step + number, expected)


def test_a_checkpoint_loads_under_any_strategy_and_number_of_processes(tmp_path: Path) -> None:
    expected = trained_a_while(tmp_path)
    together(2, pass_along, tmp_path, 4, ["ddp", "fsdp", "ddp", "fsdp"], expected)
    together(3, pass_along, tmp_path, 8, ["fsdp", "ddp", "fsdp"], expected)
    [*_, newest] = sorted(tmp_path.glob("step-*"))
    assert len(list(newest.glob("*.safetensors"))) == 3  # each process writes what it holds
    pass_on(Toy(tmp_path), 11, expected)


def refused(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refused_in_the_second(world: World, folder: Path, strategy: str, expected: dict[str, Tensor]) -> None:
    """Its part is refused: both say so, and nothing has changed."""
    toy = Toy(folder, world=world, strategy=strategy)
    found = toy.run.checkpoints.load(lambda said: None)
    assert found is not None
    with patch.object(FileSystem, "create_stream", refused) if not world.leads else nullcontext():
        toy.run.checkpoints.save(Progress(5, found.log), due=True)
        with pytest.raises(UserError, match=r"can't write .*step-00000005-.*: No space left on device \("):
            toy.run.checkpoints.wait()
    again = toy.run.checkpoints.load(lambda said: None)
    assert again == found
    require_equal(toy.state(), expected)


def damaged(world: World, folder: Path) -> None:
    """All processes are told alike."""
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged"):
        Toy(folder, world=world).run.checkpoints.load(lambda said: None)


def test_what_fails_in_one_process_ends_all_with_the_last_checkpoint_intact(tmp_path: Path) -> None:
    expected = trained_a_while(tmp_path)
    [before] = tmp_path.glob("step-*")
    together(2, refused_in_the_second, tmp_path, "fsdp", expected)
    assert [*tmp_path.glob("*step-*")] == [before] and not list(tmp_path.glob(".*"))
    (before / RUN).unlink()
    (tmp_path / "meeting-of-2").unlink(missing_ok=True)
    together(2, damaged, tmp_path)


def killed_in_the_second(world: World, folder: Path) -> None:
    """Its part is half written when the system kills it."""
    toy = Toy(folder, world=world)
    found = toy.run.checkpoints.load(lambda said: None)
    assert found is not None

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(FileSystem, "create_stream", die) if not world.leads else nullcontext():
        toy.run.checkpoints.save(Progress(5, found.log), due=True)
        toy.run.checkpoints.wait()


def test_a_process_that_is_killed_while_all_write_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    expected = trained_a_while(tmp_path)
    with pytest.raises((ProcessExitedException, ProcessRaisedException)):
        together(2, killed_in_the_second, tmp_path)
    toy = Toy(tmp_path)
    found = toy.run.checkpoints.load(lambda said: None)
    assert found is not None and found.step == 4
    require_equal(toy.state(), expected)
    assert [path.name[:13] for path in tmp_path.iterdir() if path.is_dir()] == ["step-00000004"]
