"""Balance by what an encoder sees: clusters of the training episodes, and how many of each are used.

`cluster` uses as many of each. `retrieval` follows the curation of YT1B (V-JEPA 2, sec. 2 and its appendix on data):
clusters to which no clip of the target videos is nearest are left out, the others are used in proportion to the clips
that are nearest to them. Left out of the paper's procedure: several target sets, each with a weight of its own; drawing
from a cluster in proportion to its weight throughout training, a small one's scenes again and again (here a cluster
gives what it has, once); and clusters by the million (here k-means in one process, all features in memory).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vjepa.config import CurateConfig
from vjepa.data.balance import Group, by_hash
from vjepa.data.clusters import k_means, nearest, shares
from vjepa.data.examination import Examined, Rejected
from vjepa.data.features import Features
from vjepa.data.findings import Findings, Progress, look_through
from vjepa.data.records import forget_others
from vjepa.data.video_folder import VIDEO_ALONE
from vjepa.errors import DataError


class Retrieval:
    """Parts training episodes into clusters; with `balance: retrieval` it has target videos to match them with.

    These are examined as episodes of a video folder are: every shot of at most 10 s is a clip.

    Args:
        config: with an encoder, and targets where they are wanted.
        folder: keeps features, and what was found in the targets.
        workers: processes that examine the targets.
        progress: told what is being done, how much of it, and how much there is.

    Raises:
        UserError: the encoder can't be opened.
        DataError: there are no targets that can be used.
    """

    def __init__(self, config: CurateConfig, folder: Path, workers: int, progress: Progress) -> None:
        assert config.encoder is not None
        self.config, self.progress = config, progress
        self.features = Features(Path(config.encoder), folder / "features")
        self.targets: np.ndarray | None = None
        if config.balance == "retrieval":
            assert config.targets is not None
            try:
                found = look_through(
                    Path(config.targets), VIDEO_ALONE, config, folder / "targets", workers, progress, "targets"
                )
                self.targets = self.encoded(found, usable(found), "encode targets")
            except DataError as error:
                raise DataError(f"curate.targets: {error}") from error
            forget_others(folder / "targets", set(found.paths))

    def encoded(self, found: Findings, episodes: list[Examined], what: str) -> np.ndarray:
        """The features `float32 [N, D]` of some of the episodes of a data set."""
        places = found.places()
        return self.features.of(
            episodes,
            lambda episode: found.payload(*places[episode.row["key"]]),
            lambda done, total: self.progress(what, done, total),
        )

    def clusters(self, found: Findings, training: list[Examined]) -> list[Group]:
        """The clusters of the training episodes among the findings, the largest first."""
        ordered = sorted(training, key=by_hash)  # so that numbers given anew change nothing
        centres, labels = k_means(self.encoded(found, ordered, "encode"), self.config.clusters)
        forget_others(self.features.folder, self.features.used)
        members = [[ordered[place] for place in np.flatnonzero(labels == number)] for number in range(len(centres))]
        names = [f"its cluster, number {number} of {len(centres)}," for number in range(1, len(centres) + 1)]
        limit = self.config.balance_limit
        if self.targets is None:
            return [Group(name, episodes, limit) for name, episodes in zip(names, members, strict=True)]
        matches = np.bincount(nearest(self.targets, centres), minlength=len(centres))
        return [
            Group(f"{name} nearest to {count} of {len(self.targets)} target clips,", episodes, share, count)
            for name, episodes, share, count in zip(
                names, members, shares(matches, limit).tolist(), matches.tolist(), strict=True
            )
        ]


def usable(found: Findings) -> list[Examined]:
    """The target clips that can be used.

    Raises:
        DataError: there is none.
    """
    parts = [part for outcome in found.outcomes for part in outcome.parts]
    clips = [part for part in parts if isinstance(part, Examined)]
    if not clips:
        first = next(part for part in parts if isinstance(part, Rejected))
        raise DataError(f"none of {len(parts)} clips can be used; the first, {first.file}, since {first.reason}")
    return clips
