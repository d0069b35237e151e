"""Planning on recorded steps, where the true action is known: no robot, no simulator."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from vjepa.errors import UserError
from vjepa.planning.cross_entropy import CrossEntropyPlanner
from vjepa.planning.world_model import WorldModel, energy

MIN_MOVE_M = 0.02
"""Steps that move less are not asked about: their two frames hardly show which way. Of actions that are no
displacements in m, the half that moves less is left out."""
GRID = 21
"""Displacements on each axis of the energy landscape."""


@dataclass(frozen=True)
class OfflineStep:
    """One step of a recorded episode; the later frame is the goal.

    Attributes:
        key: of the episode.
        number: of the step in it.
        frame: `uint8 [H, W, 3]`.
        state: `float32 [S]`.
        next_frame: `uint8 [H, W, 3]`.
        action: `float32 [A]`, what really happened between the two.
    """

    key: str
    number: int
    frame: np.ndarray
    state: np.ndarray
    next_frame: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class OfflineOutcome:
    """How well the action of one step was found.

    Attributes:
        true_action_rank: share of random actions with a lower energy than the true one: 0 is best, 0.5 is chance.
        direction_error_deg: angle between the planned and the true displacement, in the planner's units.
        direction_error_deg_random: the same for random actions, their mean.
        action_error_cm: distance between the planned and the true displacement; None where these are no lengths.
        action_error_cm_still: length of the true displacement, which is the error of planning to stay.
    """

    true_action_rank: float
    direction_error_deg: float
    direction_error_deg_random: float
    action_error_cm: float | None
    action_error_cm_still: float | None


def offline_values(found: Sequence[OfflineOutcome]) -> dict[str, np.ndarray]:
    """One value a step for every metric that was measured."""
    measured = [name for name, value in asdict(found[0]).items() if value is not None]
    return {name: np.array([getattr(outcome, name) for outcome in found]) for name in measured}


def choose_steps(steps: Iterable[OfflineStep], model: WorldModel, count: int, seed: int) -> list[OfflineStep]:
    """Draw up to `count` of the steps whose planned columns move enough to be seen.

    Raises:
        UserError: there is none.
    """
    found = list(steps)
    lengths = np.array([np.linalg.norm(model.proposal_of(step.action)) for step in found], np.float32)
    least = np.float32(MIN_MOVE_M) if model.bundle.in_metres or not found else np.median(lengths)
    clear = [step for step, length in zip(found, lengths, strict=True) if length >= least]
    if not clear:
        raise UserError(f"no held-out step moves the hand by {MIN_MOVE_M} m, so there is no action to look for")
    return [clear[i] for i in np.random.default_rng(seed).permutation(len(clear))[:count]]


def angles_deg(moves: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles between displacements `[B, P]` and one `[P]`; no displacement at all counts as 90 degrees."""
    lengths = np.linalg.norm(moves, axis=-1) * np.linalg.norm(true)
    cosines = np.divide(moves @ true, lengths, out=np.zeros(len(moves)), where=lengths > 0)
    return np.degrees(np.arccos(cosines.clip(-1, 1)))


def evaluate_step(
    model: WorldModel, step: OfflineStep, planner: CrossEntropyPlanner, random_actions: int, seed: int
) -> OfflineOutcome:
    """Look for the action between two recorded frames.

    The random actions fill the bundle's bounds of actions and share the columns that are not planned with the true
    action, so that the rank is about the displacement alone. The plan is one action, however far the planner looks: the
    goal is one step away.
    """
    draw = (seed, zlib.crc32(step.key.encode()), step.number)  # each step has random actions of its own
    rng = np.random.default_rng((*draw, 1))
    bundle, planned = model.bundle, model.planned
    latents, goal = model.encode(np.stack([step.frame, step.next_frame]))
    candidates = np.repeat(step.action[None, None], random_actions + 1, axis=0)
    random_moves = rng.uniform(bundle.action_low[planned], bundle.action_high[planned], (random_actions, len(planned)))
    candidates[1:, 0, planned] = random_moves
    random_moves = (random_moves - model.center) / model.reach
    energies = energy(model.rollout(latents, step.state, candidates), goal)[:, 0]
    true_energy, others = energies[0], energies[1:]
    true_move = model.proposal_of(step.action)
    move = model.proposal_of(
        replace(planner, horizon=1, straight=1).plan(model, step.frame, step.state, goal, draw).action
    )
    return OfflineOutcome(
        # Ties count half, so that a model that ignores actions ranks at chance.
        true_action_rank=float((others < true_energy).mean() + 0.5 * (others == true_energy).mean()),
        direction_error_deg=float(angles_deg(move[None], true_move)[0]),
        direction_error_deg_random=float(angles_deg(random_moves, true_move).mean()),
        action_error_cm=float(np.linalg.norm(move - true_move)) * 100 if bundle.in_metres else None,
        action_error_cm_still=float(np.linalg.norm(true_move)) * 100 if bundle.in_metres else None,
    )


def energy_landscape(model: WorldModel, steps: Sequence[OfflineStep], max_move: float) -> dict[str, np.ndarray]:
    """Energy over displacements on the first two planned axes around the step that moves furthest on them.

    The step is chosen for its length among those inside the planner's box, never for how well it is solved. Its other
    columns keep the true action's values.

    Returns:
        `offsets_m` `float32 [G]`, `energy` `float32 [G, G]` (first axis along the rows), `true_action` `float32 [A]`,
        `start` and `goal` `uint8 [H, W, 3]`, and the episode's `key`.
    """
    axes = model.planned[:2]
    inside = [step for step in steps if (np.abs(step.action[axes]) <= max_move).all()]
    step = max(inside or steps, key=lambda step: float(np.linalg.norm(step.action[axes])))
    latents, goal = model.encode(np.stack([step.frame, step.next_frame]))
    offsets = np.linspace(-max_move, max_move, GRID)
    grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
    actions = np.repeat(step.action[None, None], len(grid), axis=0)
    actions[:, 0, axes] = grid
    energies = energy(model.rollout(latents, step.state, actions), goal)[:, 0]
    return {
        "offsets_m": offsets.astype(np.float32),
        "energy": energies.reshape(GRID, GRID).astype(np.float32),
        "true_action": step.action,
        "start": step.frame,
        "goal": step.next_frame,
        "key": np.array(step.key),
    }
