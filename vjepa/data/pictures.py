"""What is wrong with the pictures of an episode: black frames, and a picture that stands still while the robot moves.

The limits of a black and of a frozen frame are those that FFmpeg's filters `blackdetect` and `freezedetect` have by
default. The filters themselves know nothing of states, and take several times as long for frames that are decoded.
"""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BLACK_PIXEL = 0.1 * 255  # a pixel is black up to this brightness
BLACK_SHARE = 0.98  # of the pixels of a black frame
STILL = 0.1  # % of the range of brightness by which frames that follow each other may differ and still be the same
MOVES = 0.1  # the states move if they cover this share of what they cover in the whole episode


def black_frames(frames: np.ndarray) -> np.ndarray:
    """Which frames `uint8 [T, H, W, 3]` are nearly black: `bool [T]`."""
    return (frames @ LUMA <= BLACK_PIXEL).mean((1, 2)) >= BLACK_SHARE


def longest_freeze(change: np.ndarray, times: np.ndarray, moved: np.ndarray) -> tuple[float, float]:
    """The longest stretch in which the picture stands still although the states move.

    Args:
        change: of the picture from each frame to the next, `float64 [T - 1]`, as `vjepa.data.shots.changes` has it.
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
