"""Videos alone: a folder of files or a list of them becomes shards that the encoder can learn from."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_lerobot import CONFIG, POSE, recording, truncate
from tiny_videos import write_videos

from vjepa.data.curation import curate
from vjepa.data.layout import read_layout
from vjepa.data.shards import load_episodes, read_manifest
from vjepa.data.sources import open_source
from vjepa.data.video import encode_mp4
from vjepa.data.video_folder import VIDEO_ALONE
from vjepa.errors import DataError


def test_curation_makes_shards_without_states(tmp_path: Path) -> None:
    write_videos(tmp_path / "raw", [recording(seed) for seed in range(8)])
    (tmp_path / "shards").mkdir()
    counts = curate(tmp_path / "raw", tmp_path / "shards", VIDEO_ALONE, CONFIG, tmp_path / "journal").counts
    assert counts["episodes_kept"] == 8
    layout, manifest = read_layout(tmp_path / "shards"), read_manifest(tmp_path / "shards")
    assert layout.state_names == layout.action_names == () and not layout.pose
    assert (manifest["state_width"] == 0).all() and (manifest["motion_m"] == 0).all()
    with pytest.raises(DataError, match=r"an encoder can learn from them \(dvc repro pretrain\)"):
        layout.require_states(tmp_path / "shards")
    for episode in load_episodes(tmp_path / "shards", "train"):
        frames = len(episode.frames)
        assert episode.states.shape == (frames, 0) and episode.actions.shape == (frames - 1, 0)
        assert episode.task == "reach the red square"


def test_a_bad_file_is_left_out_with_its_reason_and_the_others_are_used(tmp_path: Path) -> None:
    raw = write_videos(tmp_path / "raw", [recording(seed) for seed in range(4)])
    truncate(raw / "films/01.mp4")
    (raw / "films/02.mp4").write_bytes(b"")
    outside = tmp_path / "outside.mp4"
    outside.write_bytes((raw / "films/03.mp4").read_bytes())
    (raw / "films/link.mp4").symlink_to(outside)
    with open(raw / "videos.csv", "a") as listed:
        listed.write(f"../outside.mp4,x\n{outside},x\nfilms/link.mp4,x\nfilms/missing.mp4,x\n")
    (tmp_path / "shards").mkdir()
    counts = curate(raw, tmp_path / "shards", VIDEO_ALONE, CONFIG, tmp_path / "journal").counts
    assert counts["episodes_kept"] == 2 and counts["quarantined"]["unreadable"] == 6
    reasons = {item["episode"]: item for item in json.loads((tmp_path / "shards/quarantine.json").read_text())}
    assert reasons[1]["file"] == "films/01.mp4" and "can't be" in reasons[1]["reason"]
    assert reasons[2]["file"] == "films/02.mp4"
    for number in (4, 5, 6):
        assert reasons[number]["file"] == "videos.csv" and "leads out of" in reasons[number]["reason"]
    assert reasons[7]["file"] == "films/missing.mp4"


def test_a_video_that_changes_its_size_and_a_list_of_other_files_cost_themselves_alone(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("b.mp4", "c.mp4"):
        (raw / name).write_bytes(encode_mp4(recording(0, size=64).frames, 8.0))
    pieces = []
    for first, size in ((0, 64), (25, 96)):
        target = io.BytesIO()
        with av.open(target, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.height = stream.width = size
            stream.pix_fmt = "yuv420p"
            for number, image in enumerate(recording(1, length=25, size=size).frames):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = first + number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        pieces.append(target.getvalue())
    (raw / "a.mpg").write_bytes(b"".join(pieces))
    (raw / "d.mp4").write_text("ffconcat version 1.0\nfile c.mp4\n")
    (tmp_path / "shards").mkdir()
    done = curate(raw, tmp_path / "shards", VIDEO_ALONE, CONFIG, tmp_path / "journal")
    assert done.counts["episodes_kept"] == 2
    reasons = {item.file: item.reason for item in done.left_out}
    assert "changes its size from 64 x 64 to 96 x 96 pixels" in reasons["a.mpg"]
    assert "is a list of other files (concat), no video" in reasons["d.mp4"]


def test_a_long_video_becomes_several_episodes_of_one_split(tmp_path: Path) -> None:
    made = [recording(seed, length=100, size=16) for seed in range(3)]
    raw = write_videos(tmp_path / "raw", made, fps=4.0)
    source = open_source(raw, VIDEO_ALONE, 2.0)
    assert len(source.episodes) == 9  # 25 s in parts of at most 10 s
    parts = [source.read(entry, 2.0) for entry in source.episodes]
    assert [part.index for part in parts] == list(range(9))
    assert len({part.fingerprint for part in parts}) == 3
    whole = np.concatenate([part.frames for part in parts[:3]]).astype(int)
    shown = np.r_[0:34:2, 34:67:2, 67:100:2]  # every half second of each third
    assert len(whole) == len(shown) and np.abs(whole - made[0].frames[shown]).mean() < 3


def test_all_parts_of_a_video_are_in_one_split_with_what_any_of_them_resembles(tmp_path: Path) -> None:
    """The second video ends as the first begins: what is near a part of it is not parted from its other parts."""
    made = [recording(seed, length=100) for seed in range(8)]
    made.append(replace(made[0], frames=np.concatenate([made[1].frames[:67], made[0].frames[67:]])))
    raw = write_videos(tmp_path / "raw", made, fps=4.0)
    (tmp_path / "shards").mkdir()
    config = replace(CONFIG, fps=4.0, test_share=0.5)
    counts = curate(raw, tmp_path / "shards", VIDEO_ALONE, config, tmp_path / "journal").counts
    manifest = read_manifest(tmp_path / "shards")
    manifest["video"] = [int(number) for number in manifest["episode_index"] // 3]
    assert (manifest.groupby("video")["split"].nunique() == 1).all() and manifest["split"].nunique() == 2
    groups = manifest.groupby("video")["group"].unique()
    assert all(len(group) == 1 for group in groups) and groups[0][0] == groups[1][0] == groups[8][0]
    assert counts["near_duplicates"] == 3 and counts["episodes_kept"] == 27


def test_a_rate_that_the_video_does_not_have_is_no_silent_repetition(tmp_path: Path) -> None:
    raw = write_videos(tmp_path / "raw", [recording(0)], fps=4.0)
    with pytest.raises(DataError, match=r"time stamps off: 4 frames a second, 8 are wanted"):
        source = open_source(raw, VIDEO_ALONE, 8.0)
        source.read(source.episodes[0], 8.0)


def test_without_a_list_every_video_of_the_folder_is_taken(tmp_path: Path) -> None:
    for name in ("b/öl 1.mp4", "a.MP4", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode_mp4(recording(0).frames, 8.0))
    source = open_source(tmp_path, VIDEO_ALONE, 4.0)
    assert [entry.file.name for entry in source.episodes] == ["a.MP4", "öl 1.mp4"]
    assert source.read(source.episodes[1], 4.0).task == ""


@pytest.mark.parametrize(
    ("listed", "source", "complaint"),
    [
        ("file\nx.mp4\n", VIDEO_ALONE, r"has the columns file; it needs path"),
        ("path,label\nx.mp4,1\n", VIDEO_ALONE, r"has the columns path, label; it needs path"),
        ("", VIDEO_ALONE, r"videos\.csv can't be read"),
        ("path\n", VIDEO_ALONE, r"videos\.csv lists no video"),
        ("path\nx.mp4\n", replace(VIDEO_ALONE, camera="front"), r"set source\.camera and state to null"),
        ("path\nx.mp4\n", replace(VIDEO_ALONE, state=POSE), r"set source\.camera and state to null"),
    ],
)
def test_what_can_not_be_used_is_named(listed: str, source: object, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text(listed)
    with pytest.raises(DataError, match=complaint):
        open_source(tmp_path, source, 4.0)  # type: ignore[arg-type]
