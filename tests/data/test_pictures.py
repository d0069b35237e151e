"""What is wrong with the pictures of an episode, and where: black, frozen, cut; and videos that are parted at cuts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_lerobot import CONFIG, SOURCE, Recording, recording, write_lerobot
from tiny_videos import write_videos

from vjepa.data.curation import curate
from vjepa.data.pictures import black_frames, largest_change, longest_freeze
from vjepa.data.shards import load_episodes, read_manifest
from vjepa.data.shots import changes, cuts, shots
from vjepa.data.video_folder import VIDEO_ALONE


def filtered(frames: np.ndarray, name: str, options: str) -> list[dict[str, str]]:
    """What FFmpeg's filter of that name says of each frame; ten frames a second."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frames.shape[2], height=frames.shape[1], format="rgb24", time_base=Fraction(1, 10))
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add(name, options), sink).configure()
    said = []
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        source.push(frame)
        said.append(dict(sink.pull().metadata))
    return said


def other(frames: np.ndarray) -> np.ndarray:
    """Another scene: what is dark becomes light."""
    return 255 - frames // 2


def film() -> np.ndarray:
    """Two scenes with a cut before frame 12, and frames 5 to 8 the same."""
    frames = np.concatenate([recording(0, 12).frames, other(recording(1, 12).frames)])
    frames[5:9] = frames[5]
    return frames


def test_cuts_are_scored_as_by_ffmpeg() -> None:
    said = filtered(film(), "scdet", "threshold=0")
    theirs = [float(frame["lavfi.scd.score"]) for frame in said]
    change = changes(film())
    for limit in np.linspace(0.05, 40, 60):
        expected = [place for place, score in enumerate(theirs) if score > limit and place > 1]
        assert [place for place in cuts(change, limit).tolist() if place > 1] == expected
    assert shots(film(), 20) == [slice(0, 12), slice(12, 24)]


def test_black_frames_are_those_of_ffmpeg() -> None:
    frames = np.zeros((8, 40, 50, 3), np.uint8)
    for number, share in enumerate((0, 0.01, 0.019, 0.021, 0.1, 0.5, 1.0)):
        frames[number].reshape(-1, 3)[: round(2000 * share)] = 90
    frames[7] = 20  # nearly black all over
    black = black_frames(frames)
    assert black.tolist() == [True, True, True, False, False, False, False, True]
    for frame, is_black in zip(frames, black, strict=True):
        said = filtered(np.stack([frame, frame]), "blackdetect", "d=0.001")
        assert ("lavfi.black_start" in said[0]) == is_black


def test_a_freeze_counts_only_while_the_states_move() -> None:
    times, change = np.arange(24) / 10, largest_change(film())
    moving = np.full((23, 1), 1 / 23, np.float32)
    assert longest_freeze(change, times, moving) == pytest.approx((0.5, 0.8))
    assert longest_freeze(change, times, np.zeros((23, 0), np.float32)) == pytest.approx((0.5, 0.8))
    waiting = moving.copy()
    waiting[4:10] = 0
    start, end = longest_freeze(change, times, waiting)
    assert start == end
    (frozen,) = [
        frame["lavfi.freezedetect.freeze_start"]
        for frame in filtered(film(), "freezedetect", "d=0.25")
        if "lavfi.freezedetect.freeze_start" in frame
    ]
    assert float(frozen) == 0.5


def black(made: Recording) -> Recording:
    made.frames[8:] = 3
    return made


def frozen(made: Recording) -> Recording:
    made.frames[4:14] = made.frames[4]
    return made


def cut(made: Recording) -> Recording:
    made.frames[6:] = other(made.frames[6:])
    return made


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (black, "black", "black: 4 of 8 frames, the first at 0.800 s"),
        (frozen, "frozen", "frozen: the picture stands still from 0.400 to 1.200 s while the robot moves"),
        (cut, "shot_cut", "shot cut: the picture jumps to another scene at 0.600 s"),
    ],
)
def test_a_robot_episode_with_bad_pictures_is_left_out_with_the_place(
    tmp_path: Path, spoil: Callable[[Recording], Recording], kind: str, reason: str
) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0), spoil(recording(1)), recording(2)])
    (tmp_path / "shards").mkdir()
    done = curate(raw, tmp_path / "shards", SOURCE, CONFIG, tmp_path / "journal")
    assert {name: count for name, count in done.counts["quarantined"].items() if count} == {kind: 1}
    (entry,) = json.loads((tmp_path / "shards/quarantine.json").read_text())
    assert (entry["episode"], entry["reason"]) == (1, reason)
    assert done.left_out[0].pictures.shape == (6, 64, 64, 3)


def test_a_video_is_parted_at_its_cuts_and_each_shot_is_judged_by_itself(tmp_path: Path) -> None:
    """24 frames at 8 a second: shots of 10, 2 and 12, of which the second is too short."""
    pictures = np.concatenate([recording(0, 10).frames, other(recording(1, 2).frames), recording(2, 12).frames])
    raw = write_videos(tmp_path / "raw", [recording(3), Recording(pictures, np.zeros((23, 0), np.float32))])
    (tmp_path / "shards").mkdir()
    done = curate(raw, tmp_path / "shards", VIDEO_ALONE, replace(CONFIG, fps=8.0), tmp_path / "journal")
    manifest = read_manifest(tmp_path / "shards")
    assert dict(zip(manifest["key"], manifest["frames"], strict=True)) == {
        "video-000000": 16,
        "video-000001-00": 10,
        "video-000001-02": 12,
    }
    assert manifest[manifest["episode_index"] == 1]["split"].nunique() == 1
    assert [item.reason for item in done.left_out] == ["short shot: 2 frames from one cut to the next"]
    episodes = {e.key: e for split in set(manifest["split"]) for e in load_episodes(tmp_path / "shards", split)}
    last = episodes["video-000001-02"]
    assert last.times[0] == 0 and np.abs(last.frames.mean((1, 2, 3)) - pictures[12:].mean((1, 2, 3))).max() < 2


def test_of_each_task_no_more_are_trained_on_than_the_limit_and_the_others_are_listed(tmp_path: Path) -> None:
    recordings = [replace(recording(seed), task=["push", "reach", "reach"][seed % 3]) for seed in range(24)]
    chosen = []
    for count in (18, 24):
        out = tmp_path / f"shards{count}"
        out.mkdir()
        raw = write_lerobot(tmp_path / f"raw{count}", recordings[:count])
        config = replace(CONFIG, balance="task", balance_limit=4)
        done = curate(raw, out, SOURCE, config, tmp_path / f"journal{count}")
        manifest = read_manifest(out)
        training = manifest[manifest["split"] == "train"]
        assert training["task"].value_counts()["reach"] == 4 >= training["task"].value_counts()["push"]
        left_out = json.loads((out / "quarantine.json").read_text())
        assert len(left_out) == done.counts["quarantined"]["balance"] == count - len(manifest) > 0
        assert left_out[0]["reason"].startswith("balance: its task has ")
        chosen.append(set(training["key"]))
    assert len(chosen[0] & chosen[1]) >= len(chosen[0]) // 2  # adding a third of the episodes exchanges a few


def test_a_small_hand_before_a_still_background_is_no_freeze() -> None:
    """Eight of 4,096 pixels change: in the mean over the picture that is nothing."""
    frames = np.full((20, 64, 64, 3), 90, np.uint8)
    for number in range(20):
        frames[number, 30:32, 10 + 2 * number : 14 + 2 * number] = 200
    moved, times = np.full((19, 3), 0.01, np.float32), np.arange(20) / 5
    assert changes(frames).max() < 0.2
    assert longest_freeze(largest_change(frames), times, moved) == (0.0, 0.0)
    frames[5:15] = frames[5]
    assert longest_freeze(largest_change(frames), times, moved) == (1.0, 2.8)


def test_steady_motion_is_no_cut_from_its_first_frame_on() -> None:
    assert cuts(np.full(30, 13.0), 12).tolist() == []
    assert cuts(np.array([40.0, 2.0, 2.0]), 12).tolist() == [1] and cuts(np.array([2.0, 2.0, 40.0]), 12).tolist() == [3]
    assert cuts(np.array([40.0]), 12).tolist() == [1]


def test_an_arm_at_rest_whose_angle_wraps_around_is_not_taken_to_move(tmp_path: Path) -> None:
    """A hand that points down has a roll of about pi, which the sensor's noise turns into minus pi."""
    made = [recording(seed, length=60) for seed in range(2)]
    rng = np.random.default_rng(0)
    for episode in made:
        angles = np.pi + rng.normal(0, 0.003, 60)
        episode.states[:, 3] = (angles + np.pi) % (2 * np.pi) - np.pi
        episode.states[30:, :3] = episode.states[30, :3]
        episode.states[:, 4:] = 0
        episode.frames[30:] = episode.frames[30]
    (tmp_path / "shards").mkdir()
    config = replace(CONFIG, max_frozen=1.0)
    raw = write_lerobot(tmp_path / "raw", made)
    assert curate(raw, tmp_path / "shards", SOURCE, config, tmp_path / "journal").left_out == []
