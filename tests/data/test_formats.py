"""The same episodes in every format give the same clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_droid
import tiny_lerobot
import tiny_videos
from tiny_lerobot import recording

from vjepa.data.sources import FORMATS, open_source
from vjepa.data.video_folder import VIDEO_ALONE

WRITERS = {
    "lerobot v2.0": (lambda path, made: tiny_lerobot.write_lerobot_v2(path, made, "v2.0"), tiny_lerobot.SOURCE),
    "lerobot v2.1": (lambda path, made: tiny_lerobot.write_lerobot_v2(path, made, "v2.1"), tiny_lerobot.SOURCE),
    "lerobot v3.0": (tiny_lerobot.write_lerobot, tiny_lerobot.SOURCE),
    "droid": (tiny_droid.write_droid, tiny_droid.SOURCE),
    "video": (tiny_videos.write_videos, VIDEO_ALONE),  # the same but for the states
}


def test_every_format_is_written_here() -> None:
    assert {name.split()[0] for name in WRITERS} == set(FORMATS)


@pytest.mark.parametrize("rate", [8.0, 4.0])
def test_states_and_times_are_equal_bit_for_bit_and_pixels_within_the_codecs_error(
    rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_lerobot, "FPS", 8.0)  # whose steps are exact in float32, as LeRobot stores time
    made = [recording(seed, length=8 + seed) for seed in range(3)]
    step = round(8 / rate)
    for name, (write, config) in WRITERS.items():
        source = open_source(write(tmp_path / name, made), config, rate)
        for entry, original in zip(source.episodes, made, strict=True):
            episode = source.read(entry, rate)
            states = original.states[::step, : 0 if name == "video" else 7]
            assert episode.states.dtype == np.float32 and np.array_equal(episode.states, states), name
            assert episode.actions is None  # derived from the states, which are equal
            assert episode.times.dtype == np.float64
            assert (episode.times == np.arange(len(episode.times)) / rate).all(), name
            assert np.abs(episode.frames.astype(int) - original.frames[::step]).mean() < 2, name
            assert episode.task == original.task
