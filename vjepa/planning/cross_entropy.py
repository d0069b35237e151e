"""The cross-entropy method over a world model's energy (paper, sec. 3.2): sample, score, select, update.

A plan of several actions is scored by the mean energy of all of its steps. With the energy of the last step alone, a
plan made anew after every action may put off its way to the goal for ever; for one action both are the same.

The elites of a round stand beside the samples of the next (Pinneri et al. 2020, iCEM): with few samples in many
dimensions a round of new ones alone is often worse than what is known already.

Far from the goal the action that lowers the energy most often leads somewhere else: another pose may look more like the
goal without being on the way. There it helps to ask how things look after a longer move. Sequences of free actions have
too many dimensions for that; straight moves have no more than one action, and a world model that was trained on steps
of several lengths foresees them at once. So the planner looks for the straight move that comes nearest first, and
searches freely where one action is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vjepa.errors import UserError
from vjepa.planning.world_model import WorldModel, energy

Energies = Callable[[np.ndarray], np.ndarray]
"""Sequences of proposed actions -> the energy after each of them: `[B, H, P] -> [B, H]`."""
EnergiesOfRepeated = Callable[[np.ndarray, int], np.ndarray]
"""Proposed actions, and how often each is done -> the energy after the last time: `[B, P] -> [B]`."""

TOLERANCE = 1e-9
"""Of the count of actions in a move that is just as long as they may be."""


@dataclass(frozen=True)
class Trace:
    """What the search went through, one entry an iteration.

    Attributes:
        means: `float [I, H, P]`, centre of the elites after the iteration: in m, or in the data's range (-1 to 1). Of a
            straight move H is 1, and it is the whole move.
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
        straight: equal actions that a straight move has at most; 1: no straight moves are looked for.
        straight_samples: candidates an iteration of the search for a straight move.
    """

    horizon: int
    samples: int
    iterations: int
    elites: int
    sigma: float
    max_move: float
    straight: int = 1
    straight_samples: int = 48

    def __post_init__(self) -> None:
        """Refuse settings that can't search."""
        for name in ("horizon", "iterations", "elites", "sigma", "max_move", "straight"):
            if getattr(self, name) <= 0:
                raise UserError(f"the planner's {name} must be above 0, not {getattr(self, name)}")
        for name in ("samples", *(["straight_samples"] if self.straight > 1 else [])):
            if self.elites > getattr(self, name):
                raise UserError(
                    f"the planner's elites ({self.elites}) can't be more than its {name} ({getattr(self, name)})"
                )

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

        def energies(moves: np.ndarray) -> np.ndarray:
            """Of the latents after every action: `[B, H, P] -> [B, H]`."""
            return energy(model.rollout(latents, state, model.actions_of(moves)), goal)

        def energies_of_repeated(moves: np.ndarray, times: int) -> np.ndarray:
            """Of the latents after the same action so many times: `[B, P] -> [B]`."""
            return energy(model.repeat(latents, state, model.actions_of(moves), times), goal)

        moves, trace = self._moves(energies, energies_of_repeated, len(model.planned), rng)
        actions = model.actions_of(moves)
        return Plan(
            action=actions[0],
            actions=actions,
            energy=float(energies(moves[None])[0, -1]),
            start_energy=float(energy(latents[None], goal)[0]),
            trace=trace,
        )

    def _moves(
        self, energies: Energies, energies_of_repeated: EnergiesOfRepeated, axes: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, Trace]:
        """What to do, as actions `[K, P]`, and how it was found: a straight move, or free actions if one is enough."""
        if self.straight > 1:
            moves, trace = self._straight_move(energies_of_repeated, axes, rng)
            if len(moves) > 1:
                return moves, trace
        return self._search(
            lambda samples: energies(samples).mean(axis=1),
            (self.horizon, axes),
            self.sigma,
            self.max_move,
            self.samples,
            rng,
        )

    def _straight_move(
        self, energies_of_repeated: EnergiesOfRepeated, axes: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, Trace]:
        """The straight move that ends nearest to the goal, as equal actions `[K, P]`."""

        def after_the_last(samples: np.ndarray) -> np.ndarray:
            counts = self._actions_in(samples[:, 0])
            found = np.empty(len(samples))
            for count in np.unique(counts):
                alike = np.flatnonzero(counts == count)
                found[alike] = energies_of_repeated(samples[alike, 0] / count, int(count))
            return found

        furthest = self.straight * self.max_move
        sigma = self.straight * self.sigma
        (move,), trace = self._search(after_the_last, (1, axes), sigma, furthest, self.straight_samples, rng)
        count = self._actions_in(move)
        return np.repeat(move[None] / count, count, axis=0), trace

    def _actions_in(self, moves: np.ndarray) -> np.ndarray:
        """The fewest equal actions within bounds that make up straight moves: `[..., P] -> int [...]`."""
        furthest = np.abs(moves).max(axis=-1)
        return np.maximum(1, np.ceil(furthest / self.max_move - TOLERANCE)).astype(int)

    def _search(
        self,
        score: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, int],
        sigma: float,
        furthest: float,
        samples: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, Trace]:
        """The cross-entropy method: where the elites are after the last round, and how it came there."""
        mean, deviation = np.zeros(shape), np.full(shape, sigma)
        elites, elite_scores = np.empty((0, *shape)), np.empty(0)
        means, deviations, scores = [], [], []
        for _ in range(self.iterations):
            drawn = rng.normal(mean, deviation, (samples, *shape)).clip(-furthest, furthest)
            scores.append(score(drawn))
            candidates, of_all = np.concatenate([elites, drawn]), np.concatenate([elite_scores, scores[-1]])
            best = np.argsort(of_all)[: self.elites]
            elites, elite_scores = candidates[best], of_all[best]
            mean, deviation = elites.mean(axis=0), elites.std(axis=0)
            means.append(mean)
            deviations.append(deviation)
        return mean, Trace(np.stack(means), np.stack(deviations), np.stack(scores))
