"""What tells a collapsing run from one that learns: the loss falls in both.

All numbers are of the target encoder's layer-normalised features of a step's clips, and hang on nothing but the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa.config import CollapseConfig
from vjepa.errors import UserError
from vjepa.nn.encoder import MIN_FEATURE_SCALE

RANK_TOKENS = 64
"""Tokens of each clip whose spectrum is taken: its cost grows with their number."""
RIDGE = 0.1
"""Of the read-out, for each clip, in units of the standardised features."""
QUADRANTS = 2
"""Parts of a frame on each side over which latents are averaged before their distances are taken."""
MOVES = 1e-4
"""A state's value that varies less says nothing about features."""


def watch(features: Tensor) -> dict[str, float]:
    """`feature_deviation`, `effective_rank` and `clip_similarity` of a step's features `[B, N, D]`."""
    return {
        "feature_deviation": feature_deviation(features),
        "effective_rank": effective_rank(features[:, :: max(1, features.shape[1] // RANK_TOKENS)]),
        "clip_similarity": clip_similarity(features),
    }


def feature_deviation(features: Tensor) -> float:
    """Standard deviation over tokens, averaged over features (`[B, N, D]`); near 0 when all tokens look alike."""
    return float(features.flatten(0, -2).std(0).mean())


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the centred features' spectrum (`[B, N, D]`): 1 (collapsed) to D."""
    centred = features.flatten(0, -2).float()
    centred = centred - centred.mean(0)
    spectrum = torch.linalg.svdvals(centred)
    share = spectrum / spectrum.sum()
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))


def clip_similarity(features: Tensor) -> float:
    """Cosine between the features of different clips at the same token, averaged (`[B, N, D]`); 1: clips look alike."""
    towards = F.normalize(features.float(), dim=-1)
    clips = len(towards)
    own = towards.sum(0).square().sum(-1)  # of each token, over all pairs of clips, each with itself
    return float(((own - clips) / (clips * max(clips - 1, 1))).mean())


def state_readout(features: Tensor, states: Tensor) -> float:
    """How well a linear map tells the robot's state from a clip's mean feature: R² on the last third of the clips.

    Args:
        features: `[M, D]`.
        states: `[M, S]`, of which one or more values vary; the others are left out.

    Returns:
        1: told exactly; 0: no better than the mean state; below 0: worse.
    """
    known = len(features) * 2 // 3
    x, y = features.double(), states.double()
    y = y[:, varies(states[:known])]
    x, y = ((part - part[:known].mean(0)) / part[:known].std(0).clamp_min(1e-6) for part in (x, y))
    gram = x[:known].T @ x[:known] + RIDGE * known * torch.eye(x.shape[1], dtype=x.dtype)
    guess = x[known:] @ torch.linalg.solve(gram, x[:known].T @ y[:known])
    return float(1 - ((guess - y[known:]).square().sum(0) / y[known:].square().sum(0).clamp_min(1e-12)).mean())


def distance_agreement(latents: Tensor, states: Tensor, grid: Sequence[int]) -> float:
    """Whether frames whose latents are near each other show near states: Spearman's correlation over all pairs.

    A planner goes where the latents come nearest to the goal's, so it is led by just this. Latents are measured as a
    small world model measures them: averaged over the quadrants of the frame, L1, each place and feature by its own
    deviation. Over single tokens random weights agree as well as learned ones, although they plan worse.

    Args:
        latents: of single frames, `[M, N, D]`.
        states: `[M, S]`; values that do not vary are left out, the others count alike.
        grid: rows and columns of a frame's tokens, N = rows * columns.

    Returns:
        1: they are ordered alike; 0: they have nothing to do with each other.
    """
    frames = latents.float().unflatten(1, grid).permute(0, 3, 1, 2)
    quadrants = F.adaptive_avg_pool2d(frames, QUADRANTS).flatten(2).transpose(1, 2)
    found = F.layer_norm(quadrants, quadrants.shape[-1:]).flatten(1)
    found = found / found.std(0).clamp_min(MIN_FEATURE_SCALE)
    known = states[:, varies(states)].double()
    known = known / known.std(0)
    pairs = torch.triu_indices(len(found), len(found), offset=1)
    apart = [torch.cdist(found, found, p=1), torch.cdist(known, known)]
    ranks = [distances[pairs[0], pairs[1]].argsort().argsort().double() for distances in apart]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def varies(states: Tensor) -> Tensor:
    """Which values of the states `[M, S]` change: `bool [S]`."""
    return states.amax(0) - states.amin(0) > MOVES


def require_learning(found: Mapping[str, float], limits: CollapseConfig, step: int) -> None:
    """Stop a run whose features have collapsed.

    Raises:
        UserError: it says which limit was passed, and what usually helps.
    """
    if step < limits.after:
        return
    bounds = {
        "feature_deviation": (limits.min_feature_deviation, float("inf")),
        "effective_rank": (limits.min_effective_rank, float("inf")),
        "clip_similarity": (-float("inf"), limits.max_clip_similarity),
    }
    for name, (low, high) in bounds.items():
        if not low <= found[name] <= high:
            rule = f"below pretrain.collapse.min_{name} {low:g}"
            rule = rule if high == float("inf") else f"above pretrain.collapse.max_{name} {high:g}"
            raise UserError(
                f"the features have collapsed at step {step}: {name} {found[name]:.3g} is {rule}; the loss falls while "
                "nothing is learned: raise pretrain.ema, lower pretrain.learning_rate or give it more varied data"
            )
