"""The tensors that a run's state consists of, each under a name that holds however the networks are spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vjepa.training.storage import read_names, read_tensors

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter."""


class RunState:
    """Networks and their optimizer.

    torch's own names for an optimizer's state (`get_optimizer_state_dict`) are not used: to make the state it takes a
    step of the optimizer, and it refuses a parameter that had no gradient yet.

    Args:
        modules: every network whose tensors belong to the state, by name.
        objective: holds the parameters that learn; gives them their names.
        optimizer: over them, AdamW.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], objective: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self.modules, self.optimizer = modules, optimizer
        names = {parameter: name for name, parameter in objective.named_parameters()}
        self._learned = {names[p]: p for group in optimizer.param_groups for p in group["params"]}

    def tensors(self) -> dict[str, Tensor]:
        """All of them; an optimizer's are there from a parameter's first gradient on."""
        return self._weights() | {
            f"optimizer.{name}.{moment}": tensor
            for name, parameter in self._learned.items()
            for moment, tensor in self.optimizer.state.get(parameter, {}).items()
        }

    def read(self, path: Path, group: dist.ProcessGroup | None) -> None:
        """Fill the networks and the optimizer from a checkpoint; all processes of the group have to call it.

        Raises:
            UserError: it does not fit.
        """
        saved = read_names(path)
        state: dict[int, dict[str, Tensor]] = {}
        tensors = self._weights()
        for number, (name, parameter) in enumerate(self._learned.items()):
            for moment in MOMENTS:
                if (full := f"optimizer.{name}.{moment}") in saved:
                    tensors[full] = torch.zeros(()) if moment == "step" else torch.zeros_like(parameter)
                    state.setdefault(number, {})[moment] = tensors[full]
        read_tensors(path, tensors, group)
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": tensor
            for name, module in self.modules.items()
            for key, tensor in module.state_dict().items()
        }
