"""What is written follows LeRobot v3.0 and comes back as it went in."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_lerobot import as_it_is

from vjepa.data.lerobot import open_dataset
from vjepa.data.lerobot_video import EpisodeVideo
from vjepa.data.lerobot_writer import Column, LeRobotWriter, Place
from vjepa.errors import UserError

CAMERA = "observation.images.front"
COLUMNS = {"observation.state": Column("float32", ("x", "y", "z")), "next.success": Column("bool")}
LENGTHS = (5, 8, 3)
TASKS = ("open the box", "close the box", "open the box")


def episode(seed: int, length: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Smooth frames that get brighter, random states."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(20, 120, 32)[:, None, None] + rng.uniform(0, 60, 3)
    frames = (ramp[None] + 6 * np.arange(length)[:, None, None, None]).repeat(32, 2).astype(np.uint8)
    return frames, {
        "observation.state": rng.normal(size=(length, 3)).astype(np.float32),
        "next.success": np.arange(length) == length - 1,
    }


def write(folder: Path, **limits: float) -> Path:
    folder.mkdir()
    writer = LeRobotWriter(folder, 8.0, CAMERA, 32, COLUMNS, robot="toy", **limits)
    for number, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
        writer.add_episode(*episode(number, length), task)
    writer.finalize()
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("lerobot") / "raw")


def index_of(folder: Path) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(file) for file in sorted(folder.glob("meta/episodes/*/*.parquet")))


def test_own_reader_gives_back_frames_states_times_and_tasks(dataset):
    opened = open_dataset(dataset)
    assert (opened.fps, opened.robot, len(opened.episodes)) == (8.0, "toy", 3)
    for number, entry in enumerate(opened.episodes):
        frames, columns = episode(number, LENGTHS[number])
        raw = opened.read(entry, CAMERA, as_it_is("observation.state", 3))
        assert raw.task == TASKS[number]
        np.testing.assert_array_equal(raw.states, columns["observation.state"])
        np.testing.assert_allclose(raw.times, np.arange(len(frames)) / 8, atol=1e-6)
        assert np.abs(raw.frames.astype(int) - frames).mean() < 2, "another frame, or a bad picture"


def test_info_states_what_lerobot_asks_for(dataset):
    info = json.loads((dataset / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 16, 2)
    assert info["fps"] == 8 and isinstance(info["fps"], int)
    assert info["splits"] == {"train": "0:3"}
    features = info["features"]
    assert features[CAMERA]["dtype"] == "video" and features[CAMERA]["shape"] == [32, 32, 3]
    assert features["observation.state"] == {"dtype": "float32", "shape": [3], "names": ["x", "y", "z"]}
    assert features["next.success"] == {"dtype": "bool", "shape": [1], "names": None}
    standard = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
    assert features.keys() == standard | {CAMERA, "observation.state", "next.success"}


def test_data_have_the_standard_columns_and_one_row_group_an_episode(dataset):
    file = pq.ParquetFile(dataset / "data/chunk-000/file-000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == list(LENGTHS)
    assert file.schema_arrow.field("observation.state").type == pa.list_(pa.float32(), 3)
    rows = file.read().to_pandas()
    np.testing.assert_array_equal(rows["index"], np.arange(16))
    np.testing.assert_array_equal(rows["episode_index"], np.repeat(range(3), LENGTHS))
    np.testing.assert_array_equal(rows["task_index"], np.repeat([0, 1, 0], LENGTHS))
    np.testing.assert_allclose(rows["timestamp"], rows["frame_index"] / 8, atol=1e-6)
    assert rows["next.success"].tolist()[4::8] == [True, True] and rows["next.success"].sum() == 3


def test_index_says_where_each_episode_lies(dataset):
    index = index_of(dataset)
    assert index["length"].tolist() == list(LENGTHS)
    assert index["dataset_from_index"].tolist() == [0, 5, 13]
    assert index["dataset_to_index"].tolist() == [5, 13, 16]
    assert [list(tasks) for tasks in index["tasks"]] == [[task] for task in TASKS]
    np.testing.assert_allclose(index[f"videos/{CAMERA}/from_timestamp"], [0, 5 / 8, 13 / 8])
    np.testing.assert_allclose(index[f"videos/{CAMERA}/to_timestamp"], [5 / 8, 13 / 8, 2])


def test_tasks_are_indexed_by_their_sentence(dataset):
    tasks = pd.read_parquet(dataset / "meta/tasks.parquet")
    assert tasks.index.tolist() == ["open the box", "close the box"]
    assert tasks["task_index"].tolist() == [0, 1]


def shown(file: Path) -> list[tuple[float, bool]]:
    """Time and whether it is a key frame, of each frame of a video."""
    with av.open(str(file)) as container:
        return [(float(frame.time), frame.key_frame) for frame in container.decode(video=0)]


def test_video_is_h264_with_frames_at_the_stated_rate(dataset):
    file = dataset / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, float(stream.average_rate)) == ("h264", "yuv420p", 8.0)
    np.testing.assert_allclose([time for time, _ in shown(file)], np.arange(16) / 8, atol=1e-4)


def test_each_episode_begins_with_a_key_frame_even_if_it_looks_like_the_one_before(tmp_path):
    video = EpisodeVideo(tmp_path / "file.mp4", 8.0, 32)
    starts = [video.add(np.full((length, 32, 32, 3), 99, np.uint8))[0] for length in (5, 8, 3)]
    video.close()
    keys = [time for time, key in shown(tmp_path / "file.mp4") if key]
    assert set(starts) <= set(keys) and len(keys) < 16


def test_statistics_are_those_of_the_values_per_episode_and_over_all(dataset):
    states = [episode(number, length)[1]["observation.state"] for number, length in enumerate(LENGTHS)]
    index = index_of(dataset)
    total = json.loads((dataset / "meta/stats.json").read_text())["observation.state"]
    for described, values in (
        (total, np.concatenate(states)),
        (
            {name.rsplit("/", 1)[1]: index.iloc[1][name] for name in index if "stats/observation.state/" in name},
            states[1],
        ),
    ):
        for name, expected in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0))):
            np.testing.assert_allclose(described[name], expected, rtol=1e-5)
        np.testing.assert_allclose(described["std"], values.std(0), rtol=1e-4)
        np.testing.assert_allclose(described["q50"], np.median(values, 0), rtol=1e-5)
        assert list(described["count"]) == [len(values)]


def test_statistics_of_images_are_per_channel_between_0_and_1(dataset):
    frames = np.concatenate([episode(number, length)[0] for number, length in enumerate(LENGTHS)])
    pixels = frames[:, ::2, ::2].reshape(-1, 3) / 255
    described = json.loads((dataset / "meta/stats.json").read_text())[CAMERA]
    for name, expected in (("min", pixels.min(0)), ("max", pixels.max(0)), ("mean", pixels.mean(0))):
        np.testing.assert_allclose(np.array(described[name]), expected.reshape(3, 1, 1), atol=1e-9)
    np.testing.assert_allclose(np.ravel(described["std"]), pixels.std(0), atol=1e-6)
    np.testing.assert_allclose(np.ravel(described["q90"]), np.quantile(pixels, 0.9, axis=0), atol=1.1 / 255)
    assert described["count"] == [16]


def test_files_are_rolled_by_size_and_stay_readable(tmp_path):
    folder = write(tmp_path / "raw", data_file_mb=1e-6, video_file_mb=1e-6)
    assert len(list(folder.glob("data/*/*.parquet"))) == 3
    assert len(list(folder.glob(f"videos/{CAMERA}/*/*.mp4"))) == 3
    assert index_of(folder)[f"videos/{CAMERA}/from_timestamp"].tolist() == [0, 0, 0]
    opened = open_dataset(folder)
    for number, entry in enumerate(opened.episodes):
        raw = opened.read(entry, CAMERA, as_it_is("observation.state", 3))
        np.testing.assert_array_equal(raw.states, episode(number, LENGTHS[number])[1]["observation.state"])
        assert np.abs(raw.frames.astype(int) - episode(number, LENGTHS[number])[0]).mean() < 2


def test_chunks_hold_a_thousand_files():
    assert vars(Place(0, 998).next()) == {"chunk_index": 0, "file_index": 999}
    assert vars(Place(0, 999).next()) == {"chunk_index": 1, "file_index": 0}


def test_equal_episodes_give_equal_bytes(dataset, tmp_path):
    again = write(tmp_path / "raw")
    files = sorted(file.relative_to(dataset) for file in dataset.rglob("*") if file.is_file())
    assert len(files) == 6
    for file in files:
        assert (dataset / file).read_bytes() == (again / file).read_bytes(), file


def test_data_set_without_episodes_is_refused(tmp_path):
    with pytest.raises(UserError, match="no episodes were written"):
        LeRobotWriter(tmp_path, 8.0, CAMERA, 32, COLUMNS, robot="toy").finalize()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation.state": np.zeros((5, 2))}, r"observation.state to have the shape \(5, 3\)"),
        ({"next.success": np.zeros(4)}, r"next.success to have the shape \(5,\)"),
        ({"reward": np.zeros(5)}, "expected the columns"),
    ],
)
def test_episode_that_is_not_as_announced_is_refused(tmp_path, change, message):
    frames, columns = episode(0, 5)
    writer = LeRobotWriter(tmp_path, 8.0, CAMERA, 32, COLUMNS, robot="toy")
    with pytest.raises(ValueError, match=message):
        writer.add_episode(frames, columns | change, "open the box")
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    writer = LeRobotWriter(tmp_path, 8.0, CAMERA, 32, COLUMNS, robot="toy")
    with pytest.raises(UserError, match=r"can't write to .*: No space left on device"):
        writer.add_episode(*episode(0, 5), "open the box")
