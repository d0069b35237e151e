"""The cross-entropy method over a world model's energy (paper, sec. 3.2): sample, score, select, update.

A plan of several actions is scored by the mean energy of all of its steps. With the energy of the last step alone, a
plan made anew after every action may put off its way to the goal for ever; for one action both are the same.

The elites of a round stand beside the samples of the next (Pinneri et al. 2020, iCEM): with few samples in many
dimensions a round of new ones alone is often worse than what is known already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vjepa.errors import UserError
from vjepa.planning.world_model import WorldModel, energy


@dataclass(frozen=True)
class Trace:
    """What the search went through, one entry an iteration.

    Attributes:
        means: `float [I, H, P]`, centre of the elites after the iteration: in m, or in the data's range (-1 to 1).
        deviations: `float [I, H, P]`.
        energies: `float [I, samples]`, of the round's new samples.
    """

    means: np.ndarray
    deviations: np.ndarray
    energies: np.ndarray


@dataclass(frozen=True)
class Plan:
    """A planned sequence of actions.

    Attributes:
        action: `float32 [A]`, the first one: what to do now.
        actions: `float32 [H, A]`, all of them.
        energy: of the latents that the world model expects after the last one.
        start_energy: of the frame in view; a plan that helps has a lower one.
        trace: how the search went.
    """

    action: np.ndarray
    actions: np.ndarray
    energy: float
    start_energy: float
    trace: Trace


@dataclass(frozen=True)
class CrossEntropyPlanner:
    """Searches the actions after which the world model expects to be nearest to the goal's latents.

    Attributes:
        horizon: actions planned ahead.
        samples: candidates an iteration.
        iterations: rounds of sampling.
        elites: candidates with the lowest energy, to which the next round moves and which stay in it.
        sigma: standard deviation of the first round: in m, or, where actions are no displacements in m, as a share of
            half the range that the data have.
        max_move: largest displacement of an action on each axis, in the same unit.
    """

    horizon: int
    samples: int
    iterations: int
    elites: int
    sigma: float
    max_move: float

    def __post_init__(self) -> None:
        """Refuse settings that can't search."""
        for name in ("horizon", "iterations", "elites", "sigma", "max_move"):
            if getattr(self, name) <= 0:
                raise UserError(f"the planner's {name} must be above 0, not {getattr(self, name)}")
        if self.elites > self.samples:
            raise UserError(f"the planner's elites ({self.elites}) can't be more than its samples ({self.samples})")

    def plan(
        self, model: WorldModel, frame: np.ndarray, state: np.ndarray, goal: np.ndarray, seed: int | Sequence[int]
    ) -> Plan:
        """Plan from one frame; the same inputs and seed give the same plan.

        Args:
            model: the world model.
            frame: `uint8 [H, W, 3]`, what the camera shows.
            state: `float32 [S]`, the robot's state.
            goal: `float32 [N, D]`, latents of the goal image.
            seed: of the sampling.
        """
        rng = np.random.default_rng(seed)
        latents = model.encode(frame[None])[0]
        mean = np.zeros((self.horizon, len(model.planned)))
        deviation = np.full_like(mean, self.sigma)
        elites, elite_energies = np.empty((0, *mean.shape)), np.empty(0)
        means, deviations, energies = [], [], []
        for _ in range(self.iterations):
            samples = rng.normal(mean, deviation, (self.samples, *mean.shape)).clip(-self.max_move, self.max_move)
            energies.append(energy(model.rollout(latents, state, model.actions_of(samples)), goal).mean(axis=1))
            candidates, scores = np.concatenate([elites, samples]), np.concatenate([elite_energies, energies[-1]])
            best = np.argsort(scores)[: self.elites]
            elites, elite_energies = candidates[best], scores[best]
            mean, deviation = elites.mean(axis=0), elites.std(axis=0)
            means.append(mean)
            deviations.append(deviation)
        actions = model.actions_of(mean)
        return Plan(
            action=actions[0],
            actions=actions,
            energy=float(energy(model.rollout(latents, state, actions[None]), goal)[0, -1]),
            start_energy=float(energy(latents[None], goal)[0]),
            trace=Trace(np.stack(means), np.stack(deviations), np.stack(energies)),
        )
