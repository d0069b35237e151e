"""What was found in each episode, kept between runs: a killed curation continues, a later one examines what is new.

A file stands for one entry of the index and is named by everything that its content hangs on. It is a record
(`vjepa.data.records`) that says what was found; its bytes are the tar blocks of each part that can be used and the
pictures of each that can't.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.code_version import code_version
from vjepa.data.examination import NO_PICTURES, Examined, Outcome, Rejected
from vjepa.data.raw import Source, facts_in_words
from vjepa.data.records import read_about, read_payload, write_record
from vjepa.data.renumbering import number_of, renumbered

ELSEWHERE = ["test_share", "duplicate_distance", "episodes_per_shard", "store", "ray"]
ELSEWHERE += ["balance", "balance_limit", "clusters", "encoder", "targets"]
"""Settings of curation that are about all episodes together: examining one does not know them."""


class Journal:
    """Outcomes of examinations in a folder.

    Args:
        folder: made when something is kept.
        dataset: whose episodes they are.
        source: how it is read.
        config: what to take and what to leave out.
    """

    def __init__(self, folder: Path, dataset: Source, source: SourceConfig, config: CurateConfig) -> None:
        self.folder, self.dataset = folder, dataset
        used = {name: value for name, value in asdict(config).items() if name not in ELSEWHERE}
        self.basis = [asdict(source), used, dataset.robot, asdict(dataset.layout), code_version()]

    def path(self, entry: Any) -> Path:
        """The file of an entry; in folders of their first digits, since there may be millions."""
        files = [(file.relative_to(self.dataset.path).as_posix(), *age(file)) for file in self.dataset.files(entry)]
        found = [*self.basis, facts_in_words(self.dataset, entry), files]
        key = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
        return self.folder / key[:2] / key

    def write(self, path: Path, outcome: Outcome) -> None:
        """Keep an outcome."""
        about, payloads = [], []
        for part in outcome.parts:
            values = dict(vars(part))
            if isinstance(part, Examined):
                payloads.append(values.pop("blocks"))
                about.append({**values, "hashes": part.hashes.tolist(), "is_used": True})
            else:
                payloads.append(values.pop("pictures").tobytes())
                about.append({**values, "is_used": False})
        write_record(path, {"lasting": outcome.lasting, "parts": about}, payloads)

    def recall(self, path: Path, number: int) -> Outcome | None:
        """What a run before has found, light; None if there is nothing, or it is damaged or was not to last.

        Where the entry had another number than now, what is kept is changed to this one.
        """
        about = read_about(path)
        if about is None or not about["lasting"]:
            return None
        parts: list[Examined | Rejected] = []
        for values in about["parts"]:
            if values.pop("is_used"):
                values |= {"hashes": np.array(values["hashes"], np.uint64), "notes": tuple(values["notes"])}
                parts.append(Examined(blocks=b"", **values))
            else:
                parts.append(Rejected(**values))
        outcome = Outcome(parts, about["lasting"])
        if number_of(outcome) == number:
            return outcome
        payloads = [payload for at in range(len(parts)) if (payload := read_payload(path, at)) is not None]
        if len(payloads) < len(parts):
            return None
        outcome = renumbered(Outcome(list(map(whole, parts, payloads)), outcome.lasting), number)
        self.write(path, outcome)
        return outcome.light()


def whole(part: Examined | Rejected, payload: bytes) -> Examined | Rejected:
    """A light part with its bytes, as they are kept."""
    if isinstance(part, Examined):
        return replace(part, blocks=payload)
    return replace(part, pictures=pictures_in(payload))


def pictures_in(payload: bytes) -> np.ndarray:
    """The pictures of a part that is left out: see `Rejected`."""
    return np.frombuffer(payload, np.uint8).reshape(-1, *NO_PICTURES.shape[1:])


def age(file: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, ns; zeros if it is missing."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
