"""How a training runs on its machine: of all this, precision and clipping alone change what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vjepa.config.reading import require

STRATEGIES, PRECISIONS = ("ddp", "fsdp"), ("fp32", "bf16")
LOGGERS = ("dvclive", "tensorboard")


@dataclass
class EngineConfig:
    """Processes, memory and precision of a training."""

    processes: int  # that train together on this machine, each on a GPU if there are any; 0: one for every GPU
    # ddp: each process holds all weights; fsdp: each holds a part of every block's, for models too large for one GPU
    strategy: str
    restarts: int  # times that the processes are started again, from the last checkpoint, when one of them has died
    # clips that a process takes at a time, for steps too large for its memory: their gradients are added up; 0: its
    # whole share of the step, in pretraining within a mask_batch
    micro_batch: int
    precision: str  # fp32, or bf16: products in bfloat16; weights, sums and the optimizer stay in fp32
    clip_norm: float | None  # length to which longer gradients are cut; null: as they are
    compile: bool  # whether torch.compile makes the blocks' kernels: minutes once, then faster; needs a C++ compiler
    recompute: bool  # activation checkpointing: blocks are computed again for the backward pass, which saves memory
    # what keeps the log's rows for watching and comparing, in runs/<stage>: dvclive, tensorboard; empty: nothing does
    loggers: list[str]
    # a number of the log: the state at its highest value is kept beside the last checkpoints; with a - before the name,
    # at its lowest; null: none is
    best: str | None

    def __post_init__(self) -> None:
        require(self.strategy in STRATEGIES, f"strategy must be one of {', '.join(STRATEGIES)}, not {self.strategy!r}")
        require(
            self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
        )
        for logger in self.loggers:
            require(logger in LOGGERS, f"loggers must be of {', '.join(LOGGERS)}, not {logger!r}")
        for name in ("processes", "restarts", "micro_batch"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        require(
            self.clip_norm is None or self.clip_norm > 0, f"clip_norm must be above 0 or null, not {self.clip_norm}"
        )

    @classmethod
    def alone(cls, clip_norm: float | None = None) -> EngineConfig:
        """One process in single precision: for trainings of a minute, where there is nothing to choose."""
        return cls(
            processes=1,
            strategy="ddp",
            restarts=0,
            micro_batch=0,
            precision="fp32",
            clip_norm=clip_norm,
            compile=False,
            recompute=False,
            loggers=[],
            best=None,
        )

    def identity(self) -> dict[str, Any]:
        """What a run can't change on its way."""
        return {"precision": self.precision, "clip_norm": self.clip_norm}
