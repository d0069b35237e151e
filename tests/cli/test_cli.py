"""The command `vjepa`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa.checkpoints.action_predictor import load_action_predictor
from vjepa.checkpoints.encoder import load_pretrained, save_encoder
from vjepa.checkpoints.official import save_official
from vjepa.cli.encode import encode_video
from vjepa.cli.main import COMMANDS, main
from vjepa.cli.models import models, parameters
from vjepa.data.video import decode_video, encode_mp4
from vjepa.imaging import square_resize
from vjepa.nn.action_predictor import ActionPredictor
from vjepa.nn.encoder import VisionTransformer, normalise_pixels
from vjepa.nn.predictor import Predictor

OFFICIAL = ["--heads", "2", "--predictor-heads", "2", "--mask-tokens", "1", "--image-size", "32", "--frames", "4"]


@pytest.fixture
def encoder() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(32, 8, 2, width=24, depth=2, heads=2, mlp_ratio=2.0).eval()


@pytest.fixture
def folder(encoder: VisionTransformer, tmp_path: Path) -> Path:
    save_encoder(tmp_path / "encoder", encoder, Predictor(24, 16, 1, 2), frames=4)
    return tmp_path / "encoder"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames of 48 x 64 pixels, ten a second."""
    path = tmp_path / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), dtype=np.uint8)
    path.write_bytes(encode_mp4(frames, fps=10))
    return path


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_says_what_there_is(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert (COMMANDS[command[0]].split(",")[0][1:] if command else "checkpoint") in " ".join(
        capsys.readouterr().out.split()
    )


def test_models_are_counted_from_the_networks(capsys: pytest.CaptureFixture[str]) -> None:
    counted = {(row.name, row.family): (parameters(row.encoder), parameters(row.predictor)) for row in models()}
    assert counted["vit_large 256", "2"][1] == pytest.approx(22e6, rel=0.02)  # as published
    assert counted["vit_giant 256", "2-AC"][1] == pytest.approx(305e6, rel=0.01)
    main(["models"])
    shown = capsys.readouterr().out
    for name, _ in counted:
        assert name in shown


def test_a_checkpoint_is_inspected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["checkpoint", "inspect", str(folder), "--tensors"])
    shown = capsys.readouterr().out
    assert "type 'vjepa2'" in shown and "layer.1.mlp.fc2.bias  [24]" in shown
    count = sum(p.numel() for p in load_pretrained(folder).encoder.parameters())
    assert f"{count:,}" in shown


def test_a_checkpoint_goes_to_the_official_form_and_back(folder: Path, tmp_path: Path) -> None:
    main(["checkpoint", "convert", str(folder), str(tmp_path / "official.pt")])
    main(["checkpoint", "convert", str(tmp_path / "official.pt"), str(tmp_path / "back"), *OFFICIAL])
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "back" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_the_predictor_of_2_ac_goes_to_a_folder_of_its_own_and_back(
    encoder: VisionTransformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    predictor = ActionPredictor(24, (4, 4), 7, 7, 16, 2, 2, shortcuts=False, extrinsics=6)
    save_official(tmp_path / "ac.pt", encoder, predictor)
    main(["checkpoint", "convert", str(tmp_path / "ac.pt"), str(tmp_path / "ac"), *OFFICIAL])
    assert "encoder and action-conditioned predictor" in capsys.readouterr().out
    read = load_action_predictor(tmp_path / "ac/action_predictor").state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in predictor.state_dict().items())
    main(["checkpoint", "inspect", str(tmp_path / "ac")])
    assert "action_predictor" in capsys.readouterr().out
    main(["checkpoint", "convert", str(tmp_path / "ac"), str(tmp_path / "back.pt")])
    first, back = (torch.load(tmp_path / name, weights_only=True) for name in ("ac.pt", "back.pt"))
    assert all(torch.equal(back[network][name], t) for network in first for name, t in first[network].items())
    without = [*OFFICIAL, "--ignore", "predictor"]
    main(["checkpoint", "convert", str(tmp_path / "ac.pt"), str(tmp_path / "alone"), *without])
    assert not (tmp_path / "alone/action_predictor").exists()

    config = json.loads((tmp_path / "ac/action_predictor/config.json").read_text())
    (tmp_path / "ac/action_predictor/config.json").write_text(json.dumps(config | {"heads": 3}))
    with pytest.raises(SystemExit, match="describes no predictor of V-JEPA 2-AC"):
        main(["checkpoint", "convert", str(tmp_path / "ac"), str(tmp_path / "x.pt")])


def test_mistakes_are_one_line(folder: Path, tmp_path: Path) -> None:
    for arguments, complaint in (
        (["inspect", str(tmp_path / "none.pt")], "none.pt"),
        (["convert", str(tmp_path / "none"), str(tmp_path / "x")], "does not exist"),
        (["convert", str(folder), str(folder)], "is there already"),
        (["convert", str(folder), str(tmp_path / "y"), "--heads", "2"], "options for official files are of no use"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["checkpoint", *arguments])
        said = str(stopped.value.code)
        assert said.startswith("vjepa checkpoint: ") and complaint in said and "\n" not in said


def test_a_video_is_encoded_clip_by_clip(folder: Path, video: Path, encoder: VisionTransformer, tmp_path: Path) -> None:
    main(["encode", str(video), "--encoder", str(folder), "--out", str(tmp_path / "features")])
    with np.load(tmp_path / "features" / "clip.npz", allow_pickle=False) as found:
        features, grid, times = found["features"], found["grid"], found["times"]
    assert features.shape == (3, 2 * 16, 24) and features.dtype == np.float32
    assert grid.tolist() == [2, 4, 4]
    np.testing.assert_allclose(times, np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]) / 10, atol=1e-6)
    seen = square_resize(decode_video(video)[0], 32)
    with torch.no_grad():
        for clip, shown in zip(features, ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]), strict=True):
            expected = encoder(normalise_pixels(torch.from_numpy(seen[shown]).unsqueeze(0)))[0]
            torch.testing.assert_close(torch.from_numpy(clip), expected, atol=1e-5, rtol=1e-5)


def test_frames_are_chosen_by_time(encoder: VisionTransformer, video: Path) -> None:
    found = encode_video(encoder, video, clip=2, fps=5, mean=True)
    np.testing.assert_allclose(found["times"], [[0, 0.2], [0.4, 0.6], [0.8, 0.8]], atol=1e-6)
    assert found["features"].shape == (3, 1, 24)
    every = encode_video(encoder, video, clip=2, fps=None)
    np.testing.assert_allclose(
        found["features"][0, 0], encode_video(encoder, video, clip=2, fps=5)["features"][0].mean(0), atol=1e-5
    )
    assert len(every["features"]) == 5


def test_an_official_file_encodes_as_its_folder(folder: Path, video: Path, tmp_path: Path) -> None:
    models_of_folder = load_pretrained(folder)
    save_official(tmp_path / "vitx.pt", models_of_folder.encoder, models_of_folder.predictor)
    for name, source, extra in (("a", folder, []), ("b", tmp_path / "vitx.pt", OFFICIAL)):
        main(["encode", str(video), "--encoder", str(source), "--out", str(tmp_path / name), *extra])
    with np.load(tmp_path / "a" / "clip.npz") as a, np.load(tmp_path / "b" / "clip.npz") as b:
        np.testing.assert_array_equal(a["features"], b["features"])


def test_a_file_that_is_no_video_is_named_and_the_others_are_written(folder: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SystemExit) as stopped:
        main(["encode", str(tmp_path / "text.mp4"), str(video), "--encoder", str(folder), "--out", str(tmp_path / "o")])
    assert "text.mp4" in str(stopped.value.code)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["clip.npz"]


def test_two_videos_of_one_name_do_not_overwrite_each_other(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["encode", "a/x.mp4", "b/x.mp4", "--encoder", str(folder), "--out", str(tmp_path / "o")])
    assert "same name" in str(stopped.value.code)
