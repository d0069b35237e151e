"""What was found in all episodes of a data set: from the journal where it knows them, examined where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.examination import Examined, Outcome
from vjepa.data.fanout import Work, examine_all
from vjepa.data.journal import Journal
from vjepa.data.raw import Source
from vjepa.data.records import read_payload
from vjepa.data.sources import open_source
from vjepa.errors import DataError

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass
class Findings:
    """The outcomes of a data set, light, and where the rest of them is.

    Attributes:
        dataset: the open data set.
        work: how it was examined.
        journal: keeps what was found.
        paths: the journal's file of each entry of the index.
        outcomes: what became of each entry.
        remembered: entries that the journal knew from a run before.
    """

    dataset: Source
    work: Work
    journal: Journal
    paths: list[Path]
    outcomes: list[Outcome]
    remembered: int

    def places(self) -> dict[str, tuple[int, int]]:
        """Where the episodes that can be used are: entry and part, by key."""
        return {
            part.row["key"]: (place, number)
            for place, outcome in enumerate(self.outcomes)
            for number, part in enumerate(outcome.parts)
            if isinstance(part, Examined)
        }

    def payload(self, place: int, number: int) -> bytes:
        """Of the part of that number of an entry: tar blocks, or the pictures of what is left out.

        What the disk has damaged meanwhile is examined again.

        Raises:
            DataError: the raw data have changed since this run began.
        """
        path = self.paths[place]
        payload = read_payload(path, number)
        if payload is None and self.journal.path(self.dataset.episodes[place]) == path:
            here = replace(self.work, config=replace(self.work.config, ray=None))
            for _, outcome in examine_all(self.dataset, here, [place], 1):
                self.journal.write(path, outcome)
                payload = read_payload(path, number) if content(outcome) == content(self.outcomes[place]) else None
        if payload is None:
            raise DataError(f"{self.work.raw} was changed while it was curated (episode {place}): run it again")
        return payload


def content(outcome: Outcome) -> list[str]:
    """What tells an outcome from another of the same entry."""
    return [part.row["content_sha256"] if isinstance(part, Examined) else part.reason for part in outcome.parts]


def look_through(
    raw: Path, source: SourceConfig, config: CurateConfig, folder: Path, workers: int, progress: Progress, what: str
) -> Findings:
    """Examine the episodes of a data set that the journal does not know.

    Args:
        raw: the data set's folder.
        source: how it is read.
        config: what to take and what to leave out.
        folder: of the journal.
        workers: processes, where no Ray cluster is named.
        progress: told at the start and after each episode.
        what: the name of this work, for `progress`.

    Raises:
        DataError: the data set is missing, empty or lacks what the settings name.
    """
    dataset = open_source(raw, source, config.fps)
    journal, work = Journal(folder, dataset, source, config), Work(raw.absolute(), source, config)
    paths = [journal.path(entry) for entry in dataset.episodes]
    found: dict[int, Outcome] = {}
    for place, (path, entry) in enumerate(zip(paths, dataset.episodes, strict=True)):
        if (outcome := journal.recall(path, entry.index)) is not None:
            found[place] = outcome
    remembered = len(found)
    progress(what, remembered, len(paths))
    new = [place for place in range(len(paths)) if place not in found]
    for place, outcome in examine_all(dataset, work, new, workers):
        journal.write(paths[place], outcome)
        found[place] = outcome.light()
        progress(what, len(found), len(paths))
    return Findings(dataset, work, journal, paths, [found[place] for place in range(len(paths))], remembered)
