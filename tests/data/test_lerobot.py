from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_lerobot import CAMERA, MAPPING, STATE, as_it_is, recording, truncate, write_lerobot, write_lerobot_v2

from vjepa.data.lerobot import open_dataset
from vjepa.data.raw import EpisodeError, RawEpisode, nearest_rows
from vjepa.data.video import encode_mp4
from vjepa.errors import DataError


def read(path: Path, episode: int, fps: float | None = None) -> RawEpisode:
    dataset = open_dataset(path)
    return dataset.read(dataset.episodes[episode], CAMERA, MAPPING, fps)


def brightness(frames: np.ndarray) -> np.ndarray:
    return frames.astype(float).mean((1, 2, 3))


def test_every_episode_has_its_own_rows_and_frames(tmp_path: Path) -> None:
    recordings = [recording(seed, length=8 + seed) for seed in range(5)]
    write_lerobot(tmp_path / "raw", recordings, per_file=2)
    dataset = open_dataset(tmp_path / "raw")
    assert [entry.index for entry in dataset.episodes] == [0, 1, 2, 3, 4]  # they stand in three index files
    for entry, made in zip(dataset.episodes, recordings, strict=True):
        episode = dataset.read(entry, CAMERA, MAPPING)
        assert (episode.states == made.states).all()
        assert np.abs(brightness(episode.frames) - brightness(made.frames)).max() < 1
        assert episode.times == pytest.approx(np.arange(len(made.states)) / 10, abs=1e-6)
        assert episode.task == "reach the red square"


def test_frames_are_chosen_by_time(tmp_path: Path) -> None:
    recordings = [recording(seed) for seed in range(2)]
    write_lerobot(tmp_path / "raw", recordings)
    episode = read(tmp_path / "raw", 1, fps=2.5)
    assert (episode.states == recordings[1].states[::4]).all()
    assert np.abs(brightness(episode.frames) - brightness(recordings[1].frames[::4])).max() < 1
    assert episode.times == pytest.approx([0, 0.4, 0.8, 1.2], abs=1e-6)


def test_rates_that_do_not_divide_take_the_nearest_rows() -> None:
    assert nearest_rows(np.arange(16) / 15, 4).tolist() == [0, 4, 7, 11, 15]  # 7.5 is due
    assert nearest_rows(5 + np.arange(16, dtype=np.float32).astype(float) / 15, 15).tolist() == list(range(16))
    assert nearest_rows(np.array([3.0]), 8).tolist() == [0]


def test_the_fingerprint_does_not_hang_on_the_rate_or_the_number(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [recording(0), recording(1)])
    write_lerobot(tmp_path / "moved", [recording(1)], numbers=[17])
    here, there = read(tmp_path / "raw", 1, fps=5), read(tmp_path / "moved", 0)
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint != read(tmp_path / "raw", 0).fingerprint


def test_rows_in_the_file_beside_the_stated_one_are_found(tmp_path: Path) -> None:
    recordings = [recording(seed) for seed in range(4)]
    write_lerobot(tmp_path / "raw", recordings, changed_rows={1: {"data/file_index": 1}, 2: {"data/file_index": 0}})
    for number in (1, 2):
        assert (read(tmp_path / "raw", number).states == recordings[number].states).all()


@pytest.mark.parametrize(
    ("changed", "kind", "detail"),
    [
        ({"length": 15}, "unreadable", "16 rows of the 15"),
        ({"data/file_index": None}, "unreadable", "entry in meta/episodes can't be used"),
        ({"data/file_index": 7}, "unreadable", r"part-00-07\.parquet"),
        ({f"videos/{CAMERA}/file_index": 7}, "unreadable", "No such file"),
        ({f"videos/{CAMERA}/from_timestamp": float("nan")}, "unreadable", "its span in"),
        (
            {f"videos/{CAMERA}/from_timestamp": 2.0, f"videos/{CAMERA}/to_timestamp": 3.6},
            "missing frames",
            r"due at 3\.500 s, its video ends at 3\.200 s",
        ),
        ({f"videos/{CAMERA}/to_timestamp": 2.4}, "missing frames", r"ends at 2\.400 s"),
    ],
)
def test_an_index_that_contradicts_the_files_is_an_error_of_that_episode(
    tmp_path: Path, changed: dict[str, float], kind: str, detail: str
) -> None:
    write_lerobot(tmp_path / "raw", [recording(0), recording(1)], changed_rows={1: changed})
    read(tmp_path / "raw", 0)
    with pytest.raises(EpisodeError, match=detail) as caught:
        read(tmp_path / "raw", 1)
    assert caught.value.kind == kind


def test_a_number_given_twice_is_an_error_of_that_episode(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [recording(0), recording(1), recording(2)], numbers=[4, 5, 4])
    assert read(tmp_path / "raw", 1).index == 5
    with pytest.raises(EpisodeError, match="gives its number twice"):
        read(tmp_path / "raw", 0)


def test_a_damaged_file_spoils_only_its_own_episodes(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(6)])
    truncate(tmp_path / f"raw/films/{CAMERA}/part-00-00.mp4")
    truncate(tmp_path / "raw/rows/part-00-01.parquet")
    for number in range(4):
        with pytest.raises(EpisodeError, match="unreadable"):
            read(tmp_path / "raw", number)
    assert len(read(tmp_path / "raw", 4).frames) == 16


@pytest.mark.parametrize("shift", [np.r_[np.zeros(8), np.ones(8)], np.r_[np.zeros(15), np.nan], np.full(16, np.nan)])
def test_time_stamps_off_their_grid_are_an_error(tmp_path: Path, shift: np.ndarray) -> None:
    spoiled = replace(recording(0), columns={"timestamp": np.arange(16) / 10 + shift})
    write_lerobot(tmp_path / "raw", [spoiled])
    with pytest.raises(EpisodeError, match=r"time stamps off: row \d+ says (nan|\d+\.\d+) s, (nan|\d+\.\d+) s is due"):
        read(tmp_path / "raw", 0)


@pytest.mark.parametrize("shift", [0.1, 30.0, -2.0])
def test_time_stamps_that_only_start_elsewhere_are_counted_from_the_first_row(tmp_path: Path, shift: float) -> None:
    made = replace(recording(0), columns={"timestamp": (np.arange(16) / 10 + shift).astype(np.float32)})
    write_lerobot(tmp_path / "raw", [made])
    episode = read(tmp_path / "raw", 0)
    assert episode.times == pytest.approx(np.arange(16) / 10, abs=1e-5)
    assert np.abs(brightness(episode.frames) - brightness(made.frames)).max() < 1
    assert episode.notes == (f"its time stamps start at {shift:.3f} s: they are counted from the first row",)


def test_rows_cut_from_a_longer_video_keep_their_own_times(tmp_path: Path) -> None:
    made = recording(0, length=24)
    cut = replace(made, states=made.states[8:], columns={"timestamp": (np.arange(8, 24) / 10).astype(np.float32)})
    write_lerobot_v2(tmp_path / "raw", [cut])
    episode = read(tmp_path / "raw", 0)
    assert np.abs(brightness(episode.frames) - brightness(made.frames[8:])).max() < 1
    assert episode.notes == () and episode.times == pytest.approx(np.arange(16) / 10, abs=1e-6)


@pytest.mark.parametrize("header", [5.0, 20.0])
def test_a_shared_video_whose_header_lies_is_an_error_of_all_its_episodes(tmp_path: Path, header: float) -> None:
    recordings = [recording(seed) for seed in range(4)]
    raw = write_lerobot(tmp_path / "raw", recordings)
    film = np.concatenate([made.frames for made in recordings[:2]])
    (raw / f"films/{CAMERA}/part-00-00.mp4").write_bytes(encode_mp4(film, header))
    for number in (0, 1):
        with pytest.raises(EpisodeError, match=r"header lies|no frame within|its video ends"):
            read(raw, number, fps=5)
    assert (read(raw, 2).states == recordings[2].states).all()


def test_an_episode_that_the_index_of_v3_forgot_is_named(tmp_path: Path) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(seed) for seed in range(6)])
    (raw / "meta/episodes/chunk-000/file-001.parquet").unlink()
    problems = {entry.index: entry.problem for entry in open_dataset(raw).episodes}
    forgotten = "its rows are there, but meta/episodes does not list it"
    assert problems == {0: "", 1: "", 2: forgotten, 3: forgotten, 4: "", 5: ""}


def test_a_camera_that_is_only_announced_spoils_no_episode_of_the_others(tmp_path: Path) -> None:
    for write in (write_lerobot, write_lerobot_v2):
        raw = write(tmp_path / write.__name__, [recording(0)])
        info = json.loads((raw / "meta/info.json").read_text())
        info["features"]["wrist"] = info["features"][CAMERA]
        (raw / "meta/info.json").write_text(json.dumps(info))
        assert (read(raw, 0).states == recording(0).states).all()
        dataset = open_dataset(raw)
        with pytest.raises(EpisodeError, match="unreadable"):
            dataset.read(dataset.episodes[0], "wrist", MAPPING)


@pytest.mark.parametrize("write", [write_lerobot, write_lerobot_v2])
@pytest.mark.parametrize(("tasks", "task"), [("reach it", "reach it"), ([3], None), (None, ""), ({"a": 1}, None)])
def test_tasks_are_sentences_or_the_episodes_problem(write: Any, tasks: Any, task: str | None, tmp_path: Path) -> None:
    if write is write_lerobot:
        raw = write(tmp_path / "raw", [recording(0)], changed_rows={0: {"tasks": tasks}})
    else:
        raw = write(tmp_path / "raw", [recording(0)])
        line = json.loads((raw / "meta/episodes.jsonl").read_text()) | {"tasks": tasks}
        (raw / "meta/episodes.jsonl").write_text(json.dumps(line))
    (entry,) = open_dataset(raw).episodes
    assert entry.task == (task or "") and bool(entry.problem) == (task is None)


@pytest.mark.parametrize(
    "change",
    [{"fps": 0}, {"fps": "fast"}, {"features": {"a": 3}}, {"features": []}, {"data_path": None}, {"video_path": 5}],
)
def test_an_info_file_of_other_kinds_of_values_is_one_clear_line(tmp_path: Path, change: dict[str, Any]) -> None:
    raw = write_lerobot(tmp_path / "raw", [recording(0)])
    info = json.loads((raw / "meta/info.json").read_text()) | change
    (raw / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"info\.json can't be used"):
        open_dataset(raw)


def test_all_versions_give_the_same_episodes(tmp_path: Path) -> None:
    recordings = [recording(seed, length=8 + seed) for seed in range(5)]
    write_lerobot(tmp_path / "v3.0", recordings)
    for version in ("v2.0", "v2.1"):
        write_lerobot_v2(tmp_path / version, recordings, version)
        dataset, reference = open_dataset(tmp_path / version), open_dataset(tmp_path / "v3.0")
        for entry, wanted in zip(dataset.episodes, reference.episodes, strict=True):
            found, expected = dataset.read(entry, CAMERA, MAPPING, 5), reference.read(wanted, CAMERA, MAPPING, 5)
            assert (found.index, found.task, found.fingerprint) == (wanted.index, expected.task, expected.fingerprint)
            assert (found.states == expected.states).all() and (found.times == expected.times).all()
            assert np.abs(brightness(found.frames) - brightness(expected.frames)).max() < 1
            assert found.notes == ()


def test_files_that_are_not_where_the_templates_say_are_found_by_their_names(tmp_path: Path) -> None:
    wrong = "chunk-{episode_index:03d}/episode_{episode_index:06d}"
    write_lerobot_v2(
        tmp_path / "raw",
        [recording(seed) for seed in range(3)],
        data_path=f"data/{wrong}.parquet",
        video_path=f"videos/{{video_key}}/{wrong}.mp4",
    )
    episode = read(tmp_path / "raw", 1)
    assert (episode.states == recording(1).states).all()
    assert episode.notes == (
        "data/chunk-000/episode_000001.parquet is taken: data/chunk-001/episode_000001.parquet, which meta/info.json "
        "names, is not there",
        f"videos/chunk-000/{CAMERA}/episode_000001.mp4 is taken: videos/{CAMERA}/chunk-001/episode_000001.mp4, which "
        "meta/info.json names, is not there",
    )


def test_an_episode_that_the_index_forgot_and_a_line_that_is_none_are_named(tmp_path: Path) -> None:
    raw = write_lerobot_v2(tmp_path / "raw", [recording(seed) for seed in range(4)])
    lines = (raw / "meta/episodes.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace("the red", "the\u2028red")
    (raw / "meta/episodes.jsonl").write_text("\n".join([lines[0], "{" + lines[1], lines[2], "[" * 100_000]))
    dataset = open_dataset(raw)
    assert [(entry.index, bool(entry.problem)) for entry in dataset.episodes] == [
        (-4, True), (-2, True), (0, False), (1, True), (2, False), (3, True),
    ]  # fmt: skip
    assert "line 2 of meta/episodes.jsonl can't be used" in dataset.episodes[1].problem
    assert dataset.episodes[5].problem == "its rows are there, but meta/episodes.jsonl does not list it"
    assert (read(raw, 4).states == recording(2).states).all()


@pytest.mark.parametrize("template", ["../{episode_index}.parquet", "/etc/{episode_index}", "links/{episode_index}"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, template: str) -> None:
    raw = write_lerobot_v2(tmp_path / "raw", [recording(0)], data_path=template)
    (raw / "links").symlink_to(tmp_path)
    with pytest.raises(EpisodeError, match="leads out of"):
        read(raw, 0)


def test_a_snapshot_of_the_hubs_cache_may_link_to_its_blobs(tmp_path: Path) -> None:
    raw = write_lerobot_v2(tmp_path / "hub/snapshots/abc", [recording(0)])
    (tmp_path / "hub/blobs").mkdir()
    for number, file in enumerate(sorted(path for path in raw.rglob("*") if path.is_file())):
        blob = file.rename(tmp_path / f"hub/blobs/{number}")
        file.symlink_to(blob)
    assert (read(raw, 0).states == recording(0).states).all()


@pytest.mark.parametrize(
    ("listed", "rows", "task"),
    [
        (["push", "valid"], [7], "push"),
        (["valid", "push"], [7], "push"),
        (["push", "pull", "valid"], [4, 7], "pull; push"),
        (["push"], [4], "push"),  # the index has the say of what there is
        (["push", "valid"], [4], "push; valid"),
        (["push", "new"], [7], "push; new"),
        (["push", "valid"], None, "push; valid"),
    ],
)
@pytest.mark.parametrize("version", ["v2.0", "v3.0"])
def test_of_several_sentences_the_task_is_the_one_that_the_rows_name(
    tmp_path: Path, version: str, listed: list[str], rows: list[int] | None, task: str
) -> None:
    numbers = {"valid": 2, "pull": 4, "push": 7}
    columns = {} if rows is None else {"task_index": np.repeat(rows, 16 // len(rows))}  # each for as many rows
    made = replace(recording(0), columns=columns)
    if version == "v3.0":
        raw = write_lerobot(tmp_path / "raw", [made], changed_rows={0: {"tasks": listed}})
        table = pd.DataFrame({"task_index": list(numbers.values())}, index=list(numbers))
        table.to_parquet(raw / "meta/tasks.parquet")
    else:
        raw = write_lerobot_v2(tmp_path / "raw", [made], version)
        (raw / "meta/episodes.jsonl").write_text(json.dumps({"episode_index": 0, "tasks": listed, "length": 16}))
        lines = [json.dumps({"task_index": number, "task": sentence}) for sentence, number in numbers.items()]
        (raw / "meta/tasks.jsonl").write_text("\n".join(lines))
    assert read(raw, 0).task == task
    next((raw / "meta").glob("tasks.*")).write_text("no table")
    assert read(raw, 0).task == "; ".join(listed)


GR1 = Path(__file__).parents[3] / "shared/data/gr1_pick_place"


@pytest.mark.skipif(not GR1.exists(), reason="the sample data set is not there: ../shared/data/gr1_pick_place")
def test_a_real_data_set_with_flaws_is_read_with_notes() -> None:
    dataset = open_dataset(GR1)
    assert [entry.length for entry in dataset.episodes] == [416, 470, 470, 412, 328]
    for entry in dataset.episodes[::4]:
        episode = dataset.read(entry, "observation.images.ego_view", as_it_is(STATE, 44), 4)
        assert episode.states.shape == (len(episode.frames), 44) and episode.frames.shape[1:] == (256, 256, 3)
        assert re.fullmatch("pick the (pear|cupcake) from the counter and place it in the plate", episode.task)
        assert any("start at 0.050 s" in note for note in episode.notes)
        assert any("is taken" in note for note in episode.notes) == (entry.index > 0)


def test_what_the_data_set_lacks_is_said_with_what_it_has(tmp_path: Path) -> None:
    dataset = open_dataset(write_lerobot(tmp_path / "raw", [recording(0)]))
    with pytest.raises(DataError, match=f"no video 'wrist' \\(source.camera\\); it has {CAMERA}"):
        dataset.require("wrist", MAPPING.needs, 5)
    with pytest.raises(DataError, match=f"no column 'joints'; it has {STATE}"):
        dataset.require(CAMERA, {"joints": 1}, 5)
    with pytest.raises(DataError, match=r"has the shape \[7\], the source.s settings take its value number 8"):
        dataset.require(CAMERA, {STATE: 9}, 5)
    with pytest.raises(DataError, match="has 10 frames a second, 15 are wanted"):
        dataset.require(CAMERA, MAPPING.needs, 15)


def test_folders_that_are_no_data_set_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is missing or no LeRobot data set"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no episodes"):
        open_dataset(write_lerobot(tmp_path / "empty", []))
    info = write_lerobot(tmp_path / "old", [recording(0)]) / "meta/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"codebase_version": "v1.6"}))
    with pytest.raises(DataError, match=r"LeRobot v1\.6 can't be read yet; known are v2\.0, v2\.1, v3\.0"):
        open_dataset(tmp_path / "old")
    info.write_text("{")
    with pytest.raises(DataError, match=r"info\.json can't be used"):
        open_dataset(tmp_path / "old")
