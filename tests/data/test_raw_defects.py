"""What is wrong with data in the wild: each defect is set right with a note, or quarantined, or refused in one line.

One of four episodes is spoiled; the three good ones beside it always come through.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_lerobot import (
    CAMERA,
    CONFIG,
    FPS,
    SOURCE,
    STATE,
    Recording,
    recording,
    truncate,
    write_lerobot,
    write_lerobot_v2,
)

from vjepa.data.curation import curate
from vjepa.data.shards import load_episodes, read_manifest
from vjepa.data.video import encode_mp4
from vjepa.errors import UserError

BAD = 1
REPAIRED, QUARANTINED, KEPT = "repaired", "quarantined", "kept"


@dataclass
class Defect:
    """One row of the table.

    Attributes:
        name: what is wrong.
        outcome: what becomes of the episode.
        words: the note or the reason, as a pattern.
        record: changes the recording before it is written.
        spoil: changes the files.
        info: changes what `meta/info.json` says.
    """

    name: str
    outcome: str
    words: str = ""
    record: Callable[[Recording], Recording] = lambda made: made
    spoil: Callable[[Path], object] = lambda raw: None
    info: dict[str, Any] | None = None


def film(raw: Path) -> Path:
    return raw / f"videos/chunk-000/{CAMERA}/episode_{BAD:06d}.mp4"


def rows(raw: Path) -> Path:
    return raw / f"data/chunk-000/episode_{BAD:06d}.parquet"


def state(place: Any, value: float) -> Callable[[Recording], Recording]:
    """The states with another value at some place."""

    def record(made: Recording) -> Recording:
        states = made.states.copy()
        states[place] = value
        return replace(made, states=states)

    return record


def stamped(times: np.ndarray) -> Callable[[Recording], Recording]:
    return lambda made: replace(made, columns={"timestamp": times.astype(np.float32)})


def encoded(pix_fmt: str, codec: str = "ffv1", frames: np.ndarray | None = None) -> Callable[[Path], None]:
    """The film once more, in a pixel format of its own (in Matroska, whatever its name says)."""

    def spoil(raw: Path) -> None:
        shown = recording(BAD).frames if frames is None else frames
        with av.open(str(film(raw)), "w", format="matroska") as container:
            stream = container.add_stream(codec, rate=int(FPS))
            stream.height, stream.width, stream.pix_fmt = *shown.shape[1:3], pix_fmt
            for image in shown:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)))
            container.mux(stream.encode(None))

    return spoil


def index_line(**changes: Any) -> Callable[[Path], None]:
    def spoil(raw: Path) -> None:
        lines = [json.loads(line) for line in (raw / "meta/episodes.jsonl").read_text().splitlines()]
        lines[BAD] |= changes
        (raw / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return spoil


def without_column(raw: Path) -> None:
    pq.write_table(pq.read_table(rows(raw), partitioning=None).drop_columns([STATE]), rows(raw))


def of_another_width(raw: Path) -> None:
    table = pq.read_table(rows(raw))
    values = [value[:5] for value in table.column(STATE).to_pylist()]
    pq.write_table(table.set_column(table.column_names.index(STATE), STATE, [values]), rows(raw))


def ragged(raw: Path) -> None:
    table = pq.read_table(rows(raw), partitioning=None)
    values = table.column(STATE).to_pylist()
    values[3] = values[3][:5]
    pq.write_table(table.set_column(table.column_names.index(STATE), STATE, [values]), rows(raw))


def with_a_gap(raw: Path) -> None:
    table = pq.read_table(rows(raw), partitioning=None)
    values = table.column(STATE).to_pylist()
    values[3] = None
    pq.write_table(table.set_column(table.column_names.index(STATE), STATE, [values]), rows(raw))


def with_stamps(frames: np.ndarray, places: np.ndarray) -> bytes:
    """The chosen frames, each at its own time."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"crf": "12", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for place in places:
            frame = av.VideoFrame.from_ndarray(frames[place], format="rgb24")
            frame.pts, frame.time_base = int(place), Fraction(1, int(FPS))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def linked_away(raw: Path) -> None:
    elsewhere = raw.parent / "elsewhere.parquet"
    rows(raw).rename(elsewhere)
    rows(raw).symlink_to(elsewhere)


DEFECTS = [
    Defect("truncated video", QUARANTINED, "can't be opened as a video", spoil=lambda raw: truncate(film(raw))),
    Defect("empty video", QUARANTINED, "unreadable: can't be opened", spoil=lambda raw: film(raw).write_bytes(b"")),
    Defect("missing video", QUARANTINED, "No such file", spoil=lambda raw: film(raw).unlink()),
    Defect("text for a video", QUARANTINED, "can't be opened as a video", spoil=lambda raw: film(raw).write_text("no")),
    Defect("shorter video", QUARANTINED, r"missing frames: .*its video ends at 0\.800 s",
           spoil=lambda raw: film(raw).write_bytes(encode_mp4(recording(BAD).frames[:8], FPS))),
    Defect("lying frame rate", REPAIRED, "its video says 60 frames a second, its rows 10",
           spoil=lambda raw: film(raw).write_bytes(encode_mp4(recording(BAD).frames, 60.0))),
    Defect("gray video", KEPT, spoil=encoded("gray")),
    Defect("video with transparency", KEPT, spoil=encoded("bgra")),
    Defect("video of odd size", KEPT,
           spoil=encoded("bgr0", frames=np.pad(recording(BAD).frames, ((0, 0), (0, 1), (0, 3), (0, 0)), mode="edge"))),
    Defect("files elsewhere than the template says", REPAIRED, "is taken: data/chunk-00001/",
           info={"data_path": "data/chunk-{episode_index:05d}/episode_{episode_index:06d}.parquet"}),
    Defect("index longer than the data", QUARANTINED, "16 rows of the 20", spoil=index_line(length=20)),
    Defect("index shorter than the data", QUARANTINED, "16 rows of the 12", spoil=index_line(length=12)),
    Defect("no number in the index", QUARANTINED, "line 2 of meta/episodes.jsonl can't be used",
           spoil=index_line(episode_index="one")),
    Defect("NaN in the state", QUARANTINED, r"NaN state: z at 0\.200 s", record=state((2, 2), np.nan)),
    Defect("infinity in the state", QUARANTINED, "NaN state: yaw", record=state((2, 5), np.inf)),
    Defect("time stamps that repeat", QUARANTINED, "time stamps off: row 8",
           record=stamped(np.r_[np.arange(8), np.arange(7, 15)] / 10)),
    Defect("time stamps that run back", QUARANTINED, "time stamps off: row 8",
           record=stamped(np.r_[np.arange(8), np.arange(8)] / 10)),
    Defect("time stamps that start late", REPAIRED, r"start at 3\.000 s", record=stamped(np.arange(16) / 10 + 3)),
    Defect("motionless", QUARANTINED, "motionless", record=state((slice(None), slice(3)), 0.5)),
    Defect("one frame", QUARANTINED, "too short: 1 frames",
           record=lambda made: replace(made, frames=made.frames[:1], states=made.states[:1])),
    Defect("no task", REPAIRED, "it has no task", record=lambda made: replace(made, task="")),
    Defect("task of spaces", REPAIRED, "it has no task", record=lambda made: replace(made, task="  \n")),
    Defect("task in another script", KEPT, record=lambda made: replace(made, task="赤い四角に手を伸ばす 🤖")),
    Defect("corrupt parquet", QUARANTINED, "unreadable", spoil=lambda raw: truncate(rows(raw))),
    Defect("parquet of zero bytes", QUARANTINED, "unreadable", spoil=lambda raw: rows(raw).write_bytes(b"")),
    Defect("missing rows", QUARANTINED, "unreadable", spoil=lambda raw: rows(raw).unlink()),
    Defect("column missing in a file", QUARANTINED, "unreadable: No match for FieldRef", spoil=without_column),
    Defect("a row of another width", QUARANTINED, "rows of one column differ in width: 7, 5", spoil=ragged),
    Defect("a row without a state", QUARANTINED, "rows of one column differ in width", spoil=with_a_gap),
    Defect("a frame dropped in the video", QUARANTINED, r"missing frames: no frame within 0\.050 s of 0\.500 s",
           spoil=lambda raw: film(raw).write_bytes(with_stamps(recording(BAD).frames, np.delete(np.arange(16), 5)))),
    Defect("video of three frames a row", KEPT,
           spoil=lambda raw: film(raw).write_bytes(encode_mp4(recording(BAD).frames.repeat(3, axis=0), 3 * FPS))),
    Defect("rate that drifts over the episode", REPAIRED, "they are matched by their order",
           record=lambda made: recording(BAD, length=60),
           spoil=lambda raw: film(raw).write_bytes(encode_mp4(recording(BAD, length=60).frames, 9.8))),
    Defect("column of another width", QUARANTINED, "its states can't be made of its columns", spoil=of_another_width),
    Defect("link out of the folder", QUARANTINED, "leads out of", spoil=linked_away),
]  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS, ids=[defect.name for defect in DEFECTS])
def test_a_defect_costs_its_own_episode_at_most(defect: Defect, tmp_path: Path) -> None:
    made = [recording(seed) for seed in range(4)]
    made[BAD] = defect.record(made[BAD])
    raw = write_lerobot_v2(tmp_path / "raw", made, chunks_size=1000, **(defect.info or {}))
    defect.spoil(raw)
    (tmp_path / "shards").mkdir()
    counts = curate(raw, tmp_path / "shards", SOURCE, CONFIG, tmp_path / "journal").counts
    kept = set(read_manifest(tmp_path / "shards")["episode_index"])
    assert {0, 2, 3} <= kept
    for split in ("train", "test"):
        for episode in load_episodes(tmp_path / "shards", split):
            original = made[int(episode.key.rpartition("-")[2])]
            assert (episode.states == original.states[::2]).all()
            brightness = episode.frames.astype(float).mean((1, 2, 3))  # 8 from one of these frames to the next
            assert np.abs(brightness - original.frames[::2].astype(float).mean((1, 2, 3))).max() < 2
    left_out = json.loads((tmp_path / "shards/quarantine.json").read_text())
    repairs = tmp_path / "shards/repairs.json"
    notes = json.loads(repairs.read_text()) if repairs.exists() else []
    if defect.outcome == QUARANTINED:
        assert kept == {0, 2, 3} and sum(counts["quarantined"].values()) == len(left_out) >= 1
        assert any(re.search(defect.words, entry["reason"]) for entry in left_out), left_out
        assert all("\n" not in entry["reason"] for entry in left_out)
    else:
        assert kept == {0, 1, 2, 3} and left_out == []
        said = [note for entry in notes if entry["episode"] == BAD for note in entry["notes"]]
        assert any(re.search(defect.words, note) for note in said) == (defect.outcome == REPAIRED), notes


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda raw: (raw / "meta/info.json").unlink(), "no LeRobot data set"),
        (lambda raw: (raw / "meta/info.json").write_text("{"), r"info\.json can't be used"),
        (lambda raw: (raw / "meta/info.json").write_text("[" * 100_000), r"info\.json can't be used"),
        (lambda raw: (raw / "meta/episodes.jsonl").unlink(), r"episodes\.jsonl can't be read"),
        (lambda raw: (raw / "meta/episodes.jsonl").write_bytes(b"\xff\xfe"), r"episodes\.jsonl can't be read"),
        (
            lambda raw: [file.unlink() for file in [*raw.rglob("*.parquet"), raw / "meta/episodes.jsonl"]],
            "can't be read",
        ),
    ],
)
def test_what_spoils_all_episodes_is_refused_in_one_line(
    spoil: Callable[[Path], object], complaint: str, tmp_path: Path
) -> None:
    raw = write_lerobot_v2(tmp_path / "raw", [recording(seed) for seed in range(3)])
    spoil(raw)
    (tmp_path / "shards").mkdir()
    with pytest.raises(UserError, match=complaint) as caught:
        curate(raw, tmp_path / "shards", SOURCE, CONFIG, tmp_path / "journal")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "shards").iterdir())


def test_an_episode_recorded_twice_stays_in_one_split(tmp_path: Path) -> None:
    made = [recording(seed, size=64) for seed in range(6)]
    write_lerobot(tmp_path / "raw", [*made, *made])
    (tmp_path / "shards").mkdir()
    counts = curate(
        tmp_path / "raw", tmp_path / "shards", SOURCE, replace(CONFIG, test_share=0.5), tmp_path / "journal"
    ).counts
    manifest = read_manifest(tmp_path / "shards").sort_values("episode_index")
    assert counts["near_duplicates"] == 6
    assert (manifest["split"].iloc[:6].to_numpy() == manifest["split"].iloc[6:].to_numpy()).all()
