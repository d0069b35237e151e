"""Balance by an encoder's features: what there is plenty of is cut, and what targets show is found."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_lerobot import CONFIG, Recording, recording, truncate
from tiny_videos import write_videos

from stages import curate as stage
from vjepa.checkpoints.encoder import save_encoder
from vjepa.config import CurateConfig
from vjepa.data.balance import balance, tasks_of
from vjepa.data.clusters import k_means, shares
from vjepa.data.curation import Curated, curate
from vjepa.data.features import Features
from vjepa.data.shards import read_manifest
from vjepa.data.video_folder import VIDEO_ALONE
from vjepa.errors import DataError, UserError
from vjepa.nn.encoder import VisionTransformer

CLUSTER = replace(CONFIG, fps=8.0, test_share=0.25, balance_limit=4, clusters=2)


def day(seed: int) -> Recording:
    """A bright scene, of which there is plenty."""
    return replace(recording(seed), task="day")


def night(seed: int) -> Recording:
    """A dark one with a bright bar, which is rare."""
    made = recording(seed)
    frames = made.frames // 3
    frames[:, 8:12] = 220
    return Recording(frames, made.states, "night")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights."""
    folder = tmp_path_factory.mktemp("models") / "encoder"
    save_encoder(folder, fresh(0), None, frames=4)
    return folder


def fresh(seed: int) -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(image_size=16, patch=8, tubelet=2, width=24, depth=2, heads=2, mlp_ratio=2.0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty days and four nights."""
    scenes = [night(seed) if seed % 6 == 5 else day(seed) for seed in range(24)]
    return write_videos(tmp_path_factory.mktemp("data") / "raw", scenes)


def run(raw: Path, out: Path, encoder: Path, **changes: Any) -> Curated:
    """Curate into an empty folder, with a journal beside it that its next run finds."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config = replace(CLUSTER, encoder=str(encoder), **{"balance": "cluster", **changes})
    return curate(raw, out, VIDEO_ALONE, config, out.with_name(f"{out.name}-journal"))


def training(out: Path) -> Counter[str]:
    """Training episodes of each scene."""
    manifest = read_manifest(out)
    return Counter(manifest["task"][manifest["split"] == "train"])


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_plenty_scene_is_cut_to_the_limit_and_the_rare_one_and_the_held_out_are_kept(
    tmp_path: Path, raw: Path, encoder: Path
) -> None:
    run(raw, tmp_path / "all", encoder, balance="none")
    done = run(raw, tmp_path / "shards", encoder)
    everything, manifest = read_manifest(tmp_path / "all"), read_manifest(tmp_path / "shards")
    assert training(tmp_path / "all")["night"] in range(1, 5) and training(tmp_path / "all")["day"] > 8
    assert training(tmp_path / "shards") == {"day": 4, "night": training(tmp_path / "all")["night"]}
    held_out = [set(table["key"][table["split"] == "test"]) for table in (everything, manifest)]
    assert held_out[0] == held_out[1] != set()
    assert [len(cluster.members) for cluster in done.clusters] == sorted(training(tmp_path / "all").values())[::-1]
    listed = json.loads((tmp_path / "shards/quarantine.json").read_text())
    assert len(listed) == len(everything) - len(manifest) == done.counts["quarantined"]["balance"]
    assert {entry["kind"] for entry in listed} == {"balance"}
    said = r"balance: its cluster, number 1 of 2, has \d+ training episodes, the 4 with the smallest hashes are used"
    assert all(re.fullmatch(said, entry["reason"]) for entry in listed)


def test_retrieval_keeps_the_scene_that_the_targets_show(tmp_path: Path, raw: Path, encoder: Path) -> None:
    nights = write_videos(tmp_path / "nights", [night(seed) for seed in (40, 41)])
    run(raw, tmp_path / "shards", encoder, balance="retrieval", targets=str(nights), balance_limit=100)
    assert set(training(tmp_path / "shards")) == {"night"}
    both = write_videos(tmp_path / "both", [day(40), day(41), night(42)])
    done = run(raw, tmp_path / "shards", encoder, balance="retrieval", targets=str(both), balance_limit=6)
    assert training(tmp_path / "shards") == {"day": 4, "night": 2}  # as two to one
    assert [(cluster.limit, cluster.matches) for cluster in done.clusters] == [(4, 2), (2, 1)]
    assert "number 1 of 2, nearest to 2 of 3 target clips, has" in done.left_out[0].reason


def test_the_same_is_chosen_whatever_is_remembered_and_in_whichever_order_they_come(
    tmp_path: Path, raw: Path, encoder: Path
) -> None:
    run(raw, tmp_path / "shards", encoder, balance_limit=2, clusters=5)
    first = contents(tmp_path / "shards")
    run(raw, tmp_path / "shards", encoder, balance_limit=2, clusters=5)
    assert contents(tmp_path / "shards") == first
    run(raw, tmp_path / "elsewhere", encoder, balance_limit=2, clusters=5)
    assert contents(tmp_path / "elsewhere") == first
    back = shutil.copytree(raw, tmp_path / "back")
    head, *lines = (back / "videos.csv").read_text().splitlines()
    (back / "videos.csv").write_text("\n".join([head, *lines[::-1]]))
    run(back, tmp_path / "renumbered", encoder, balance_limit=2, clusters=5)
    left_out = [json.loads((tmp_path / name / "quarantine.json").read_text()) for name in ("shards", "renumbered")]
    assert {entry["file"] for entry in left_out[0]} == {entry["file"] for entry in left_out[1]} != set()


def test_only_new_episodes_and_another_encoder_are_encoded(
    tmp_path: Path, raw: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, encode = [0], Features.encode

    def counted(self: Features, frames: np.ndarray) -> np.ndarray:
        encoded[0] += 1
        return encode(self, frames)

    def newly(raw: Path, encoder: Path, **changes: Any) -> int:
        encoded[0] = 0
        run(raw, tmp_path / "shards", encoder, **changes)
        return encoded[0]

    monkeypatch.setattr(Features, "encode", counted)
    own = shutil.copytree(raw, tmp_path / "raw")
    run(own, tmp_path / "all", encoder, balance="none")
    count = sum(training(tmp_path / "all").values())
    assert newly(own, encoder) == count
    assert newly(own, encoder) == newly(own, encoder, balance_limit=2, clusters=3) == 0
    write_videos(tmp_path / "new", [day(60), day(61), day(62)])
    for file in (tmp_path / "new/films").iterdir():
        shutil.copy(file, own / "films" / f"new-{file.name}")
    lines = (own / "videos.csv").read_text() + "".join(f"films/new-{number:02d}.mp4,day\n" for number in range(3))
    (own / "videos.csv").write_text(lines)
    assert newly(own, encoder) in range(1, 4)  # those of the three that are to train on
    save_encoder(tmp_path / "other", fresh(1), None, frames=4)
    assert newly(own, tmp_path / "other") > count
    assert newly(own, encoder) > count  # the folder does not grow: what another encoder made was forgotten


def no_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def half_a_file(folder: Path) -> None:
    truncate(folder / "model.safetensors")


@pytest.mark.parametrize("damage", [shutil.rmtree, no_file, half_a_file])
def test_an_encoder_that_can_not_be_opened_is_one_line_before_anything_is_examined(
    tmp_path: Path, raw: Path, encoder: Path, damage: Callable[[Path], None]
) -> None:
    damage(shutil.copytree(encoder, tmp_path / "broken"))
    with pytest.raises(UserError, match=r"^curate\.encoder: the model in .*broken can't be read: [^\n]*$"):
        run(raw, tmp_path / "shards", tmp_path / "broken")
    assert not (tmp_path / "shards-journal").exists()


def test_an_encoder_whose_weights_are_no_numbers_is_refused(tmp_path: Path, raw: Path) -> None:
    network = fresh(0)
    network.norm.bias.data[0] = torch.nan
    save_encoder(tmp_path / "nan", network, None, frames=4)
    with pytest.raises(UserError, match=r"nan gives features that are no numbers"):
        run(raw, tmp_path / "shards", tmp_path / "nan")


def test_targets_that_can_not_be_used_are_one_line(tmp_path: Path, raw: Path, encoder: Path) -> None:
    retrieval = {"balance": "retrieval", "targets": str(tmp_path / "targets")}
    with pytest.raises(DataError, match=r"^curate\.targets: .*targets is missing or holds no video"):
        run(raw, tmp_path / "shards", encoder, **retrieval)
    targets = write_videos(tmp_path / "targets", [day(0), day(1)])
    for film in targets.rglob("*.mp4"):
        truncate(film)
    with pytest.raises(DataError, match=r"^curate\.targets: none of 2 clips can be used; the first, films/00\.mp4, s"):
        run(raw, tmp_path / "shards", encoder, **retrieval)


def test_settings_without_what_they_need_are_refused() -> None:
    with pytest.raises(ValueError, match="balance: cluster needs encoder"):
        replace(CONFIG, balance="cluster")
    with pytest.raises(ValueError, match="balance: retrieval needs targets"):
        replace(CONFIG, balance="retrieval", encoder="models/old")
    with pytest.raises(ValueError, match="clusters must be 1 or more"):
        replace(CONFIG, clusters=0)


def test_the_page_of_the_stage_tells_the_clusters_sizes(
    tmp_path: Path, raw: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage.os, "cpu_count", lambda: 1)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    shutil.copytree(raw, "data/raw")
    write_videos(tmp_path / "targets", [day(40), night(42)])
    config: CurateConfig = replace(CLUSTER, balance="retrieval", encoder=str(encoder), targets="targets")
    stage.run(VIDEO_ALONE, config)
    table = re.search(r"Training episodes by cluster.*?</table>", Path("data/summary.html").read_text(), flags=re.S)
    assert table is not None
    rows = [list(map(int, re.findall(r">(\d+)<", row))) for row in re.findall(r"<tr>.*?</tr>", table[0])[1:]]
    assert [row[0] for row in rows] == [1, 2] and [row[2:] for row in rows] == [[2, 1], [2, 1]]
    assert sum(row[1] for row in rows) + json.loads(Path("metrics/curate.json").read_text())["episodes_test"] == 24
    assert "encode" in capsys.readouterr().err


def test_features_are_parted_as_they_lie_and_equal_ones_make_no_second_cluster() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(place, 0.1, (count, 3)) for place, count in ((0, 5), (5, 20), (9, 10))])
    centres, labels = k_means(features.astype(np.float32), 3)
    assert np.bincount(labels).tolist() == [20, 10, 5]
    assert (labels == np.repeat([2, 0, 1], [5, 20, 10])).all()
    assert np.abs(centres - [[5], [9], [0]]).max() < 0.3
    assert k_means(np.ones((4, 3), np.float32), 3)[1].tolist() == [0, 0, 0, 0]


def test_shares_are_in_proportion_and_a_match_is_worth_one_at_least() -> None:
    assert shares(np.array([6, 3, 0, 1]), 100).tolist() == [60, 30, 0, 10]
    assert shares(np.array([99, 1]), 10).tolist() == [9, 1]


def test_what_is_in_no_group_is_all_used() -> None:
    assert balance([], tasks_of([], 3)) == ([], [])
