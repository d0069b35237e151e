"""What was found in each episode, kept between runs: a killed curation continues, a later one examines what is new.

A file stands for one entry of the index and is named by everything that its content hangs on. It is a SHA-256 and an
npz, read without unpickling; one whose hash is wrong counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.code_version import code_version
from vjepa.data.examination import Examined, Outcome, Rejected
from vjepa.data.raw import Source, facts_in_words
from vjepa.errors import DataError
from vjepa.files import atomic_path

ELSEWHERE = ("test_share", "duplicate_distance", "episodes_per_shard", "store", "ray", "balance", "balance_limit")
"""Settings of curation that are about all episodes together: examining one does not know them."""
DIGEST = hashlib.sha256().digest_size
ARRAYS: dict[type, str] = {Examined: "hashes", Rejected: "pictures"}


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
        about, arrays = [], {}
        for number, part in enumerate(outcome.parts):
            values = dict(vars(part), is_used=isinstance(part, Examined))
            arrays[f"array{number}"] = values.pop(ARRAYS[type(part)])
            arrays[f"blocks{number}"] = np.frombuffer(values.pop("blocks", b""), np.uint8)
            about.append(values)
        text = json.dumps({"lasting": outcome.lasting, "parts": about})
        buffer = io.BytesIO()
        np.savez(buffer, about=np.frombuffer(text.encode(), np.uint8), **arrays)
        with atomic_path(path) as temporary:
            temporary.write_bytes(hashlib.sha256(buffer.getbuffer()).digest() + buffer.getvalue())

    def recall(self, path: Path) -> Outcome | None:
        """What a run before has found, light; None if there is nothing, or it is damaged or was not to last."""
        outcome = read(path)
        return outcome.light() if outcome is not None and outcome.lasting else None

    def blocks(self, path: Path, number: int) -> bytes:
        """The tar blocks of the part of that number in a file that this run has read or written."""
        part = self.part(path, number)
        assert isinstance(part, Examined)
        return part.blocks

    def pictures(self, path: Path, number: int) -> np.ndarray:
        """The pictures of such a part, of an episode that is left out."""
        part = self.part(path, number)
        assert isinstance(part, Rejected)
        return part.pictures

    def part(self, path: Path, number: int) -> Examined | Rejected:
        """Such a part.

        Raises:
            DataError: the file has been changed meanwhile.
        """
        outcome = read(path)
        if outcome is None:
            raise DataError(f"{path} was removed or damaged while curation ran: run it again")
        return outcome.parts[number]

    def forget_others(self, paths: set[Path]) -> None:
        """Remove what is kept in other files than these, and what a killed run left half written."""
        for file in self.folder.glob("??/*"):
            if file not in paths:
                file.unlink()


def read(path: Path) -> Outcome | None:
    """What is kept in a file; None if there is none, or its hash is wrong."""
    if not path.exists():
        return None
    data = path.read_bytes()
    digest, data = data[:DIGEST], data[DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        return None
    parts: list[Examined | Rejected] = []
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        for number, values in enumerate(about["parts"]):
            array = arrays[f"array{number}"]
            if values.pop("is_used"):
                values["notes"] = tuple(values["notes"])
                parts.append(Examined(blocks=arrays[f"blocks{number}"].tobytes(), hashes=array, **values))
            else:
                parts.append(Rejected(pictures=array, **values))
    return Outcome(parts, about["lasting"])


def age(file: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, ns; zeros if it is missing."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
