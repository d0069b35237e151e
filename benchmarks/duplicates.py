"""The search for near-duplicate episodes: what it finds of re-encoded copies, and its cost as episodes become more.

    python -m benchmarks.duplicates

Found: 1,000 episodes of moving scenes of which 100 are copies of others, encoded anew at other qualities and sizes.
Cost: hashes of 12,500 to 100,000 episodes, a tenth of them copies with a few bits changed, beside comparing every pair.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.ndimage import gaussian_filter

from benchmarks._result import Comparison
from vjepa.data.curation import Examined, assign_splits, split_of
from vjepa.data.duplicates import MOMENTS, near_duplicates, pairs_of_one_key, perceptual_hashes
from vjepa.data.video import decode_video, encode_mp4
from vjepa.imaging import square_resize

EPISODES, COPIES, FRAMES, SIZE = 1_000, 100, 12, 64
DISTANCE = 2.0  # the profiles' curate.duplicate_distance
COUNTS = (12_500, 25_000, 50_000, 100_000)
COMPARED = 12_500  # what every pair is compared of
FLIPS = 8
REPEATS = 3


def scene(seed: int) -> np.ndarray:
    """A random scene with a square that moves through it: `uint8 [FRAMES, SIZE, SIZE, 3]`."""
    rng = np.random.default_rng(seed)
    ground = gaussian_filter(rng.random((SIZE, SIZE, 3)), (5, 5, 0))
    frames = np.repeat((255 * (ground - ground.min()) / np.ptp(ground)).astype(np.uint8)[None], FRAMES, 0)
    start, way, colour = rng.uniform(0, SIZE - 12, 2), rng.uniform(-3, 3, 2), rng.integers(256, size=3)
    for t, frame in enumerate(frames):
        row, column = (start + t * way).clip(0, SIZE - 12).astype(int)
        frame[row : row + 12, column : column + 12] = colour
    return frames


def copied(frames: np.ndarray, seed: int) -> np.ndarray:
    """The same, encoded anew: harder compressed, and every other one at another size."""
    size = (SIZE, 48)[seed % 2]
    return decode_video(encode_mp4(square_resize(frames, size), 8, crf=22 + seed % 8))[0]


def found_copies() -> dict[str, float]:
    """Recall and precision of pairs, and how many copies are in another split, and would be without the search."""
    originals = [scene(seed) for seed in track(range(EPISODES - COPIES), "scenes", console=Console(stderr=True))]
    copies = [copied(originals[i], i) for i in range(COPIES)]
    kept = [examined(i, frames) for i, frames in enumerate(originals + copies)]
    labels = near_duplicates(np.stack([episode.hashes for episode in kept]), DISTANCE)
    true = {(i, len(originals) + i) for i in range(COPIES)}
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    said = {(int(a), int(b)) for group in groups for a in group for b in group if a < b}
    alone = [split_of(episode.fingerprint, 0.5) for episode in kept]
    assign_splits(kept, DISTANCE, 0.5)
    split = [episode.row["split"] for episode in kept]
    return {
        "recall": len(said & true) / len(true),
        "precision": len(said & true) / max(len(said), 1),
        "parted_alone": sum(alone[a] != alone[b] for a, b in true),
        "parted": sum(split[a] != split[b] for a, b in true),
    }


def examined(number: int, frames: np.ndarray) -> Examined:
    """An episode as curation holds it, of states that were recorded anew: their hash says nothing of copies."""
    fingerprint = hashlib.sha256(frames.tobytes()).hexdigest()
    return Examined({"key": f"{number:06d}"}, b"", fingerprint, perceptual_hashes(frames), "", ())


def many_hashes(count: int) -> np.ndarray:
    """Random hashes, a tenth of them copies of others with a few bits changed."""
    rng = np.random.default_rng(count)
    hashes = rng.integers(2**64, size=(count, MOMENTS), dtype=np.uint64)
    bits = np.unpackbits(hashes[: count // 10].view(np.uint8).reshape(count // 10, -1), axis=1)
    for row in bits:
        row[rng.permutation(bits.shape[1])[:FLIPS]] ^= 1
    hashes[-(count // 10) :] = np.packbits(bits, axis=1).view(np.uint64)
    return hashes


def seconds_of(count: int) -> float:
    """Of the search among so many episodes."""
    hashes = many_hashes(count)
    started = time.perf_counter()
    labels = near_duplicates(hashes, DISTANCE)
    seconds = time.perf_counter() - started
    if len(np.unique(labels)) != count - count // 10:
        raise SystemExit(f"the search among {count} episodes missed copies")
    return seconds


def all_pairs(count: int) -> float:
    """Seconds of comparing every pair."""
    hashes = many_hashes(count)
    started = time.perf_counter()
    near = 0
    for first, second in pairs_of_one_key(np.zeros(count, np.int64)):
        differing = np.bitwise_count(hashes[first] ^ hashes[second]).sum(1, dtype=np.int64)
        near += int((differing <= DISTANCE * MOMENTS).sum())
    if near != count // 10:
        raise SystemExit("comparing every pair found other copies")
    return time.perf_counter() - started


def main() -> None:
    """Print one line of JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = found_copies()
    runs = [{count: seconds_of(count) for count in COUNTS} for _ in range(REPEATS)]
    curve = {count: statistics.median(run[count] for run in runs) for count in COUNTS}
    pairs = Comparison([run[COMPARED] for run in runs], [all_pairs(COMPARED) for _ in range(REPEATS)], "s")
    exponent = float(np.polyfit(np.log(list(curve)), np.log(list(curve.values())), 1)[0])
    print(f"{found} {curve} {exponent:.2f}", file=sys.stderr)
    listed = ", ".join(f"{count:,} episodes {seconds:.1f} s" for count, seconds in curve.items())
    summary = (
        f"Near-duplicates, {EPISODES:,} episodes {COPIES} of them re-encoded copies: recall {found['recall']:.2f}, "
        f"precision {found['precision']:.3f}; alone {found['parted_alone']} copies would be in "
        f"another split than their original, {found['parted']} are. Search: {listed} (its cost grows as the "
        f"{exponent:.1f}th power); comparing every pair of {COMPARED:,} takes "
        f"{statistics.median(pairs.peer):.1f} s, {pairs} as long."
    )
    peer_is = f"comparing every pair of {COMPARED:,} hashes in numpy"
    result = pairs.record("duplicates", peer_is, summary, curve_s=curve, exponent=round(exponent, 2), **found)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
