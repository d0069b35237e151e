"""Balance of the training episodes: of what there is plenty, only some are used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vjepa.data.examination import Examined, Rejected
from vjepa.data.shards import BALANCE


@dataclass(frozen=True)
class Group:
    """Training episodes that have something in common.

    Attributes:
        name: what they have in common, e.g. `its task`.
        members: the episodes.
        limit: how many of them are used at most.
        matches: for clusters that were matched with targets: how many of these are nearest to it.
    """

    name: str
    members: list[Examined]
    limit: int
    matches: int | None = None


def by_hash(episode: Examined) -> tuple[str, str]:
    """An order of episodes that does not change when others are added or numbers are given anew."""
    return episode.fingerprint, episode.row["key"]


def tasks_of(training: Sequence[Examined], limit: int) -> list[Group]:
    """The episodes of each task, of which `limit` are used."""
    tasks: dict[str, list[Examined]] = defaultdict(list)
    for episode in training:
        tasks[episode.row["task"]].append(episode)
    return [Group("its task", members, limit) for members in tasks.values()]


def balance(episodes: Sequence[Examined], groups: Iterable[Group]) -> tuple[list[Examined], list[Rejected]]:
    """No more of each group than its limit; what is in no group is all used, e.g. what is held out.

    Those with the smallest hashes are used, so that adding episodes exchanges a few of them and leaves the rest.

    Returns:
        The episodes that are used, and the others, each in the order in which they come.
    """
    surplus: dict[str, str] = {}
    for group in groups:
        rest = f"the {group.limit} with the smallest hashes are used" if group.limit else "none is used"
        reason = f"balance: {group.name} has {len(group.members)} training episodes, {rest}"
        surplus |= {member.row["key"]: reason for member in sorted(group.members, key=by_hash)[group.limit :]}
    kept = [episode for episode in episodes if episode.row["key"] not in surplus]
    left_out = [
        Rejected(episode.row["episode_index"], episode.file, BALANCE, surplus[episode.row["key"]])
        for episode in episodes
        if episode.row["key"] in surplus
    ]
    return kept, left_out
