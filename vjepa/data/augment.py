"""Other views of clips: random resized crops and mirror images, the same in all frames of a clip (paper, sec. 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
import torch.nn.functional as F

ATTEMPTS = 10


@dataclass(frozen=True)
class Views:
    """How clips are looked at, N of them.

    Attributes:
        boxes: `int64 [N, 4]`, top, left, height and width of what is shown, in pixels.
        mirrored: `bool [N]`, whether left and right are exchanged.
    """

    boxes: np.ndarray
    mirrored: np.ndarray

    def __getitem__(self, part: slice) -> Views:
        return Views(self.boxes[part], self.mirrored[part])


@dataclass(frozen=True)
class Augmentation:
    """Which views are drawn; crops of scale 1 and aspect 1 that are not flipped leave square clips as they are.

    Attributes:
        crop_scale: lowest and highest area of a crop, as a share of the frame's; drawn uniformly.
        crop_aspect: lowest and highest width / height of a crop; its logarithm is drawn uniformly.
        flip: whether half of the clips are mirrored.
    """

    crop_scale: tuple[float, float]
    crop_aspect: tuple[float, float]
    flip: bool

    def draw(self, count: int, height: int, width: int, rng: np.random.Generator) -> Views:
        """Views of `count` clips of that many pixels.

        A crop that does not fit into the frame is drawn again, ten times at most; then the largest one in the middle
        whose aspect is allowed is taken. `rng` is advanced alike whatever the settings are.
        """
        narrowest, widest = self.crop_aspect
        area = height * width * rng.uniform(*self.crop_scale, (count, ATTEMPTS))
        aspect = np.exp(rng.uniform(log(narrowest), log(widest), (count, ATTEMPTS)))
        place, side = rng.random((2, count)), rng.random(count)
        sizes = np.rint(np.sqrt([area / aspect, area * aspect])).astype(np.int64)
        fits = (sizes[0] <= height) & (sizes[1] <= width) & (sizes > 0).all(0)
        first = fits.argmax(1)
        drawn = sizes[:, np.arange(count), first]
        shown = min(max(width / height, narrowest), widest)
        largest = np.rint([min(height, width / shown), min(width, height * shown)]).astype(np.int64)
        size = np.where(fits.any(1), drawn, largest[:, None])
        room = np.array([[height], [width]]) - size
        corner = np.where(fits.any(1), (place * (room + 1)).astype(np.int64), room // 2)
        return Views(np.concatenate([corner, size]).T, (side < 0.5) & self.flip)


def look(clips: np.ndarray, views: Views, image_size: int | None = None) -> np.ndarray:
    """Each clip as its view shows it, resized.

    Args:
        clips: `uint8 [B, T, H, W, 3]`.
        views: one for each clip.
        image_size: pixels on each side of what is returned; None: the clips' own height and width.

    Returns:
        `uint8 [B, T, H', W', 3]`; a view of the whole frame in its own size is the clip itself, bit for bit.
    """
    size = clips.shape[2:4] if image_size is None else (image_size, image_size)
    shown = np.empty((*clips.shape[:2], *size, 3), np.uint8)
    for target, clip, (top, left, height, width), mirrored in zip(
        shown, clips, views.boxes, views.mirrored, strict=True
    ):
        crop = clip[:, top : top + height, left : left + width]
        if crop.shape[1:3] != size:
            images = torch.from_numpy(crop).permute(0, 3, 1, 2)
            resized = F.interpolate(images, size, mode="bilinear", antialias=True)
            crop = resized.permute(0, 2, 3, 1).numpy()
        target[:] = crop[:, :, ::-1] if mirrored else crop
    return shown
