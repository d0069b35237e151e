"""Tensors of a file against those that a network has: exact, or every difference is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from vjepa.errors import UserError

WEIGHTS = (torch.float32, torch.float16, torch.bfloat16)
"""What the weights of a network may be kept in: reading widens them to float32, and must not round or reinterpret."""


def require_match(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, ignore: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The tensors of `found` that `wanted` has.

    Args:
        found: what a file holds.
        wanted: what the network has, under the same names.
        where: the file, for the message.
        ignore: names, or patterns with `*`, of tensors that may be left over.

    Raises:
        UserError: tensors are missing, left over, of another shape or no floating-point numbers of 16 or 32 bits; all
            of them are named.
    """
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is unexpected" for name in found if name not in wanted and not ignored(name, ignore)]
    wrong += [
        f"{name} has shape {list(found[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    wrong += [
        f"{name} holds {str(found[name].dtype).removeprefix('torch.')}, no weights"
        for name in wanted
        if name in found and found[name].dtype not in WEIGHTS
    ]
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}")
    return {name: found[name] for name in wanted}


def shapes_of(build: Callable[[], Mapping[str, Tensor]], config: Path, kind: str) -> Mapping[str, Tensor]:
    """The tensors that `build` makes, as shapes alone: a size that a file only states takes no memory.

    Args:
        build: gives a network's tensors.
        config: the file that states its sizes, for the message.
        kind: what it should describe.

    Raises:
        UserError: the sizes don't go together, or overflow.
    """
    try:
        with torch.device("meta"):
            return build()
    except (ValueError, RuntimeError) as error:  # the latter where a size overflows
        raise UserError(f"{config} describes no {kind}: {error}") from error


def ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is, or fits, one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
