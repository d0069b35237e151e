"""Clips out of a LeRobot data set's videos without LeRobot: as its class reads them, and by a loop from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from benchmarks._recordings import CAMERA
from vjepa.data.lerobot_writer import EPISODES_PATH, VIDEO_PATH
from vjepa.data.video import VideoFile


class Videos(Dataset[torch.Tensor]):
    """Clips read in LeRobot's pattern: what `LeRobotDataset` 0.4.4 and torchcodec do for `delta_timestamps`.

    The decoder stays open; for each frame it seeks to the key frame before, if that lies ahead, and decodes from there.
    To float and back is left out.

    Args:
        root: the data set.
        places: `int64 [N, 2]`, episode of each clip, and the place at which it starts, in units of 1 / `fps`.
        at: `float64 [T]`, time of a clip's frames from its start, in s.
        fps: frames a second at which clips are placed.
        size: pixels on each side to which frames are brought.
    """

    def __init__(self, root: Path, places: np.ndarray, at: np.ndarray, fps: float, size: int) -> None:
        index = pd.read_parquet(root / EPISODES_PATH.format(chunk_index=0, file_index=0))
        prefix = f"videos/{CAMERA}/"
        self.begin = index[f"{prefix}from_timestamp"].to_numpy()
        self.files = [
            root / VIDEO_PATH.format(video_key=CAMERA, chunk_index=chunk, file_index=file)
            for chunk, file in zip(index[f"{prefix}chunk_index"], index[f"{prefix}file_index"], strict=True)
        ]
        self.places, self.at, self.fps, self.size = places, at, fps, size
        self._open: dict[Path, tuple[VideoFile, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> torch.Tensor:
        """One clip: `uint8 [T, size, size, 3]`."""
        episode, start = self.places[number]
        video, keys = self._opened(self.files[episode])
        frames: list[np.ndarray] = []
        shown, decoding = -1.0, video.frames_from(0.0)
        for wanted in self.begin[episode] + start / self.fps + self.at:
            key = keys[np.searchsorted(keys, wanted + 1e-4) - 1]
            if key > shown:  # nothing between this key frame and the frame before it is of use
                decoding = video.frames_from(key + 1e-4)
            frame, shown = next(pair for pair in decoding if pair[1] > wanted - 1e-4)
            frames.append(video.to_rgb(frame))
        return resized(np.stack(frames), self.size)

    def in_a_loop(self, every: int) -> Iterator[torch.Tensor]:
        """Clip after clip of the first video from its beginning to its end, every frame decoded, every so many kept."""
        with VideoFile(self.files[0]) as video:
            spacing = round((self.at[1] - self.at[0]) * self.fps)
            span = spacing * (len(self.at) - 1) + 1
            chosen: list[np.ndarray] = []
            for number, (frame, _) in enumerate(video.frames_from(0.0)):
                step, between = divmod(number, every)
                if between == 0 and step % span % spacing == 0:
                    chosen.append(video.to_rgb(frame))
                if len(chosen) == len(self.at):
                    yield resized(np.stack(chosen), self.size)
                    chosen = []

    def _opened(self, file: Path) -> tuple[VideoFile, np.ndarray]:
        if file not in self._open:
            with av.open(str(file)) as container:
                stream = container.streams.video[0]
                pts = [
                    packet.pts for packet in container.demux(stream) if packet.is_keyframe and packet.pts is not None
                ]
                keys = np.array(pts) * float(stream.time_base or 1)
            self._open[file] = VideoFile(file), np.array(keys)
        return self._open[file]


def resized(frames: np.ndarray, size: int) -> torch.Tensor:
    """Frames `uint8 [T, H, W, 3]` at so many pixels on each side."""
    images = torch.from_numpy(frames)
    if images.shape[1] == size:
        return images
    shrunk = F.interpolate(images.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True)
    return shrunk.permute(0, 2, 3, 1)
