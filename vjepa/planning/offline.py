"""Planning on recorded steps, where the true action is known: no robot, no simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vjepa.planning.cross_entropy import CrossEntropyPlanner
from vjepa.planning.world_model import WorldModel, energy


@dataclass(frozen=True)
class OfflineStep:
    """One step of a recorded episode; the later frame is the goal.

    Attributes:
        frame: `uint8 [H, W, 3]`.
        state: `float32 [S]`.
        next_frame: `uint8 [H, W, 3]`.
        action: `float32 [A]`, what really happened between the two.
    """

    frame: np.ndarray
    state: np.ndarray
    next_frame: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class OfflineOutcome:
    """How well the action of one step was found.

    Attributes:
        true_action_rank: share of random actions with a lower energy than the true one: 0 is best, 0.5 is chance.
        direction_error_deg: angle between the planned and the true displacement.
        direction_error_deg_random: the same for random actions, their mean.
        action_error_m: distance between the planned and the true displacement.
        action_error_m_still: length of the true displacement, which is the error of planning to stay.
    """

    true_action_rank: float
    direction_error_deg: float
    direction_error_deg_random: float
    action_error_m: float
    action_error_m_still: float


def angles_deg(moves: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles between displacements `[B, P]` and one `[P]`; no displacement at all counts as 90 degrees."""
    lengths = np.linalg.norm(moves, axis=-1) * np.linalg.norm(true)
    cosines = np.divide(moves @ true, lengths, out=np.zeros(len(moves)), where=lengths > 0)
    return np.degrees(np.arccos(cosines.clip(-1, 1)))


def evaluate_step(
    model: WorldModel, planner: CrossEntropyPlanner, step: OfflineStep, random_actions: int, seed: int
) -> OfflineOutcome:
    """Look for the action between two recorded frames.

    The random actions fill the bundle's bounds of actions and share the columns that are not planned with the true
    action, so that the rank is about the displacement alone. The plan is one action, whatever the planner's horizon:
    the goal is one step away.
    """
    rng = np.random.default_rng((seed, 1))
    bundle, planned = model.bundle, model.planned
    latents, goal = model.encode(np.stack([step.frame, step.next_frame]))
    candidates = np.repeat(step.action[None, None], random_actions + 1, axis=0)
    random_moves = rng.uniform(bundle.action_low[planned], bundle.action_high[planned], (random_actions, len(planned)))
    candidates[1:, 0, planned] = random_moves
    energies = energy(model.rollout(latents, step.state, candidates), goal)
    true_energy, others = energies[0], energies[1:]
    true_move = step.action[planned].astype(np.float64)
    move = replace(planner, horizon=1).plan(model, step.frame, step.state, goal, seed).action[planned]
    return OfflineOutcome(
        # Ties count half, so that a model that ignores actions ranks at chance.
        true_action_rank=float((others < true_energy).mean() + 0.5 * (others == true_energy).mean()),
        direction_error_deg=float(angles_deg(move[None], true_move)[0]),
        direction_error_deg_random=float(angles_deg(random_moves, true_move).mean()),
        action_error_m=float(np.linalg.norm(move - true_move)),
        action_error_m_still=float(np.linalg.norm(true_move)),
    )


def energy_landscape(model: WorldModel, step: OfflineStep, offsets: np.ndarray) -> np.ndarray:
    """Energy over displacements on the first two planned axes, the true action elsewhere.

    Args:
        model: the world model.
        step: the recorded step.
        offsets: `float [G]`, displacements on each axis, in m.

    Returns:
        `float32 [G, G]`, the first axis along the rows.
    """
    latents, goal = model.encode(np.stack([step.frame, step.next_frame]))
    first, second = np.meshgrid(offsets, offsets, indexing="ij")
    actions = np.repeat(step.action[None, None], first.size, axis=0)
    actions[:, 0, model.planned[0]] = first.ravel()
    actions[:, 0, model.planned[1]] = second.ravel()
    return energy(model.rollout(latents, step.state, actions), goal).reshape(first.shape).astype(np.float32)
