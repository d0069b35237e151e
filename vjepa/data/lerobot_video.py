"""The video files of a LeRobot data set: H.264 in MP4, episodes one after the other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter

from vjepa.data.video import CONVERSION, QUALITY

KEYFRAME_EVERY = 2  # LeRobot's choice: any frame is at most one other away


class EpisodeVideo:
    """An H.264 file to which episodes are appended, each beginning with a key frame."""

    def __init__(self, path: Path, fps: float, size: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fps, self.size, self._count = fps, 0, 0
        # Equal frames give equal bytes: one thread, no clock or version string. Without B-frames time starts at 0.
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        options = {"crf": str(QUALITY), "preset": "veryfast", "bf": "0", "g": str(KEYFRAME_EVERY), "threads": "1"}
        rate = Fraction(fps).limit_denominator(10_000)
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.height = self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._reformatter = VideoReformatter()

    def add(self, frames: np.ndarray) -> tuple[float, float]:
        """Append an episode `uint8 [T, H, W, 3]`; when it starts and ends in the file, in s."""
        start = self._count
        for image in frames:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = self._reformatter.reformat(frame, format="yuv420p", interpolation=CONVERSION, threads=1)
            frame.pts = self._count
            frame.pict_type = PictureType.I if self._count == start else frame.pict_type
            self._mux(frame)
            self._count += 1
        return start / self.fps, self._count / self.fps

    def close(self) -> None:
        """Write what is left and the index."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.size += packet.size
            self._container.mux(packet)
