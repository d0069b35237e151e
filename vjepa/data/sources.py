"""The formats of raw data, by the name that `source.format` gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vjepa.config import SourceConfig
from vjepa.data.droid import open_droid
from vjepa.data.lerobot import open_lerobot
from vjepa.data.raw import Source
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video_folder import open_video_folder
from vjepa.errors import UserError

FORMATS: dict[str, Callable[[Path, str | None, StateMapping, float], Source]] = {
    "lerobot": open_lerobot,
    "droid": open_droid,
    "video": open_video_folder,
}
"""How to open each: folder, camera, mapping of states, and the frames a second that will be wanted."""


def open_source(path: Path, config: SourceConfig, fps: float) -> Source:
    """Open the data set in the folder `path`.

    Raises:
        UserError: the format is unknown.
        DataError: the data set is missing, damaged or empty, or lacks what the settings name.
    """
    if config.format not in FORMATS:
        raise UserError(f"source.format {config.format!r} is unknown; known are {', '.join(FORMATS)}")
    return FORMATS[config.format](path, config.camera, StateMapping(config), fps)
