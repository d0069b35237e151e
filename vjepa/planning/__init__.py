"""Planning from an exported world model, with numpy and onnxruntime alone: this package never imports torch.

    model = WorldModel(Bundle.open("models/onnx"))
    goal = model.encode(goal_image[None])[0]
    planner = CrossEntropyPlanner(horizon=1, samples=96, iterations=4, elites=10, sigma=0.05, max_move=0.075)
    plan = planner.plan(model, image, state, goal, seed=0)
    robot.move_by(plan.action)

`image` is the camera's RGB frame, `uint8 [H, W, 3]` of any size; `state` and `plan.action` are what `bundle.json`
names, in its units. `plan_episode` closes the loop over an environment with gymnasium's `reset` and `step`.
"""

from vjepa.planning.bundle import Bundle
from vjepa.planning.closed_loop import (
    Environment,
    Policy,
    Recording,
    Scene,
    plan_episode,
    planning_policy,
    random_policy,
    run_episode,
    still_policy,
)
from vjepa.planning.cross_entropy import CrossEntropyPlanner, Plan, Trace
from vjepa.planning.offline import OfflineOutcome, OfflineStep, evaluate_step
from vjepa.planning.world_model import WorldModel, energy

__all__ = [
    "Bundle",
    "CrossEntropyPlanner",
    "Environment",
    "OfflineOutcome",
    "OfflineStep",
    "Plan",
    "Policy",
    "Recording",
    "Scene",
    "Trace",
    "WorldModel",
    "energy",
    "evaluate_step",
    "plan_episode",
    "planning_policy",
    "random_policy",
    "run_episode",
    "still_policy",
]
