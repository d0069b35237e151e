"""Simulated robots behind gymnasium's interface: they make episodes and serve as closed-loop benchmark.

One arm so far, Meta-World's Sawyer over MuJoCo (50 tasks with scripted experts). Training draws scenes from seeds below
`BENCHMARK_FIRST_SEED`, benchmarks from there on, so that no scene is seen in both.
"""

from vjepa.sim.arm import BENCHMARK_FIRST_SEED, Goal, SimulatedArm, expert_goal, make_env

__all__ = ["BENCHMARK_FIRST_SEED", "Goal", "SimulatedArm", "expert_goal", "make_env"]
