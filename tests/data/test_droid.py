"""DROID's raw folders: time from the camera's clock, frames by their order, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny_droid
from tiny_droid import POSE, SERIAL, write_droid
from tiny_lerobot import CONFIG, recording, truncate

from vjepa.data.curation import curate
from vjepa.data.raw import EpisodeError, RawEpisode
from vjepa.data.sources import open_source
from vjepa.errors import DataError


def read(path: Path, episode: int = 0, fps: float = 8.0) -> RawEpisode:
    source = open_source(path, tiny_droid.SOURCE, fps)
    return source.read(source.episodes[episode], fps)


def brightness(frames: np.ndarray) -> np.ndarray:
    return frames.astype(float).mean((1, 2, 3))


def test_time_is_the_cameras_clock_whatever_the_videos_header_says(tmp_path: Path) -> None:
    made = [recording(seed) for seed in range(3)]
    write_droid(tmp_path / "raw", made, fps=15.0)
    episode = read(tmp_path / "raw", 1, fps=5.0)
    assert (episode.states == made[1].states[::3]).all()
    assert episode.times == pytest.approx(np.arange(6) / 5, abs=1e-6)
    assert np.abs(brightness(episode.frames) - brightness(made[1].frames[::3])).max() < 1
    assert (episode.task, episode.notes) == ("reach the red square", ())


def test_a_video_that_lacks_its_last_frame_is_matched_from_the_start_with_a_note(tmp_path: Path) -> None:
    write_droid(tmp_path / "raw", [recording(0)], dropped=1)
    episode = read(tmp_path / "raw")
    assert len(episode.frames) == len(episode.times) == len(episode.states) == 15
    assert np.abs(brightness(episode.frames) - brightness(recording(0).frames[:15])).max() < 2  # frames differ by 4
    assert episode.notes == ("its video has 15 frames for 16 rows: they are matched from the start",)


def test_later_annotations_name_the_task(tmp_path: Path) -> None:
    write_droid(tmp_path / "raw", [recording(0)])
    labels = {"LAB+0": {"language_instruction1": "put the cup on the shelf"}}
    (tmp_path / "raw/droid_language_annotations.json").write_text(json.dumps(labels))
    assert read(tmp_path / "raw").task == "put the cup on the shelf"


def only(path: Path, pattern: str) -> Path:
    (file,) = path.rglob(pattern)
    return file


def without_clock(raw: Path) -> None:
    with h5py.File(only(raw, "*.h5"), "a") as file:
        del file[f"observation/timestamp/cameras/{SERIAL}_estimated_capture"]


def without_pose(raw: Path) -> None:
    with h5py.File(only(raw, "*.h5"), "a") as file:
        del file[POSE]


def shorter_pose(raw: Path) -> None:
    with h5py.File(only(raw, "*.h5"), "a") as file:
        values = file[POSE][:-3]
        del file[POSE]
        file[POSE] = values


def linked_away(raw: Path) -> None:
    film = only(raw, "*.mp4")
    elsewhere = raw.parents[1] / "elsewhere.mp4"
    film.rename(elsewhere)
    film.symlink_to(elsewhere)


def stored_outside(raw: Path) -> None:
    (raw.parents[1] / "secret.raw").write_bytes(np.arange(96.0).tobytes())
    with h5py.File(only(raw, "*.h5"), "a") as file:
        del file[POSE]
        file.create_dataset(POSE, (16, 6), "f8", external=[(str(raw.parents[1] / "secret.raw"), 0, 768)])


def linked_to_another_file(raw: Path) -> None:
    with h5py.File(raw.parents[1] / "other.h5", "w") as other:
        other["pose"] = np.zeros((16, 6))
    with h5py.File(only(raw, "*.h5"), "a") as file:
        del file[POSE]
        file[POSE] = h5py.ExternalLink(str(raw.parents[1] / "other.h5"), "pose")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda raw: truncate(only(raw, "*.h5")), "unreadable: .*truncated file"),
        (lambda raw: only(raw, "*.h5").write_bytes(b"no hdf5"), "unreadable: .*file signature not found"),
        (lambda raw: truncate(only(raw, "*.mp4")), "unreadable: can't be opened as a video"),
        (lambda raw: only(raw, "*.mp4").unlink(), "unreadable: can't be opened as a video: No such file"),
        (lambda raw: only(raw, "*.json").unlink(), "unreadable: 0 files metadata"),
        (lambda raw: only(raw, "*.json").write_text("{"), "unreadable: Expecting property name"),
        (lambda raw: only(raw, "*.json").write_text("[]"), "unreadable: it holds no settings"),
        (lambda raw: only(raw, "*.json").write_text("{}"), "no serial number of the camera ext1"),
        (
            lambda raw: only(raw, "*.json").write_text(json.dumps({"ext1_cam_serial": "../../../etc"})),
            "no serial number of the camera ext1",
        ),
        (without_clock, "unreadable: it has no observation/timestamp/cameras"),
        (without_pose, "unreadable: .*cartesian_position"),
        (shorter_pose, "unreadable: rows of its columns"),
        (linked_away, "leads out of"),
        (stored_outside, "lies in another file"),
        (linked_to_another_file, "lies in another file"),
    ],
)
def test_a_spoiled_episode_is_named_and_the_others_are_read(
    tmp_path: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    write_droid(tmp_path / "raw/a", [recording(0)])
    write_droid(tmp_path / "raw/b", [recording(1)])
    spoil(tmp_path / "raw/a")
    with pytest.raises(EpisodeError, match=complaint) as caught:
        read(tmp_path / "raw", 0)
    assert "\n" not in str(caught.value)
    assert (read(tmp_path / "raw", 1).states == recording(1).states).all()


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        (np.r_[np.full(7, 125.0), 0.0, np.full(7, 125.0)], r"time stamps off: 0\.000 s between rows 7 and 8"),
        (np.r_[np.full(7, 125.0), -50.0, np.full(7, 125.0)], r"time stamps off: -0\.050 s between rows 7 and 8"),
        (np.r_[np.full(7, 125.0), 9000.0, np.full(7, 125.0)], r"time stamps off: 9\.000 s between rows 7 and 8"),
    ],
)
def test_a_clock_that_stops_runs_back_or_jumps_is_an_error(tmp_path: Path, steps: np.ndarray, complaint: str) -> None:
    clock = 1.6887e12 + np.r_[0, np.cumsum(steps)]
    write_droid(tmp_path / "raw", [replace(recording(0), columns={"clock": clock})])
    with pytest.raises(EpisodeError, match=complaint):
        read(tmp_path / "raw")


@pytest.mark.parametrize(("clock", "fps"), [(14.5, 15.0), (15.0, 14.0), (15.0, 15.0)])
def test_near_the_cameras_own_rate_every_frame_keeps_its_state(tmp_path: Path, clock: float, fps: float) -> None:
    rng = np.random.default_rng(0)
    made = recording(0, length=40)
    stamps = 1.6887e12 + np.cumsum(rng.uniform(0.8, 1.2, 40)) * 1000 / clock
    write_droid(tmp_path / "raw", [replace(made, columns={"clock": stamps})])
    episode = read(tmp_path / "raw", fps=min(fps, 14.2))
    rows = [int(np.flatnonzero((made.states == state).all(1))[0]) for state in episode.states]
    assert len(rows) > 30 and len(episode.frames) == len(rows)
    assert np.abs(brightness(episode.frames) - brightness(made.frames[rows])).max() < 2  # frames differ by 4


def test_more_frames_a_second_than_were_recorded_are_refused(tmp_path: Path) -> None:
    write_droid(tmp_path / "raw", [recording(0)], fps=15.0)
    with pytest.raises(EpisodeError, match="time stamps off: 15 frames a second, 20 are wanted"):
        read(tmp_path / "raw", fps=20.0)


@pytest.mark.parametrize("dropped", [2, 5])
def test_more_frames_missing_than_the_last_are_an_error(tmp_path: Path, dropped: int) -> None:
    write_droid(tmp_path / "raw", [recording(0)], dropped=dropped)
    with pytest.raises(EpisodeError, match=f"missing frames: {16 - dropped} frames for 16 rows"):
        read(tmp_path / "raw")


def test_a_folder_without_episodes_and_an_unknown_camera_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no trajectory\.h5 in it"):
        open_source(tmp_path / "empty", tiny_droid.SOURCE, 8.0)
    write_droid(tmp_path / "raw", [recording(0)])
    (tmp_path / "raw/droid_language_annotations.json").write_text("[]")
    with pytest.raises(DataError, match="no sentences by uuid"):
        open_source(tmp_path / "raw", tiny_droid.SOURCE, 8.0)
    with pytest.raises(DataError, match="ext1, ext2, wrist, not 'left'"):
        open_source(tmp_path / "empty", replace(tiny_droid.SOURCE, camera="left"), 8.0)


def test_curation_takes_droid_as_it_takes_lerobot(tmp_path: Path) -> None:
    write_droid(tmp_path / "raw", [recording(seed) for seed in range(4)], fps=15.0)
    truncate(sorted((tmp_path / "raw").rglob("*.mp4"))[2])
    (tmp_path / "shards").mkdir()
    counts = curate(tmp_path / "raw", tmp_path / "shards", tiny_droid.SOURCE, CONFIG, tmp_path / "journal").counts
    assert (counts["episodes_kept"], counts["quarantined"]["unreadable"]) == (3, 1)
    (left_out,) = json.loads((tmp_path / "shards/quarantine.json").read_text())
    assert left_out["episode"] == 2 and left_out["file"].endswith(f"recordings/MP4/{SERIAL}.mp4")
