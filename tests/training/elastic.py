"""One of the processes of `test_together.py` that train under torch's elastic agent; the second one dies once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from tests.training.together import posttraining, train
from vjepa.posttraining.posttrain import Posttraining
from vjepa.training.loop import StepResult
from vjepa.training.parallel import World

DIES_AT = 30


def dying(folder: Path, world: World, engine: dict[str, object]) -> Posttraining:
    """A post-training whose second process is killed, the first time that it comes to a step."""
    training = posttraining(folder, world, engine)
    take_step = training.take_step

    def take(step: int, part: int) -> StepResult:
        if step == DIES_AT and world.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return take_step(step, part)

    training.take_step = take  # type: ignore[method-assign]
    return training


if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.save(train(dying, out / "run", {}), out / f"{os.environ['RANK']}.pt")
