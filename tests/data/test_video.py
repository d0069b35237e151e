from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_lerobot import recording, truncate

from vjepa.data.video import VideoFile, decode_video, encode_mp4
from vjepa.errors import DataError


def test_frames_come_back_in_order_with_their_colours() -> None:
    frames = np.full((5, 32, 48, 3), 30, np.uint8)
    frames[:, :, :24] = (200, 90, 10)
    frames[:, :, 24:] += (20 * np.arange(5, dtype=np.uint8))[:, None, None, None]
    decoded, times = decode_video(encode_mp4(frames, 8.0))
    inside = np.abs(decoded.astype(int) - frames)[:, :, np.r_[2:20, 28:46]]  # chroma is coarse along the edge
    assert inside.max() <= 3
    assert np.abs(times - np.arange(5) / 8).max() < 1e-6


def test_brightness_is_kept_on_average() -> None:
    frames = recording(0).frames
    decoded, _ = decode_video(encode_mp4(frames, 8.0))
    assert abs(decoded.astype(float).mean() - frames.mean()) < 0.3


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_same_frames_give_the_same_bytes(size: int) -> None:
    frames, memory = recording(1, size=size).frames, []
    encoded = set()
    for round in range(60):  # what the memory held before must not matter
        memory.append(bytes([round]) * 10_000 * (round % 7))
        encoded.add(encode_mp4(frames, 10.0))
    assert len(encoded) == 1


@pytest.mark.parametrize("fps", [0.5, 29.97, 60.0])
def test_time_stamps_follow_any_rate(fps: float) -> None:
    _, times = decode_video(encode_mp4(recording(0).frames, fps))
    assert np.abs(times - np.arange(16) / fps).max() < 1e-4


@pytest.mark.parametrize("keyframe_every", [1, 5, 250])
def test_frames_are_chosen_by_the_nearest_time_stamp(tmp_path: Path, keyframe_every: int) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(encode_mp4(recording(0, length=20).frames, 10.0, keyframe_every=keyframe_every))
    everything, _ = decode_video(file)
    with VideoFile(file) as video:
        assert abs(video.duration - 2.0) < 1e-6
        for wanted, nearest in (([0.0, 0.04, 0.06], [0, 0, 1]), ([1.12, 1.5], [11, 15]), ([1.9, 7.0], [19, 19])):
            frames, times = video.frames_at(np.array(wanted))
            assert times * 10 == pytest.approx(nearest)
            assert (frames == everything[nearest]).all()


def test_long_videos_can_be_entered_at_every_sixteenth_frame() -> None:
    times = np.array([35.0, 36.0]) / 10
    with VideoFile(encode_mp4(recording(0, length=50).frames, 10.0)) as video:
        entered = [time for _, time in video.frames_from(times[0])]
    assert entered == pytest.approx(np.arange(32, 50) / 10)


def test_a_truncated_video_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cut.mp4"
    file.write_bytes(encode_mp4(recording(0).frames, 8.0))
    truncate(file)
    with pytest.raises(DataError, match=r"cut\.mp4 can't be opened as a video"):
        decode_video(file)


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="even height and width, not 31 x 32"):
        encode_mp4(recording(0).frames[:, :31], 8.0)
