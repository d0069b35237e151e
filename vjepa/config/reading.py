"""Reading settings strictly, and the rules that several sections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vjepa.errors import UserError

T = TypeVar("T")


def read_config(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Turn `values` into the dataclass `cls`; `where` names their place in messages, e.g. `params.yaml: pretrain`.

    Entries by name may be null for none: merging an empty section over one that has some would leave them.

    Raises:
        UserError: a key is unknown, missing, of the wrong type or out of its range; the message names it.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a section with keys, not {values!r}")
    by_name = [name for name, hint in get_type_hints(cls).items() if get_origin(hint) is dict]
    values = {name: {} if value is None and name in by_name else value for name, value in values.items()}
    try:
        config = OmegaConf.merge(OmegaConf.structured(cls), values)
        missing = OmegaConf.missing_keys(config)
        if missing:
            raise UserError(f"{where}: the key {sorted(missing)[0]!r} is missing")
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        key = getattr(error, "full_key", None)
        raise UserError(f"{where}: the key {key!r} can't be used: {reason}") from error
    except ValueError as error:  # of a section's own checks
        raise UserError(f"{where}: {error}") from error


def require(holds: bool, rule: str) -> None:
    """Refuse settings that break a rule, in words that name the key."""
    if not holds:
        raise ValueError(rule)


def require_counts(config: Any, *names: str) -> None:
    """Refuse counts below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{name} must be 1 or more, not {getattr(config, name)}")


def require_range(values: list[float], name: str) -> None:
    """Refuse what is not the lowest and the highest of a range above 0."""
    require(len(values) == 2 and 0 < values[0] <= values[1], f"{name} needs two numbers above 0, the lower first")


def require_share(share: float) -> None:
    """Refuse a share of the episodes that is none of them, or more than there are."""
    require(0 < share <= 1, f"episodes_share must be above 0 and 1 at most, not {share}")


def require_heads(width: int, heads: int, names: str, of: str) -> None:
    """Refuse widths that can't be shared among the heads: 3D RoPE needs six channels in each, an even number."""
    fits = width % heads == 0 and width // heads >= 6 and width // heads % 2 == 0
    require(fits, f"{names} {width} can't be shared by {of} {heads}: each needs 6 or more, an even number")


def require_schedule(steps: int, warmup: int, cooldown: int, least: int = 1) -> None:
    """Refuse a learning rate's phases that are longer than the run, and runs of fewer than `least` steps."""
    require(steps >= least, f"steps must be {least} or more, not {steps}")
    require(warmup + cooldown <= steps, f"warmup {warmup} and cooldown {cooldown} exceed the {steps} steps")
