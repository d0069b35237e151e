"""Balance of the training episodes: of what there is plenty, only some are used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vjepa.data.examination import Examined, Rejected
from vjepa.data.shards import BALANCE


def balance_tasks(episodes: Sequence[Examined], limit: int) -> tuple[list[Examined], list[Rejected]]:
    """At most `limit` training episodes of each task; held-out ones are all kept.

    Those with the smallest hashes are used, so that adding episodes exchanges a few of them and leaves the rest.

    Returns:
        The episodes that are used, and the others, each in the order in which they come.
    """
    tasks: dict[str, list[Examined]] = defaultdict(list)
    for episode in episodes:
        if episode.row["split"] == "train":
            tasks[episode.row["task"]].append(episode)
    surplus: dict[str, int] = {}
    for members in tasks.values():
        ordered = sorted(members, key=lambda member: (member.fingerprint, member.row["key"]))
        surplus |= {member.row["key"]: len(members) for member in ordered[limit:]}
    kept = [episode for episode in episodes if episode.row["key"] not in surplus]
    left_out = []
    for episode in episodes:
        if episode.row["key"] in surplus:
            count = surplus[episode.row["key"]]
            reason = f"balance: its task has {count} training episodes, the {limit} with the smallest hashes are used"
            left_out.append(Rejected(episode.row["episode_index"], episode.file, BALANCE, reason))
    return kept, left_out
