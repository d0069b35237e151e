"""Clips a second out of shards, beside LeRobot's own data set class and a plain PyAV loop, over the same videos.

    python -m benchmarks.loader                            # make lerobot, once before, installs LeRobot's class

A LeRobot data set is written (moving things before a still background and a camera's noise, 256 pixels, 30 frames a
second, a key frame at every other frame as LeRobot has it) and curated to what is trained on: 128 pixels, 10 frames a
second. Clips of 8 frames, 0.2 s apart, start anywhere. Every side has one process that reads and decodes, and gives the
same clips at 128 x 128 pixels; a side whose clips differ stops the benchmark.

- ours: the training's loader with one worker, as the profiles set it: decoded frames are kept up to `pretrain.kept_mb`,
  1,000 MB, of which these episodes take 59. Measured once each episode has been decoded.
- streamed: the same with room for nothing, as with data far larger than the bound.
- class: `LeRobotDataset` with `delta_timestamps`, its default decoder, and the resizing as its `image_transforms`, in a
  DataLoader with one worker. LeRobot pins releases of torch that this project has not, so it runs in an interpreter of
  its own (`_lerobot_clips.py`). It gives floats, as trainings with it get them; the others give bytes.
- pattern: how that class reads, through PyAV and to bytes (`_lerobot_videos.py`). The peer where the class is absent.
- class_small, pattern_small: the same two over a LeRobot data set as small as the shards (128 pixels, 10 frames a
  second), which nobody records.
- loop: PyAV over the videos from end to end, decoding every frame, cutting clip after clip in their order.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from benchmarks._lerobot_videos import Videos
from benchmarks._recordings import CAMERA, STATE, curated, data_set, scene
from benchmarks._result import Comparison, in_turn, rounded
from vjepa.data.augment import Augmentation
from vjepa.data.clips import ClipDraws
from vjepa.data.episode_store import EpisodeStore
from vjepa.data.loader import ClipLoader, ClipReader
from vjepa.imaging import square_resize

INTERPRETER = Path(__file__).parents[1] / ".venv-lerobot/bin/python"
EPISODES, SECONDS = 6, 20
RAW_SIZE, RAW_FPS = 256, 30
SIZE, FPS = 128, 10
EVERY = RAW_FPS // FPS
FRAMES, STRIDE, SEED = 8, 2, 0
AT = STRIDE * np.arange(FRAMES) / FPS
BATCH, BATCHES = 8, 30
REPEATS = 3
KEPT_MB, WARM = 1000, 20
COMPARED = 4
LARGEST_DIFFERENCE = 6.0  # mean, in grey levels: one more encoding and the resizing before or after it


def write(raw: Path, small: Path) -> None:
    """The data set as recorded, and the same one at the shards' size and rate."""
    recorded, reduced = data_set(raw, RAW_FPS, RAW_SIZE), data_set(small, FPS, SIZE)
    for seed in track(range(EPISODES), "episodes", console=Console(stderr=True)):
        frames, states = scene(seed, RAW_SIZE, SECONDS * RAW_FPS, RAW_FPS)
        recorded.add_episode(frames, {STATE: states}, "move")
        reduced.add_episode(square_resize(frames[::EVERY], SIZE), {STATE: states[::EVERY]}, "move")
    recorded.finalize()
    reduced.finalize()


def rate(clips: Iterator[object], at_once: int, calls: int) -> float:
    """Clips a second, without the first call, which waits for processes to start."""
    next(clips)
    started = time.perf_counter()
    for _ in range(calls):
        next(clips)
    return calls * at_once / (time.perf_counter() - started)


def ours(shards: Path, kept_mb: int, warm: int) -> float:
    """Clips a second of the loader, after `warm` batches."""
    store = EpisodeStore(shards, "train", kept_mb * 2**20)
    draws = ClipDraws(store.lengths, FRAMES, STRIDE, SEED)
    reader = ClipReader(store, draws, Augmentation((1.0, 1.0), (1.0, 1.0), flip=False), BATCH)
    loader = ClipLoader(reader, warm + BATCHES + 1, workers=1)
    with loader.running("free some memory"):
        for step in range(warm):
            loader.batch(step)
        return rate((loader.batch(step) for step in range(warm, loader.steps)), BATCH, BATCHES)


def pattern(root: Path, places: np.ndarray) -> float:
    """Clips a second of LeRobot's pattern."""
    videos = Videos(root, places, AT, FPS, SIZE)
    return rate(iter(DataLoader(videos, BATCH, num_workers=1, multiprocessing_context="spawn")), BATCH, BATCHES)


def lerobots_class(interpreter: Path, root: Path, starts: np.ndarray, first: Path) -> dict[str, Any]:
    """What `_lerobot_clips.py` says of clips at these frames of the data set; it writes the first batch to a file."""
    job = {"root": str(root), "camera": CAMERA, "starts": starts.tolist(), "seconds": AT.tolist(), "size": SIZE}
    asked = first.with_suffix(".json")
    asked.write_text(json.dumps(job | {"batch": BATCH, "first": str(first)}))
    script = Path(__file__).with_name("_lerobot_clips.py")
    done = subprocess.run([interpreter, script, asked], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"loader: LeRobot's class failed under {interpreter}; --lerobot none goes without it")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def require_same(name: str, clips: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> None:
    """Stop where a side's clips, in grey levels, are not those that this project's loader reads."""
    for number, (clip, mine) in enumerate(zip(clips, wanted, strict=True)):
        apart = np.abs(mine.astype(float) - clip).mean()
        if apart > LARGEST_DIFFERENCE:
            raise SystemExit(f"loader: clip {number} of {name} differs by {apart:.1f} grey levels")


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lerobot",
        metavar="PYTHON",
        default=str(INTERPRETER) if INTERPRETER.exists() else "none",
        help="interpreter that has LeRobot, or none (default: that of `make lerobot`, where it is)",
    )
    chosen = parser.parse_args().lerobot
    interpreter = None if chosen == "none" else Path(chosen)
    if interpreter is None:
        print("LeRobot is not installed (make lerobot): its pattern is the peer", file=sys.stderr)
    elif not interpreter.is_file():
        parser.error(f"there is no {interpreter}: make lerobot")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(Path(folder), interpreter)))


def measured(folder: Path, interpreter: Path | None) -> dict[str, object]:
    """All sides in turn, and their record."""
    raw, small, shards = (folder / name for name in ("raw", "small", "shards"))
    write(raw, small)
    curated(raw, shards, FPS, SIZE, folder / "journal")
    store = EpisodeStore(shards, "train", kept_bytes=0)
    draws = ClipDraws(store.lengths, FRAMES, STRIDE, SEED)
    places = np.concatenate([np.stack(draws.draw(step, BATCH), 1) for step in range(BATCHES + 1)])
    wanted = [store.clip(int(episode), start + STRIDE * np.arange(FRAMES))[0] for episode, start in places[:COMPARED]]
    roots = {"": (raw, EVERY), "_small": (small, 1)}
    sides: dict[str, Callable[[], float]] = {
        "ours": partial(ours, shards, KEPT_MB, WARM),
        "streamed": partial(ours, shards, 0, 0),
    }
    versions: dict[str, Any] = {}

    def of_class(name: str, root: Path, every: int, python: Path) -> float:
        starts = places[:, 0] * SECONDS * FPS * every + places[:, 1] * every
        first = folder / f"{name}.npy"
        said = lerobots_class(python, root, starts, first)
        require_same(name, 255 * np.load(first)[:COMPARED].transpose(0, 1, 3, 4, 2), wanted)
        versions.update(said)
        return said["clips_per_second"]

    for ending, (root, every) in roots.items():
        if interpreter is not None:
            sides[f"class{ending}"] = partial(of_class, f"class{ending}", root, every, interpreter)
        videos = Videos(root, places, AT, FPS, SIZE)
        require_same(f"pattern{ending}", [videos[number].numpy() for number in range(COMPARED)], wanted)
        sides[f"pattern{ending}"] = partial(pattern, root, places)
    in_order = Videos(raw, places, AT, FPS, SIZE)
    sides["loop"] = lambda: rate(in_order.in_a_loop(EVERY), 1, BATCH * BATCHES // 4)
    runs = in_turn(sides, REPEATS, "{:.1f} clips/s".format)
    return result(runs, versions)


def result(runs: dict[str, list[float]], versions: dict[str, Any]) -> dict[str, object]:
    """What is recorded of the clips a second of each side's runs."""
    found = {name: statistics.median(values) for name, values in runs.items()}

    def over(peer: str) -> str:
        ours, streamed = (Comparison(runs[side], runs[peer], "clips/s") for side in ("ours", "streamed"))
        return f"{found[peer]:.0f} (ours is {ours} as fast, streamed {streamed})"

    known = {
        "class": "LeRobot's own class",
        "class_small": "the same over videos as small as the shards'",
        "pattern": "LeRobot's access pattern through PyAV",
        "pattern_small": "the same over such small videos",
        "loop": "a PyAV loop over the recorded videos",
    }
    peers = "; ".join(f"{words}: {over(name)}" for name, words in known.items() if name in runs)
    summary = (
        f"Clips of {FRAMES} frames, {SIZE} pixels, out of {EPISODES} episodes of {SECONDS} s that were recorded at "
        f"{RAW_SIZE} pixels and {RAW_FPS} frames a second, one process that reads: {found['ours']:.0f} clips/s once "
        f"the episodes are decoded and kept, within the profiles' bound; {found['streamed']:.0f} where nothing is. "
        f"{peers[0].upper()}{peers[1:]}. {REPEATS} runs a side, in turn."
    )
    peer = "class" if "class" in runs else "pattern"
    peer_is = "the access pattern of LeRobotDataset 0.4.4 with torchcodec, through PyAV: not the class itself"
    if peer == "class":
        peer_is = f"LeRobotDataset of lerobot {versions['lerobot']}, decoding by {versions['decoder']}"
    figures = {name: rounded(value) for name, value in found.items()}
    return Comparison(runs["ours"], runs[peer], "clips/s").record("loader", peer_is, summary, clips_per_second=figures)


if __name__ == "__main__":
    main()
