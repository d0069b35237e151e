"""What a raw data set is, before anything is run: counted from its files, beside what it says of itself."""

from __future__ import annotations

from pathlib import Path

from vjepa.data.inspection.droid import inspect_droid
from vjepa.data.inspection.lerobot import inspect_lerobot
from vjepa.data.inspection.proposal import proposal
from vjepa.data.inspection.summary import Inspection
from vjepa.data.inspection.videos import inspect_videos
from vjepa.data.video_folder import LIST, videos_in
from vjepa.errors import DataError

__all__ = ["Inspection", "inspect", "proposal"]


def inspect(path: Path, most: int = 200) -> Inspection:
    """Look at a data set without changing anything.

    Args:
        path: a LeRobot data set, a folder of DROID's raw episodes, or one of videos.
        most: episodes whose rows and videos are opened, evenly spread; the index is read whole.

    Raises:
        DataError: it is none of these, or its index can't be read.
    """
    if path.is_file():
        raise DataError(f"{path} is a file: name the folder that holds the data set")
    if (path / "meta/info.json").exists():
        return inspect_lerobot(path, most)
    if next(path.rglob("trajectory.h5"), None) is not None:
        return inspect_droid(path, most)
    if (below := next(path.rglob("meta/info.json"), None)) is not None:
        raise DataError(f"{path} holds a LeRobot data set further down: name {below.parents[1]}")
    if (path / LIST).exists() or videos_in(path):
        return inspect_videos(path, most)
    raise DataError(
        f"{path} holds no meta/info.json (LeRobot), no trajectory.h5 (DROID) and no video: nothing here can read it"
    )
