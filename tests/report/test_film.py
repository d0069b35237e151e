import base64
import io

import numpy as np
from PIL import Image

from vjepa.report.film import animation, data_uri, enlarge, show_context, spread


def opened(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_a_masked_clip_shows_exactly_the_context_tokens() -> None:
    clip = np.full((4, 16, 16, 3), 200, np.uint8)
    context = np.array([1, 4 + 2])  # first tubelet: top right; second tubelet: bottom left
    opacity = show_context(clip, context, tubelet=2, patch=8)[..., 3]
    shown = {(t, y // 8, x // 8) for t, y, x in np.argwhere(opacity == 255)}
    assert shown == {(0, 0, 1), (1, 0, 1), (2, 1, 0), (3, 1, 0)}
    assert (opacity == 255).sum() == 4 * 64 and set(np.unique(opacity)) == {0, 255}


def test_an_animation_shows_every_frame_and_rests_on_the_last() -> None:
    frames = np.stack([np.full((8, 8, 3), 40 * i, np.uint8) for i in range(5)])
    image = opened(animation(frames, 100, 1500))
    durations = []
    for i in range(image.n_frames):  # type: ignore[attr-defined]
        image.seek(i)
        image.load()
        durations.append(image.info["duration"])
    assert durations == [100, 100, 100, 100, 1500]


def test_an_animation_of_one_frame_is_a_picture() -> None:
    assert opened(animation(np.zeros((1, 8, 8, 3), np.uint8), 100, 1500)).size == (8, 8)


def test_a_picture_keeps_its_size_and_nearly_its_colour() -> None:
    picture = np.full((6, 10, 3), (200, 100, 50), np.uint8)
    image = opened(data_uri(picture))
    assert image.size == (10, 6)
    assert np.abs(np.asarray(image).astype(int) - picture).max() < 8


def test_spread_frames_include_the_first_and_the_last() -> None:
    frames = np.arange(16)[:, None, None, None]
    assert spread(frames, 8).ravel().tolist()[::7] == [0, 15]
    assert len(spread(frames[:3], 8)) == 3


def test_enlarged_frames_have_whole_multiples_of_the_size() -> None:
    assert enlarge(np.zeros((2, 4, 6, 3), np.uint8), 3).shape == (2, 12, 18, 3)
