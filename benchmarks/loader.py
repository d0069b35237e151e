"""Clips a second out of shards, beside LeRobot's way of reading clips and a plain PyAV loop, over the same videos.

    python -m benchmarks.loader

A LeRobot data set is written (moving things before a still background and a camera's noise, 256 pixels, 30 frames a
second, a key frame at every other frame as LeRobot has it) and curated to what is trained on: 128 pixels, 10 frames a
second. Clips of 8 frames, 0.2 s apart, start anywhere. Every side has one process that reads and decodes, and gives the
same clips as bytes of 128 x 128 pixels; a side whose clips differ stops the benchmark.

- ours: the training's loader with one worker, as the profiles set it: decoded frames are kept up to `pretrain.kept_mb`,
  1,000 MB, of which these episodes take 59. Measured once each episode has been decoded.
- ours, streamed: the same with room for nothing, as with data far larger than the bound.
- LeRobot's access pattern, not its class: that needs torchvision and torchcodec, whose builds for torch 2.13 need CUDA.
  What `LeRobotDataset` 0.4.4 and torchcodec do for `delta_timestamps`: the decoder stays open; for each frame it seeks
  to the key frame before, if that lies ahead, and decodes from there. To float and back is left out. In a DataLoader.
- The same over a LeRobot data set as small as the shards (128 pixels, 10 frames a second), which nobody records.
- A loop with PyAV over the videos from end to end, which decodes every frame and cuts clip after clip, in their order.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader, Dataset

from vjepa.config import CurateConfig, SourceConfig
from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipDraws
from vjepa.data.curation import curate
from vjepa.data.episode_store import EpisodeStore
from vjepa.data.lerobot_writer import EPISODES_PATH, VIDEO_PATH, Column, LeRobotWriter
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.data.video import VideoFile
from vjepa.imaging import square_resize

CAMERA = "observation.images.front"
EPISODES, SECONDS = 6, 20
RAW_SIZE, RAW_FPS = 256, 30
SIZE, FPS = 128, 10
FRAMES, STRIDE, SEED = 8, 2, 0
BATCH, BATCHES = 8, 30
REPEATS = 3
KEPT_MB, WARM = 1000, 20
LARGEST_DIFFERENCE = 6.0  # mean, in grey levels: one more encoding and the resizing before or after it


def scene(seed: int) -> np.ndarray:
    """Things that move before a still background, with a camera's noise: `uint8 [T, RAW_SIZE, RAW_SIZE, 3]`."""
    rng = np.random.default_rng(seed)
    ground = gaussian_filter(rng.random((RAW_SIZE, RAW_SIZE, 3)), (4, 4, 0))
    ground = 30 + 190 * (ground - ground.min()) / np.ptp(ground)
    side, count = RAW_SIZE // 5, SECONDS * RAW_FPS
    things = gaussian_filter(255 * rng.random((4, side, side, 3)), (0, 2, 2, 0))
    phase, pace = rng.uniform(0, 2 * np.pi, (4, 2)), rng.uniform(0.5, 2, (4, 2))
    frames = np.empty((count, RAW_SIZE, RAW_SIZE, 3), np.uint8)
    for t in range(count):
        image = ground.copy()
        for thing, at in zip(things, (np.sin(phase + pace * t / RAW_FPS) + 1) / 2 * (RAW_SIZE - side), strict=True):
            row, column = at.astype(int)
            image[row : row + side, column : column + side] = thing
        frames[t] = (image + rng.normal(0, 1, (RAW_SIZE, RAW_SIZE, 1))).clip(0, 255)
    return frames


def write(raw: Path, small: Path) -> None:
    """The data set as recorded, and the same one at the shards' size and rate."""
    columns = {"observation.state": Column("float32", ("x",))}
    recorded = LeRobotWriter(raw, RAW_FPS, CAMERA, RAW_SIZE, columns, "toy")
    reduced = LeRobotWriter(small, FPS, CAMERA, SIZE, columns, "toy")
    for seed in track(range(EPISODES), "episodes", console=Console(stderr=True)):
        frames = scene(seed)
        fewer = square_resize(frames[:: RAW_FPS // FPS], SIZE)
        for writer, shown in ((recorded, frames), (reduced, fewer)):
            writer.add_episode(shown, {"observation.state": np.zeros((len(shown), 1), np.float32)}, "move")
    recorded.finalize()
    reduced.finalize()


class Videos(Dataset[torch.Tensor]):
    """Clips of a LeRobot data set, read as LeRobot reads them.

    Args:
        root: the data set.
        places: `int64 [N, 2]`, episode and frame at FPS at which each clip starts.
    """

    def __init__(self, root: Path, places: np.ndarray) -> None:
        index = pd.read_parquet(root / EPISODES_PATH.format(chunk_index=0, file_index=0))
        prefix = f"videos/{CAMERA}/"
        self.begin = index[f"{prefix}from_timestamp"].to_numpy()
        self.files = [
            root / VIDEO_PATH.format(video_key=CAMERA, chunk_index=chunk, file_index=file)
            for chunk, file in zip(index[f"{prefix}chunk_index"], index[f"{prefix}file_index"], strict=True)
        ]
        self.places = places
        self._open: dict[Path, tuple[VideoFile, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> torch.Tensor:
        """One clip: `uint8 [FRAMES, SIZE, SIZE, 3]`."""
        episode, start = self.places[number]
        video, keys = self._opened(self.files[episode])
        frames: list[np.ndarray] = []
        shown, decoding = -1.0, video.frames_from(0.0)
        for wanted in self.begin[episode] + (start + STRIDE * np.arange(FRAMES)) / FPS:
            key = keys[np.searchsorted(keys, wanted + 1e-4) - 1]
            if key > shown:  # nothing between this key frame and the frame before it is of use
                decoding = video.frames_from(key + 1e-4)
            frame, shown = next(pair for pair in decoding if pair[1] > wanted - 1e-4)
            frames.append(video.to_rgb(frame))
        return resized(np.stack(frames))

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


def resized(frames: np.ndarray) -> torch.Tensor:
    """Frames `uint8 [T, H, W, 3]` at the clips' size."""
    images = torch.from_numpy(frames)
    if images.shape[1] == SIZE:
        return images
    shrunk = F.interpolate(images.permute(0, 3, 1, 2), (SIZE, SIZE), mode="bilinear", antialias=True)
    return shrunk.permute(0, 2, 3, 1)


def in_a_loop(videos: Videos) -> Iterator[torch.Tensor]:
    """Clip after clip of each video from its beginning to its end, every frame decoded."""
    span, file = (FRAMES - 1) * STRIDE + 1, videos.files[0]
    with VideoFile(file) as video:
        chosen: list[np.ndarray] = []
        for number, (frame, _) in enumerate(video.frames_from(0.0)):
            step, between = divmod(number, RAW_FPS // FPS)
            if between == 0 and step % span % STRIDE == 0:
                chosen.append(video.to_rgb(frame))
            if len(chosen) == FRAMES:
                yield resized(np.stack(chosen))
                chosen = []


def rate(clips: Iterator[object], at_once: int, calls: int) -> float:
    """Clips a second, without the first call, which waits for processes to start."""
    next(clips)
    started = time.perf_counter()
    for _ in range(calls):
        next(clips)
    return calls * at_once / (time.perf_counter() - started)


def ours(store: EpisodeStore, warm: int) -> float:
    """Clips a second of the loader, after `warm` batches."""
    draws = ClipDraws(store.lengths, FRAMES, STRIDE, SEED)
    reader = ClipReader(store, draws, Augmentation((1.0, 1.0), (1.0, 1.0), flip=False), BATCH)
    loader = ClipLoader(reader, warm + BATCHES + 1, workers=1)
    with loader.running("free some memory"):
        for step in range(warm):
            loader.batch(step)
        return rate((loader.batch(step) for step in range(warm, loader.steps)), BATCH, BATCHES)


def lerobots(root: Path, places: np.ndarray) -> float:
    """Clips a second of LeRobot's pattern."""
    loader = DataLoader(Videos(root, places), BATCH, num_workers=1, multiprocessing_context="spawn")
    return rate(iter(loader), BATCH, BATCHES)


def require_same(store: EpisodeStore, others: list[Videos]) -> None:
    """Stop where the sides would not read the same clips."""
    for number in range(4):
        episode, start = others[0].places[number]
        mine, _ = store.clip(int(episode), start + STRIDE * np.arange(FRAMES))
        for other in others:
            apart = np.abs(mine.astype(int) - other[number].numpy()).mean()
            if apart > LARGEST_DIFFERENCE:
                raise SystemExit(f"clip {number} differs by {apart:.1f} grey levels")


def main() -> None:
    """Print one line of JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        raw, small, shards = (Path(folder) / name for name in ("raw", "small", "shards"))
        for path in (raw, small, shards):
            path.mkdir()
        write(raw, small)
        source = SourceConfig("lerobot", CAMERA, None, [], None)
        config = CurateConfig(
            fps=FPS,
            image_size=SIZE,
            test_share=1e-9,
            min_frames=FRAMES,
            min_motion=0.0,
            max_black=1.0,
            max_frozen=math.inf,
            max_scene_change=100.0,
            duplicate_distance=2,
            episodes_per_shard=4,
            store=None,
            balance="none",
            balance_limit=1,
            clusters=1,
            encoder=None,
            targets=None,
            ray=None,
        )
        curate(raw, shards, source, config, Path(folder) / "journal")
        store = EpisodeStore(shards, "train", kept_bytes=0)
        draws = ClipDraws(store.lengths, FRAMES, STRIDE, SEED)
        places = np.concatenate([np.stack(draws.draw(step, BATCH), 1) for step in range(BATCHES + 1)])
        require_same(store, [Videos(raw, places), Videos(small, places)])
        sides: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(EpisodeStore(shards, "train", KEPT_MB * 2**20), WARM),
            "streamed": lambda: ours(store, 0),
            "lerobot": lambda: lerobots(raw, places),
            "lerobot_small": lambda: lerobots(small, places),
            "loop": lambda: rate(in_a_loop(Videos(raw, places)), 1, BATCH * BATCHES // 4),
        }
        runs: dict[str, list[float]] = {name: [] for name in sides}
        for repeat in range(REPEATS):
            for name, measure in sides.items():
                runs[name].append(measure())
                print(f"repeat {repeat + 1}: {name} {runs[name][-1]:.1f} clips/s", file=sys.stderr)
    print(json.dumps(result(runs)))


def result(runs: dict[str, list[float]]) -> dict[str, object]:
    """What is recorded of the clips a second of each side's runs."""
    found = {name: statistics.median(values) for name, values in runs.items()}

    def times(side: str, peer: str) -> str:
        ratios = [a / b for a, b in zip(runs[side], runs[peer], strict=True)]
        return f"{found[side] / found[peer]:.1f} times [{min(ratios):.1f}, {max(ratios):.1f}]"

    ratios = [a / b for a, b in zip(runs["ours"], runs["lerobot"], strict=True)]
    summary = (
        f"Clips of {FRAMES} frames, {SIZE} pixels, out of {EPISODES} episodes of {SECONDS} s that were recorded at "
        f"{RAW_SIZE} pixels and {RAW_FPS} frames a second, one process that reads: {found['ours']:.0f} clips/s once "
        f"the episodes are decoded and kept, within the profiles' bound; {found['streamed']:.0f} where nothing is. "
        f"LeRobot's access pattern (seek and decode for each frame through PyAV; not its class): "
        f"{found['lerobot']:.0f}; ours is {times('ours', 'lerobot')} as fast, streamed {times('streamed', 'lerobot')}; "
        f"over videos as small as the shards' {found['lerobot_small']:.0f}, streamed "
        f"{times('streamed', 'lerobot_small')}. A PyAV loop over the recorded videos: {found['loop']:.0f}; ours "
        f"{times('ours', 'loop')}, streamed {times('streamed', 'loop')} ({REPEATS} runs a side, in turn)."
    )
    return {
        "name": "loader",
        "ours": round(found["ours"], 1),
        "peer": round(found["lerobot"], 1),
        "unit": "clips/s",
        "ratio": round(found["ours"] / found["lerobot"], 1),
        "spread": [round(min(ratios), 1), round(max(ratios), 1)],
        "peer_is": "the access pattern of LeRobotDataset 0.4.4 with torchcodec, through PyAV: not the class itself",
        "clips_per_second": {name: round(value, 1) for name, value in found.items()},
        "summary": summary,
    }


if __name__ == "__main__":
    main()
