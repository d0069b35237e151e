"""Starts the processes that train together on this machine, by torch's elastic agent, which is what `torchrun` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from vjepa.config import EngineConfig
from vjepa.errors import UserError

WATCH_S = 0.2


def launched(module: str, engine: EngineConfig, arguments: Sequence[str] = ()) -> bool:
    """Run a module in the processes that the settings ask for, and wait for them.

    When one of them dies, the others are ended, and all are started again as often as `engine.restarts` says; they go
    on from the last checkpoint.

    Args:
        module: its name, as for `python -m`.
        engine: how many, and how often they are started again.
        arguments: of each process.

    Returns:
        Whether it ran there; False: this process is the only one, or one of them, and has to run it.

    Raises:
        UserError: one of them died once too often; it has said why.
    """
    processes = engine.processes or max(torch.cuda.device_count(), 1)
    if processes == 1 or dist.is_torchelastic_launched():
        return False
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    # with the agent's own store, processes that are started again find the addresses of the dead (pytorch#135712)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=engine.restarts,
        monitor_interval=WATCH_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"was ended by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with code {failure.exitcode}"
        raise UserError(f"process {rank} of {processes} {how}; start it again to go on") from error
    return True
