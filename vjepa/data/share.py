"""A part of the episodes, chosen so that a smaller part lies within every larger one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def first_by_hash(keys: Sequence[str], share: float) -> list[int]:
    """The places, ascending, of a share of the episodes: those whose keys have the smallest hashes, at least one.

    Args:
        keys: of the episodes, each once.
        share: above 0 and at most 1: all of them.
    """
    ranked = sorted(range(len(keys)), key=lambda place: hashlib.sha256(keys[place].encode()).digest())
    return sorted(ranked[: math.ceil(share * len(keys))])
