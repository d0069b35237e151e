"""`vjepa data inspect` on data sets with known flaws."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

import tiny_droid
from tiny_lerobot import CAMERA, STATE, recording, truncate, write_lerobot, write_lerobot_v2
from tiny_videos import write_videos

from scripts.compose import compose
from stages.runner import read_params
from vjepa.cli.main import main
from vjepa.config import SourceConfig, read_config
from vjepa.data.inspection import inspect, proposal
from vjepa.data.sources import open_source
from vjepa.data.video_folder import VIDEO_ALONE
from vjepa.errors import DataError


def told(found: dict[str, list[str]], words: str) -> list[str]:
    """The places of the one finding that says so."""
    (places,) = (places for finding, places in found.items() if words in finding)
    return places


def test_a_sound_data_set_is_described_and_nothing_is_found(tmp_path: Path) -> None:
    found = inspect(write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(4)]))
    assert (found.format, found.robot, found.fps) == ("lerobot v3.0", "Toy Arm", 10.0)
    assert (found.episodes, found.frames, found.opened, found.findings) == (4, 64, 4, {})
    assert found.hours == pytest.approx(64 / 10 / 3600)
    assert dict(found.cameras[CAMERA].shown) == {"32 x 32 at 10 frames a second": 4}
    column = found.columns[STATE]
    states = np.concatenate([recording(seed).states for seed in range(4)])
    np.testing.assert_allclose(column.low, states.min(0))
    np.testing.assert_allclose(column.high, states.max(0))
    assert found.tasks == {"reach the red square": 4} and found.strip is not None


def test_every_flaw_is_found_with_its_episodes(tmp_path: Path) -> None:
    made = [recording(seed) for seed in range(6)]
    made[1].columns["timestamp"] = np.arange(16) / 10 + 5
    made[2].columns["timestamp"] = np.r_[np.arange(8), np.arange(7, 15)] / 10
    made[3].states[4, 2] = np.nan
    raw = write_lerobot_v2(tmp_path / "raw", made, total_episodes=7, total_frames=96)
    (raw / f"videos/chunk-002/{CAMERA}/episode_000004.mp4").unlink()
    truncate(raw / f"videos/chunk-002/{CAMERA}/episode_000005.mp4")
    lines = [json.loads(line) for line in (raw / "meta/episodes.jsonl").read_text().splitlines()]
    lines[0] |= {"tasks": [], "length": 12}
    (raw / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = inspect(raw)
    assert told(found.findings, "says total_episodes 7, the index has 6") == [""]
    assert told(found.findings, "says total_frames 96, the index has 92") == [""]
    assert told(found.findings, "episodes without a task") == ["1 of them"]
    assert told(found.findings, "another number of rows") == ["episode 0: 12, 16"]
    assert told(found.findings, "time stamps start at 5.000 s") == ["episode 1"]
    assert told(found.findings, "leave the grid") == ["episode 2"]
    assert told(found.findings, f"{STATE} holds NaN") == ["1 values"]
    assert found.cameras[CAMERA].missing == 1
    assert "episode 5" in told(found.findings, "a video can't be decoded")[0]


def test_droid_is_described_by_its_camera_clock(tmp_path: Path) -> None:
    raw = tiny_droid.write_droid(tmp_path / "raw", [recording(seed) for seed in range(3)], fps=15.0)
    found = inspect(raw)
    assert (found.format, found.episodes, found.frames) == ("droid", 3, 48)
    assert found.fps == pytest.approx(15.0)
    assert found.cameras["ext1"].shown and found.cameras["wrist"].missing == 3
    assert found.columns[tiny_droid.POSE].width == 6


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["lerobot", "droid"])
def test_the_proposal_opens_the_data_set(kind: str, tmp_path: Path) -> None:
    write = write_lerobot if kind == "lerobot" else tiny_droid.write_droid
    raw = write(tmp_path / "raw", [recording(0)])
    text = proposal(inspect(raw))
    config = read_config(SourceConfig, yaml.safe_load(text)["source"], "source")
    assert config.format == kind and "\n# Proposed for raw" in text
    source = open_source(raw, config, 8.0)
    states = source.read(source.episodes[0], {"droid": 8.0, "lerobot": 10.0}[kind]).states
    assert states[:, :6] == pytest.approx(recording(0).states[:, :6], abs=1e-6)


def test_the_proposal_is_all_the_settings_that_a_data_set_needs(tmp_path: Path) -> None:
    """Composed with the default profile it makes settings that every stage reads, without the simulator."""
    found = inspect(write_lerobot(tmp_path / "raw", [recording(number) for number in range(6)]))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "source" / "raw.yaml").write_text(proposal(found))
    compose(tmp_path / "params.yaml", ["source=raw"], tmp_path / "conf")
    params = read_params(tmp_path / "params.yaml")
    assert params["source"].format == "lerobot" and params["curate"].fps == 5.0
    assert (params["validate"].min_episodes_train, params["validate"].min_episodes_test) == (3, 1)
    assert params["plan"].closed_loop == {} and params["plan"].actions > 0


def test_joints_are_proposed_as_they_are_without_those_that_never_change(tmp_path: Path) -> None:
    made = [recording(seed) for seed in range(2)]
    joints = np.random.default_rng(0).normal(size=(16, 14))
    joints[:, [2, 9]] = 0.5
    for episode in made:
        episode.columns = {"observation.state": joints}
    features = {CAMERA: {"dtype": "video"}, STATE: {"dtype": "float32", "shape": [14]}}
    raw = write_lerobot_v2(tmp_path / "raw", made, features=features)
    config = read_config(SourceConfig, yaml.safe_load(proposal(inspect(raw)))["source"], "source")
    assert config.state is None and config.columns[0].at == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]
    source = open_source(raw, config, 10.0)
    assert source.read(source.episodes[0], 10.0).states.shape == (16, 12)


@pytest.mark.parametrize(
    ("name", "values", "pose"),
    [
        ("observation.state", None, False),
        (
            "observation.state",
            ["shoulder_pan.pos", "shoulder_lift.pos", "elbow.pos", "a", "b", "c", "jaw"],
            False,
        ),
        ("observation.state", {"motors": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]}, True),
        ("observation.state.cartesian", None, True),
    ],
)
def test_only_what_is_called_a_pose_is_proposed_as_one(name: str, values: object, pose: bool, tmp_path: Path) -> None:
    """Seven numbers may be seven joints; read as metres they would pass for a pose."""
    made = recording(0)
    made.columns = {name: made.states}
    features = {CAMERA: {"dtype": "video"}, name: {"dtype": "float32", "shape": [7], "names": values}}
    raw = write_lerobot_v2(tmp_path / "raw", [made], features=features)
    config = read_config(SourceConfig, yaml.safe_load(proposal(inspect(raw)))["source"], "source")
    assert (config.state is not None) == pose and bool(config.columns) != pose


def test_a_video_without_a_stated_length_is_described(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.webm"), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=8)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for image in recording(0).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    found = inspect(tmp_path)
    assert (found.episodes, found.frames) == (1, 16) and found.strip is not None
    assert found.hours == pytest.approx(2 / 3600, rel=0.1)


def test_videos_alone_are_described_and_proposed(tmp_path: Path) -> None:
    raw = write_videos(tmp_path / "raw", [recording(seed) for seed in range(3)], fps=8.0)
    (raw / "films/01.mp4").write_bytes(b"no video")
    found = inspect(raw)
    assert (found.format, found.episodes, found.opened, found.fps) == ("video", 3, 2, 8.0)
    assert found.frames == 32 and found.strip is not None
    assert [places for places in found.findings.values()] == [["films/01.mp4"]]
    assert read_config(SourceConfig, yaml.safe_load(proposal(found))["source"], "source") == VIDEO_ALONE


def test_the_command_prints_what_it_found_and_writes_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lerobot(tmp_path / "arm", [recording(0)])
    main(["data", "inspect", "arm"])
    said = capsys.readouterr().out
    assert "lerobot v3.0, robot Toy Arm" in said and "nothing is wrong" in said and STATE in said
    assert yaml.safe_load(Path("arm.yaml").read_text())["source"]["camera"] == CAMERA
    assert Image.open("arm.png").size == (8 * 128, 128)
    with pytest.raises(SystemExit, match="there already"):
        main(["data", "inspect", "arm"])


def test_the_inspection_follows_no_name_out_of_the_folder(tmp_path: Path) -> None:
    raw = tiny_droid.write_droid(tmp_path / "raw", [recording(0)], ext1_cam_serial="../../../../../../../secret")
    (tmp_path / "secret.mp4").write_bytes(next(raw.rglob("*.mp4")).read_bytes())
    found = inspect(raw)
    assert found.strip is None and "no serial number" in told(found.findings, "ext1: a video can't be used")[0]


def test_a_column_that_the_files_lack_spoils_none_of_the_others(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0)])
    info = json.loads((raw / "meta/info.json").read_text())
    info["features"]["next.reward"] = {"dtype": "float32", "shape": [1]}
    (raw / "meta/info.json").write_text(json.dumps(info))
    found = inspect(raw)
    assert list(found.columns) == [STATE] and told(found.findings, "column next.reward") == ["episode 0"]


def test_a_folder_that_is_no_data_set_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no meta/info\.json \(LeRobot\), no trajectory\.h5 \(DROID\) and no video"
    ):
        inspect(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": "v9"}))
    with pytest.raises(SystemExit, match=r"info\.json can't be used"):
        main(["data", "inspect", str(tmp_path), "--out", str(tmp_path / "out")])
