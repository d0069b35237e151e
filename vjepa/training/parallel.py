"""Several processes that train together: who they are, what they agree on, and how a network is spread over them.

`torchrun` starts them and restarts them when one has died. A step's clips are drawn for all of them and each takes its
share, so the loss does not hang on their number beyond rounding.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from vjepa.config import EngineConfig
from vjepa.errors import UserError
from vjepa.nn.blocks import Block, BlockStack

_GROUPS: list[Any] = []
"""Held to the end of this process. DDP's reducer may otherwise be the last to hold one, and destroys it with Python's
lock taken: that waits for gloo's threads, one of which may wait for the lock to let go of a tensor (pytorch#56297)."""
atexit.register(_GROUPS.clear)


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees them.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: where it computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def mean(self, numbers: list[float]) -> list[float]:
        """Of all processes, number by number: alike in all of them, so that they decide alike."""
        if self.size == 1:
            return numbers
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return (summed / self.size).tolist()

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return self.mean([float(flag)])[0] > 0


@dataclass(frozen=True)
class Share:
    """Which clips of a step a process takes, and in how many passes.

    Attributes:
        total: clips of the step.
        first: the first of this process's.
        clips: how many it takes, one after the other.
        micro_batch: clips of a pass.
    """

    total: int
    first: int
    clips: int
    micro_batch: int

    @classmethod
    def of(cls, total: int, world: World, config: EngineConfig, together: int | None = None) -> Share:
        """An equal share for every process.

        Args:
            total: clips of the step.
            world: the processes.
            config: may limit the clips of a pass.
            together: clips that no pass may go beyond, nor lie across; None: there is no such limit.

        Raises:
            UserError: the clips can't be parted like that.
        """
        clips, rest = divmod(total, world.size)
        if rest or not clips:
            raise UserError(f"batch_size {total} can't be shared alike by {world.size} processes")
        limit = together or clips
        micro_batch = min(config.micro_batch or clips, clips, limit)
        if clips % micro_batch or limit % micro_batch:
            bound = f" and the {limit} whose masks have one size" if together else ""
            raise UserError(
                f"passes of {micro_batch} clips (micro_batch) don't part the {clips} of each process{bound} alike"
            )
        return cls(total, world.rank * clips, clips, micro_batch)

    @property
    def passes(self) -> int:
        """How many this process makes in a step."""
        return self.clips // self.micro_batch

    def within(self, part: int) -> slice:
        """The clips of a pass, counted among this process's."""
        return slice(part * self.micro_batch, (part + 1) * self.micro_batch)


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that `torchrun` started, if it started this one; gives the world they make.

    Raises:
        UserError: another one has died or can't be reached any more.
    """
    if not dist.is_torchelastic_launched():
        yield World()
        return
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    else:
        device = torch.device("cpu")
        dist.init_process_group("gloo")
    _GROUPS.append(dist.group.WORLD)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"the processes that train together lost each other, as when one dies: {reason}") from error
        raise
    finally:
        dist.destroy_process_group()


class Spread:
    """An objective (networks and loss) on this machine's device, spread over the processes.

    Args:
        objective: its forward pass gives a loss; it is changed in place, so that its networks stay what they are.
        config: how.
        world: the processes.
        partly_used: whether some weights get no gradient in some steps.

    Attributes:
        call: what to call in place of the objective.
    """

    def __init__(self, objective: nn.Module, config: EngineConfig, world: World, partly_used: bool = False) -> None:
        objective.to(world.device)
        blocks = [module for module in objective.modules() if isinstance(module, Block)]
        for module in objective.modules():
            if isinstance(module, BlockStack):
                module.recompute = config.recompute
        if config.compile:
            # masks of another size each step; torch 2.13 compiles attention on a CPU for the first of them alone
            for block in blocks:
                (block if world.device.type == "cuda" else block.mlp).compile(dynamic=True)
        self._world, self._bf16 = world, config.precision == "bf16"
        self.call: nn.Module = objective
        if world.size > 1 and config.strategy == "fsdp":
            for block in blocks:
                fully_shard(block)
            fully_shard(objective)
        elif world.size > 1:
            places = [world.device] if world.device.type == "cuda" else None
            self.call = DistributedDataParallel(
                objective, device_ids=places, forward_sync_buffers=False, find_unused_parameters=partly_used
            )

    def precision(self) -> AbstractContextManager[Any]:
        """The forward pass belongs in here."""
        # FSDP frees the weights that a cache of casts would hold
        cached = not isinstance(self.call, FSDPModule)
        return torch.autocast(self._world.device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=cached)

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Gradients of the passes of one step: the processes exchange them in the last alone."""
        quiet: AbstractContextManager[Any] = nullcontext()
        if isinstance(self.call, DistributedDataParallel) and not last:
            quiet = self.call.no_sync()
        if isinstance(self.call, FSDPModule):
            self.call.set_requires_gradient_sync(last)
        with quiet:
            yield


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be spread over processes; every one of them has to ask."""
    return tensor.full_tensor() if isinstance(tensor, dist.tensor.DTensor) else tensor


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """All tensors of a network that may be spread, on the CPU; every process has to ask."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in module.state_dict().items()}
