"""Settings of the way to a robot: export and planning."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa.config.data import Variation
from vjepa.config.reading import require, require_counts


@dataclass
class ExportConfig:
    """torch -> ONNX."""

    opset: int
    parity_samples: int  # held-out frames on which both are compared
    max_abs_error: float  # a larger difference between torch and ONNX Runtime is an error


@dataclass
class PlannerConfig:
    """Cross-entropy method over the energy (paper, sec. 3.2)."""

    horizon: int
    samples: int
    iterations: int
    elites: int
    # Of actions that are displacements in m: in m. Of others: 1 is half the range that the data have.
    sigma: float  # standard deviation of the first samples
    max_move: float  # largest displacement of an action on each axis
    straight: int  # equal actions of a straight move, for goals that one action doesn't reach; 1: no straight moves
    straight_samples: int


@dataclass
class ClosedLoopTask:
    """One closed-loop benchmark: episodes on seeds that no training data use."""

    task: str  # Meta-World task
    episodes: int
    goal_light: list[float]  # the goal image is shown as first x pixel + second; [1, 0] leaves it alone
    variation: Variation  # how much scenes differ from Meta-World's; the goal image never shows a distractor

    def __post_init__(self) -> None:
        require_counts(self, "episodes")
        require(len(self.goal_light) == 2, "goal_light needs two numbers: a factor and an offset in grey levels")


@dataclass
class PlanConfig:
    """Planning from the ONNX bundle alone: offline on held-out episodes and in closed loop."""

    planner: PlannerConfig
    offline_steps: int  # held-out steps whose action is looked for
    offline_random: int  # random actions among which the true one is ranked
    actions: int  # actions in a closed-loop episode
    first_seed: int  # seeds of closed-loop episodes count up from here
    # name in the metrics -> benchmark; empty or null: offline only, on any robot's data
    closed_loop: dict[str, ClosedLoopTask]
    workers: int

    def __post_init__(self) -> None:
        require_counts(self, "offline_steps", "offline_random", "actions", "workers")
