"""Clips a second of LeRobot's own `LeRobotDataset`: run by `benchmarks.loader` with the interpreter that has LeRobot.

    .venv-lerobot/bin/python benchmarks/_lerobot_clips.py JOB.json

LeRobot pins other releases of torch than this project, so this file imports nothing of it. JOB.json says

- `root`, `camera`: the data set and which of its videos;
- `starts`: numbers of the frames at which clips start, in order; `seconds`: time of a clip's frames from its start;
- `size`: pixels to which frames are resized, by the class's own `image_transforms`;
- `batch`, `first`: clips at once, and the .npy file that gets the first batch, `float32 [B, T, 3, size, size]`.

The first batch, which waits for the process that reads, is not measured. Prints one line of JSON: clips a second, the
releases, and what decoded: torchcodec, which is LeRobot's default, or PyAV where FFmpeg's libraries are missing.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader
from torchvision.transforms import v2


def main() -> None:
    """Read the job, read the clips, print the result."""
    job = json.loads(Path(sys.argv[1]).read_text())
    try:
        torchcodec = importlib.import_module("torchcodec")
        backend, decoder = "torchcodec", f"torchcodec {torchcodec.__version__}"
    except (ImportError, OSError, RuntimeError):  # it finds no libraries of FFmpeg's
        backend, decoder = "pyav", f"PyAV {version('av')}"
    clips = LeRobotDataset(
        "benchmark/clips",
        root=job["root"],
        delta_timestamps={job["camera"]: job["seconds"]},
        image_transforms=v2.Resize((job["size"], job["size"]), antialias=True),
        video_backend=backend,
    )
    batches = iter(DataLoader(clips, job["batch"], sampler=job["starts"], num_workers=1))
    np.save(job["first"], next(batches)[job["camera"]].numpy())
    started = time.perf_counter()
    count = sum(len(batch[job["camera"]]) for batch in batches)
    seconds = time.perf_counter() - started
    said = {"clips_per_second": count / seconds, "lerobot": version("lerobot"), "decoder": decoder}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
