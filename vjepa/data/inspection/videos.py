"""A folder of videos without states."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from vjepa.data.inspection.summary import STRIP, CameraSummary, Inspection, spread, watch
from vjepa.data.state_mapping import StateMapping
from vjepa.data.video import VideoFile
from vjepa.data.video_folder import VIDEO_ALONE, open_video_folder, stamps_of
from vjepa.errors import DataError


def inspect_videos(path: Path, most: int) -> Inspection:
    """Every video of a folder, or of its list; long ones count as several episodes, as curation would part them."""
    source = open_video_folder(path, None, StateMapping(VIDEO_ALONE), 1.0)
    usable = [entry for entry in source.episodes if not entry.problem]
    found = Inspection(
        path=path,
        format="video",
        robot="none",
        fps=0.0,
        episodes=len(source.episodes),
        frames=0,
        cameras={"files": CameraSummary("files", "each as its header says")},
        columns={},
        tasks=Counter(entry.task for entry in source.episodes),
        opened=min(most, len(usable)),
        findings={},
        strip=None,
    )
    for entry in source.episodes:
        if entry.problem:
            found.note(entry.problem, entry.file.relative_to(path).as_posix())
    rates, seconds, frames = [], [], []
    for entry in spread(usable, most):
        try:
            shown, _, rate = watch(entry.file)
            stamps = stamps_of(entry.file)
        except DataError as error:
            found.note("a video can't be decoded", str(error))
            continue
        found.cameras["files"].shown[shown] += 1
        rates.append(rate)
        frames.append(len(stamps) / entry.parts)
        seconds.append(frames[-1] / rate)
        if found.strip is None:
            with VideoFile(entry.file) as video:
                found.strip = np.concatenate(
                    list(video.frames_at(np.linspace(stamps[0], stamps[-1], STRIP))[0]), axis=1
                )
    if rates:
        found.frames = round(float(np.mean(frames)) * len(usable))
        found.fps = sum(frames) / sum(seconds)  # so that the hours are right where rates differ
    return found
