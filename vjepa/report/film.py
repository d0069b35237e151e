"""Pictures for the page: single frames, what a mask hides, animations; each as a data URI, so the page needs no file.

Frames keep the size that the encoder sees (64 px in the default profile); the browser enlarges them. WebP, since a
strip of a camera's frames takes a fifth of what it takes as PNG.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

QUALITY = 90


def data_uri(image: np.ndarray) -> str:
    """One picture, `uint8 [H, W, 3]` (or 4 channels, the last one opacity), as a data URI."""
    return _webp([Image.fromarray(np.ascontiguousarray(image))])


def animation(frames: np.ndarray, frame_ms: int, pause_ms: int) -> str:
    """An endlessly repeated animation of `uint8 [T, H, W, 3]` as a data URI; the last frame stays for `pause_ms`."""
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    return _webp(images, [frame_ms] * (len(images) - 1) + [pause_ms])


def _webp(images: list[Image.Image], durations: list[int] | None = None) -> str:
    buffer = io.BytesIO()
    if durations is None or len(images) == 1:
        images[0].save(buffer, "WEBP", quality=QUALITY, method=4)
    else:
        moving: dict[str, Any] = {"save_all": True, "append_images": images[1:], "duration": durations, "loop": 0}
        images[0].save(buffer, "WEBP", quality=QUALITY, method=4, **moving)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the frames, evenly spread from the first to the last."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """The frames `uint8 [T, H, W, 3]` smoothly enlarged by a whole number."""
    size = (frames.shape[2] * scale, frames.shape[1] * scale)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames])


def show_context(clip: np.ndarray, context: np.ndarray, tubelet: int, patch: int) -> np.ndarray:
    """The clip with every token that the encoder does not get made transparent.

    Args:
        clip: `uint8 [T, H, W, 3]`.
        context: ids of the visible tokens, `int64 [K]`, in the order (tubelet, row, column).
        tubelet: frames in a token.
        patch: pixels on each side of a token.

    Returns:
        `uint8 [T, H, W, 4]`: the same pixels, with opacity 255 where they are context and 0 where they are hidden.
    """
    times, height, width = clip.shape[:3]
    grid = np.zeros((times // tubelet, height // patch, width // patch), np.uint8)
    grid.flat[context] = 255
    opacity = grid.repeat(tubelet, 0).repeat(patch, 1).repeat(patch, 2)
    return np.concatenate([clip, opacity[..., None]], axis=-1)
