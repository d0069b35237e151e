"""Video in and out with PyAV; what is read carries the container's own time stamps, never a count of frames."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vjepa.errors import DataError

QUALITY = 12
"""x264's constant rate factor: 0 is lossless, 18 is hardly seen, 23 is x264's own choice."""

KEYFRAME_EVERY = 16
"""Frames from one key frame, where a reader can start, to the next. Beside 250, a clip of 15 out of 300 frames is read
in a fifth of the time for 7 % more bytes where a camera left its noise, in half of it for twice the bytes elsewhere."""

# FFmpeg's fast conversions darken an image by 1 of 255 and smear colour (mean error 3.0 at 128 px; 0.4 with these).
CONVERSION = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
)


def encode_mp4(frames: np.ndarray, fps: float, crf: int = QUALITY, keyframe_every: int = KEYFRAME_EVERY) -> bytes:
    """Encode RGB frames as H.264 in MP4; the same frames give the same bytes.

    Args:
        frames: `uint8 [T, H, W, 3]`, H and W even (4:2:0 stores colour at half the resolution).
        fps: frames a second, of any value.
        crf: lower is better and larger.
        keyframe_every: frames between two points that a reader can seek to.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(f"expected uint8 frames [T, H, W, 3], not {frames.dtype} {frames.shape}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"expected an even height and width, not {frames.shape[1]} x {frames.shape[2]}")
    rate = Fraction(fps).limit_denominator(10_000)
    target = io.BytesIO()
    # For equal bytes: one thread, no clock or version string in the file, and no macroblock tree, whose AVX-512 code
    # gives varying bytes for frames as small as 32 pixels. No B-frames, so that time starts at 0.
    options = {"crf": str(crf), "preset": "veryfast", "bf": "0", "mbtree": "0", "threads": "1"}
    with av.open(target, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        reformatter = VideoReformatter()
        for number, image in enumerate(frames):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            converted = reformatter.reformat(frame, format="yuv420p", interpolation=CONVERSION, threads=1)
            if number and number % keyframe_every == 0:  # x264's option for it would change the bytes of every video
                converted.pict_type = PictureType.I
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return target.getvalue()


def decode_video(source: Path | bytes) -> tuple[np.ndarray, np.ndarray]:
    """All frames of a video and when they are shown.

    Returns:
        frames `uint8 [T, H, W, 3]` and times `float64 [T]` in s.

    Raises:
        DataError: the file is missing or can't be decoded, or has no frames.
    """
    with VideoFile(source) as video:
        shown = [(video.to_rgb(frame), time) for frame, time in video.frames_from(0.0)]
        if not shown:
            raise DataError(f"{video.name} holds no frames")
    return np.stack([image for image, _ in shown]), np.array([time for _, time in shown], np.float64)


ELSEWHERE = ("concat", "dash", "hls", "imf")
"""Formats of files that name others, which may lie anywhere."""


class VideoFile:
    """An open video from which frames are taken by time.

    Raises:
        DataError: the file is missing or is no video.
    """

    def __init__(self, source: Path | bytes) -> None:
        self.name = str(source) if isinstance(source, Path) else "the video"
        try:
            self.container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r")
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.name} can't be opened as a video: {error.strerror}") from error
        refused = "holds no video stream" if not self.container.streams.video else ""
        if self.container.format.name in ELSEWHERE:
            refused = f"is a list of other files ({self.container.format.name}), no video"
        if refused:
            self.container.close()
            raise DataError(f"{self.name} {refused}")
        self.stream = self.container.streams.video[0]
        # Many short clips are read, by several processes: threads for each one cost more than they save.
        self.stream.codec_context.thread_count = 1
        self.reformatter = VideoReformatter()
        self.size: tuple[int, int] | None = None  # width and height of the first frame that was converted

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.container.close()

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in RGB."""
        return 3 * self.stream.height * self.stream.width

    @property
    def duration(self) -> float:
        """Length in s as the container states it; infinite where it states none."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        return float("inf") if self.container.duration is None else self.container.duration / av.time_base

    def stamps(self) -> np.ndarray:
        """When each frame is shown: `float64 [T]`, s, ascending, read without decoding.

        Raises:
            DataError: the file is damaged.
        """
        try:
            self.container.seek(0, stream=self.stream)
            base = float(self.stream.time_base or 1)
            shown = [packet.pts * base for packet in self.container.demux(self.stream) if packet.pts is not None]
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.name} can't be read: {error.strerror}") from error
        return np.sort(np.array(shown, np.float64))

    def to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """A decoded frame as `uint8 [H, W, 3]`.

        Raises:
            DataError: it is of another size than the video.
        """
        size = self.size = self.size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            shown = "{} x {} to {} x {}".format(*size, frame.width, frame.height)
            raise DataError(f"{self.name} changes its size from {shown} pixels")
        return self.reformatter.reformat(frame, format="rgb24", interpolation=CONVERSION, threads=1).to_ndarray()

    def frames_from(self, start: float) -> Iterator[tuple[VideoFrame, float]]:
        """Decoded frames and their times in s, in order, from the key frame at or before `start` (s)."""
        try:
            if self.stream.time_base is not None:
                self.container.seek(int(start / self.stream.time_base), stream=self.stream)
            for frame in self.container.decode(self.stream):
                if frame.time is not None:
                    yield frame, float(frame.time)
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.name} can't be decoded: {error.strerror}") from error

    def frames_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The frame shown nearest to each wanted time.

        Only frames around the wanted span are decoded, and only the chosen ones are converted to RGB.

        Args:
            times: `float64 [N]`, s, ascending.

        Returns:
            frames `uint8 [N, H, W, 3]` and their own times `float64 [N]`, s.

        Raises:
            DataError: the file can't be decoded or ends before it shows anything.
        """
        chosen: list[tuple[VideoFrame, float]] = []
        before: tuple[VideoFrame, float] | None = None
        for frame, time in self.frames_from(max(float(times[0]), 0.0)):
            # Every wanted time up to this frame lies between it and the one before: take the nearer.
            while len(chosen) < len(times) and times[len(chosen)] <= time:
                wanted = times[len(chosen)]
                closer = before is not None and wanted - before[1] <= time - wanted
                chosen.append(before if closer and before is not None else (frame, time))
            if len(chosen) == len(times):
                break
            before = (frame, time)
        if before is None and not chosen:
            raise DataError(f"{self.name} shows nothing from {times[0]:.3f} s on")
        if before is not None:
            chosen += [before] * (len(times) - len(chosen))
        frames = np.stack([self.to_rgb(frame) for frame, _ in chosen])
        return frames, np.array([time for _, time in chosen])
