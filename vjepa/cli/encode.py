"""`vjepa encode VIDEO...`: the features of any video, by any of these encoders."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from vjepa.cli.arguments import positive
from vjepa.cli.checkpoint import add_reading_arguments, read_models
from vjepa.data.video import VideoFile
from vjepa.errors import DataError, UserError
from vjepa.files import atomic_path
from vjepa.imaging import square_resize
from vjepa.nn.encoder import VisionTransformer, normalise_pixels

TOLERANCE_S = 0.001  # time stamps are rounded to the container's ticks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.epilog = (
        "Each VIDEO gives OUT/<name>.npz: features float32 [clips, tokens, width], the tokens in the order time step, "
        "row, column; grid (time steps, rows, columns); times float64 [clips, frames] in s. Frames are the centred "
        "square. Where a clip is not filled by the video's end its last frame is repeated."
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="any file that FFmpeg decodes")
    parser.add_argument("--encoder", type=Path, default=Path("models/encoder"), help="folder or official .pt file")
    parser.add_argument("--out", type=Path, default=Path("features"), help="folder (default features)")
    parser.add_argument("--clip", type=positive, help="frames encoded together (default: as many as in its training)")
    parser.add_argument("--fps", type=rate, help="frames a second, chosen by time stamp (default: every frame)")
    parser.add_argument(
        "--mean", action="store_true", help="average each time step's tokens: features [clips, steps, width]"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_reading_arguments(parser)
    parser.set_defaults(run=run)


def rate(text: str) -> float:
    """A number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def run(options: argparse.Namespace) -> None:
    """Encode every video; one that can't be read is named and the others are still written."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    targets = {video: options.out / f"{video.stem}.npz" for video in options.videos}
    if len(set(targets.values())) < len(targets):
        raise UserError("two videos have the same name: encode them into folders of their own (--out)")
    if there := [str(target) for target in targets.values() if target.exists()]:
        raise UserError(f"{', '.join(there)}: there already; choose another folder (--out) or remove it")
    models = read_models(options.encoder, options)
    clip = options.clip or models.frames
    try:
        encoder = models.encoder.to(options.device)
    except (RuntimeError, AssertionError) as error:  # how torch reports a device that it does not know or have
        raise UserError(f"--device {options.device} can't be used: {str(error).splitlines()[0]}") from error
    failed = []
    for video, target in targets.items():
        try:
            arrays = encode_video(encoder, video, clip, options.fps, options.mean)
        except DataError as error:
            failed.append(str(error))
            continue
        with atomic_path(target) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        shape = " x ".join(map(str, arrays["features"].shape))
        console.print(f"{video}: {shape} features in {target}")
    if failed:
        raise UserError("; ".join(failed))


@torch.inference_mode()
def encode_video(
    encoder: VisionTransformer, video: Path, clip: int, fps: float | None = None, mean: bool = False
) -> dict[str, np.ndarray]:
    """Features of a video, encoded clip by clip and kept in memory: 33 MB for a clip of 64 frames at ViT-L.

    Args:
        encoder: of any size.
        video: the file.
        clip: frames encoded together.
        fps: frames a second; None: every frame.
        mean: average the tokens of each time step.

    Returns:
        `features` `float32 [C, N, D]`, or `[C, T', D]` with `mean`; `grid` `int64 [3]`; `times` `float64 [C, clip]`, s.

    Raises:
        DataError: the file can't be decoded or shows nothing.
    """
    features, times, grid = [], [], (0, 0, 0)
    device = next(encoder.parameters()).device
    for frames, shown in track(clips_of(video, clip, fps, encoder.image_size), f"encode {video.name}"):
        pixels = normalise_pixels(torch.from_numpy(frames).to(device).unsqueeze(0))
        tokens = encoder(pixels)[0]
        rows, columns = encoder.grid
        grid = (len(tokens) // (rows * columns), rows, columns)
        features.append((tokens.unflatten(0, (grid[0], -1)).mean(1) if mean else tokens).float().cpu().numpy())
        times.append(shown)
    if not features:
        raise DataError(f"{video} holds no frames")
    return {"features": np.stack(features), "grid": np.array(grid), "times": np.stack(times)}


def clips_of(video: Path, clip: int, fps: float | None, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clips one after the other: `uint8 [clip, size, size, 3]` and the times of their frames, `float64 [clip]`."""
    frames: list[np.ndarray] = []
    times: list[float] = []
    due = -np.inf
    with VideoFile(video) as file:
        for frame, time in file.frames_from(0.0):
            if time < due - TOLERANCE_S:
                continue
            due = -np.inf if fps is None else (time if due == -np.inf else due) + 1 / fps
            frames.append(square_resize(file.to_rgb(frame), size))
            times.append(time)
            if len(frames) == clip:
                yield np.stack(frames), np.array(times)
                frames, times = [], []
    if frames:
        missing = clip - len(frames)
        yield np.stack(frames + frames[-1:] * missing), np.array(times + times[-1:] * missing)
