"""What is wrong with the pictures of an episode: black frames, and a picture that stands still while the robot moves.

The limit of a black frame is that which FFmpeg's filter `blackdetect` has by default. Its `freezedetect` looks at the
mean over the picture, in which a small hand before a still background counts for nothing: what moves least in a real
picture is told from what stands still by the part of it that changes most.
"""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BLACK_PIXEL = 0.1 * 255  # a pixel is black up to this brightness
BLACK_SHARE = 0.98  # of the pixels of a black frame
PARTS, LEAST_SIDE = 16, 4  # parts of a picture along its height, and pixels on each side of a part at least
STILL = 1.0  # of 255, by which the most changed part of a picture that stands still may change, for a codec's sake
MOVES = 0.1  # the states move by this share of the usual: of what they cover in an episode, or of a column's usual step


def black_frames(frames: np.ndarray) -> np.ndarray:
    """Which frames `uint8 [T, H, W, 3]` are nearly black: `bool [T]`."""
    return (frames @ LUMA <= BLACK_PIXEL).mean((1, 2)) >= BLACK_SHARE


def largest_change(frames: np.ndarray) -> np.ndarray:
    """Mean change, from each frame to the next, of the part of the picture that changes most.

    Args:
        frames: `uint8 [T, H, W, 3]`; parts are squares of a sixteenth of the height, or of 4 pixels.

    Returns:
        `float64 [T - 1]`, of 255.
    """
    side = max(LEAST_SIDE, frames.shape[1] // PARTS)
    rows, columns = (length // side for length in frames.shape[1:3])
    inside = frames[:, : rows * side, : columns * side]
    after, before = inside[1:], inside[:-1]
    change = np.maximum(after, before) - np.minimum(after, before)
    parts = change.reshape(len(change), rows, side, columns, side, 3).mean((2, 4, 5))
    return parts.max((1, 2), initial=0.0)


def longest_freeze(change: np.ndarray, times: np.ndarray, moved: np.ndarray) -> tuple[float, float]:
    """The longest stretch in which the picture stands still although the states move.

    Args:
        change: see `largest_change`.
        times: `float64 [T]`, s.
        moved: `float32 [T - 1, S]`, by how much the states change from each frame to the next: not the states, whose
            angles leap by a turn where they wrap around. Without any (S = 0), every stretch counts.

    Returns:
        Its start and end, s; equal where there is none.
    """
    longest = (float(times[0]), float(times[0]))
    states = np.concatenate([np.zeros((1, moved.shape[1])), np.cumsum(moved, axis=0, dtype=np.float64)])
    covered = np.linalg.norm(np.ptp(states, axis=0))
    edges = np.flatnonzero(np.diff(change <= STILL, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():  # frames start to end show the same picture
        moves = states.shape[1] == 0 or np.linalg.norm(np.ptp(states[start : end + 1], axis=0)) > MOVES * covered
        if moves and times[end] - times[start] > longest[1] - longest[0]:
            longest = float(times[start]), float(times[end])
    return longest
