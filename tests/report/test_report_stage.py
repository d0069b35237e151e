from pathlib import Path

import numpy as np
import pytest
from made_up_run import make_episodes, make_run

from stages.report import example_clip, mask_pictures, run, words_for
from vjepa.config import MaskConfig
from vjepa.errors import UserError


def test_the_stage_makes_the_page_from_the_folders_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(tmp_path)
    made.write()
    monkeypatch.chdir(tmp_path)
    run(**vars(made.settings))
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for config in made.settings.pretrain.masks:
        assert f"{words_for(config)}</b>" in page
    assert "Not enough" not in page
    assert (tmp_path / "report" / "figure.png").exists()
    assert 'href="docs/index.html"' in page
    assert "Data gates" in (tmp_path / "report" / "docs" / "index.html").read_text()


def test_nothing_is_written_when_a_metrics_file_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(tmp_path)
    made.write()
    (tmp_path / "metrics" / "plan.json").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"metrics/plan\.json is missing"):
        run(**vars(made.settings))
    assert not (tmp_path / "report").exists()


def test_missing_pages_of_the_gates_are_named_with_what_writes_them(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    made.write()
    (tmp_path / "data/docs/index.html").unlink()
    with pytest.raises(UserError, match=r"data/docs/index\.html is missing: run the stage validate"):
        made.read()


def test_the_example_clip_is_the_one_in_which_the_hand_goes_furthest(tmp_path: Path) -> None:
    pretrain = make_run(tmp_path).settings.pretrain
    still, moving = make_episodes(size=16, count=2)
    still.states[:] = 0
    clip = example_clip([still, moving], pretrain)
    assert clip is not None and len(clip) == pretrain.frames
    assert any(np.array_equal(clip[0], frame) for frame in moving.frames)


def test_without_an_episode_as_long_as_a_clip_there_is_no_example(tmp_path: Path) -> None:
    pretrain = make_run(tmp_path).settings.pretrain
    assert example_clip(make_episodes(size=16, count=2, frames=pretrain.frames - 1), pretrain) is None


def test_a_mask_generator_is_put_in_words() -> None:
    assert words_for(MaskConfig(8, 0.15, [0.75, 1.5])) == "8 blocks of 15 % of the frame"
    assert words_for(MaskConfig(1, 0.6, [0.75, 1.5])) == "1 block of 60 % of the frame"


def test_the_masks_are_those_of_pretraining(tmp_path: Path) -> None:
    settings = make_run(tmp_path).settings
    masks = mask_pictures(settings.encoder, settings.pretrain, seed=0)
    assert len(masks) == len(settings.pretrain.masks)
    patches = (settings.encoder.image_size // settings.encoder.patch) ** 2
    for mask in masks:
        assert mask.tokens == patches * settings.pretrain.frames // settings.encoder.tubelet
        # tubes: the same patches in every time step
        per_step = mask.context.reshape(settings.pretrain.frames // settings.encoder.tubelet, -1) % patches
        assert (per_step == per_step[0]).all()
