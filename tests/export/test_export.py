from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa.config import ExportConfig
from vjepa.data.episode import Episode
from vjepa.data.layout import POSES, layout_of
from vjepa.errors import UserError
from vjepa.export import bundle as export_bundle
from vjepa.export.bundle import git_revision, write_bundle
from vjepa.export.graphs import export_graph
from vjepa.export.parity import measure_parity
from vjepa.nn.encoder import VisionTransformer
from vjepa.planning import Bundle, CrossEntropyPlanner
from vjepa.planning import WorldModel as Planned
from vjepa.posttraining.world_model import WorldModel

CONFIG = ExportConfig(opset=18, parity_samples=5, max_abs_error=1e-4)
SIZE = 16


def world_model(states: int = 7) -> WorldModel:
    """A tiny world model whose every part matters: random statistics, and a predictor that changes the latents."""
    torch.manual_seed(0)
    encoder = VisionTransformer(image_size=SIZE, patch=4, tubelet=2, width=24, depth=1, heads=2, mlp_ratio=2.0)
    model = WorldModel(encoder, 2, states, states, width=24, depth=1, heads=2, max_context=3, max_stride=2).eval()
    model.fit_statistics(torch.randn(9, 4, 24), torch.randn(9, states), 0.1 * torch.randn(9, states))
    torch.nn.init.normal_(model.predictor.predictor_proj.weight, std=0.3)
    return model


def episodes(count: int = 3, frames: int = 8) -> list[Episode]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        images = rng.integers(0, 256, (frames, SIZE, SIZE, 3), np.uint8)
        states = rng.uniform(-0.2, 0.2, (frames, 7)).astype(np.float32)
        made.append(
            Episode(f"toy-{i:06d}", "move", images, np.arange(frames) / 8, states, POSES.actions_between(states))
        )
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    path = tmp_path_factory.mktemp("export") / "onnx"
    metrics = {"posttrain": {"latent_l1": {"value": 0.1}}}
    return path, write_bundle(path, world_model(), episodes(), POSES, CONFIG, {"seed": 3}, metrics, {"episodes": 3})


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_latents_are_torch_s_at_any_batch(exported: tuple[Path, dict[str, float]], batch: int) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8)
    with torch.no_grad():
        expected = world_model().encode(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(Planned(Bundle.open(exported[0])).encode(frames), expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("context", [1, 2, 3])
def test_predictions_are_torch_s_at_any_batch_and_context(
    exported: tuple[Path, dict[str, float]], batch: int, context: int
) -> None:
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(batch, context, *shape)).astype(np.float32) for shape in ((4, 24), (7,), (7,))]
    with torch.no_grad():
        expected = world_model().step(*map(torch.from_numpy, inputs)).numpy()
    found = Planned(Bundle.open(exported[0])).step(*inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - inputs[0][:, -1]).max() > 0.1, "the predictor under test changes the latents"


def test_the_manifest_says_what_a_robot_needs_and_where_the_model_comes_from(
    exported: tuple[Path, dict[str, float]],
) -> None:
    path, parity = exported
    manifest = json.loads((path / "bundle.json").read_text())
    assert manifest["action"]["names"] == ["dx", "dy", "dz", "droll", "dpitch", "dyaw", "dgripper"]
    assert manifest["action"]["planned"] == [0, 1, 2]
    assert manifest["tokens"] == {"rows": 2, "columns": 2, "width": 24}
    assert manifest["context"] == {"max": 3, "max_stride": 2}
    assert manifest["time_step_s"] == 0.125
    assert manifest["provenance"]["params"] == {"seed": 3}
    assert manifest["metrics"]["posttrain"]["latent_l1"]["value"] == 0.1
    assert manifest["parity"] == parity
    assert set(parity) == {"encoder_max_abs_error", "predictor_max_abs_error"}
    assert all(0 < error < 1e-4 for error in parity.values())
    assert {file.name for file in path.iterdir()} == {"bundle.json", "encoder.onnx", "predictor.onnx", "profile.json"}
    assert json.loads((path / "profile.json").read_text()) == {"episodes": 3}


def test_joints_are_exported_with_their_names_and_planned_where_they_move(tmp_path: Path) -> None:
    names = tuple(f"joint[{i}]" for i in range(14))
    joints = layout_of(names, ("rad",) * 14, pose=False)
    recorded = []
    for episode in episodes():
        states = np.concatenate([episode.states, episode.states], axis=1)
        states[:, 5] = 0.25  # never moves
        recorded.append(replace(episode, states=states, actions=joints.actions_between(states)))
    parity = write_bundle(tmp_path / "onnx", world_model(states=14), recorded, joints, CONFIG, {}, {}, {})
    assert max(parity.values()) < 1e-4
    bundle = Bundle.open(tmp_path / "onnx")
    assert bundle.state_names == names and bundle.derived and not bundle.in_metres
    assert bundle.planned == (*range(5), *range(6, 14))
    planner = CrossEntropyPlanner(horizon=2, samples=16, iterations=2, elites=4, sigma=0.6, max_move=1.0)
    model = Planned(bundle)
    goal = model.encode(recorded[0].frames[3:4])[0]
    action = planner.plan(model, recorded[0].frames[2], recorded[0].states[2], goal, seed=0).action
    assert action.shape == (14,) and action[5] == 0
    assert ((action >= bundle.action_low - 1e-6) & (action <= bundle.action_high + 1e-6)).all()


def test_bounds_hold_nearly_all_actions_of_the_data(exported: tuple[Path, dict[str, float]]) -> None:
    bundle = Bundle.open(exported[0])
    moves = np.concatenate([np.diff(episode.states[:, :3], axis=0) for episode in episodes()])
    inside = (moves >= bundle.action_low[:3]) & (moves <= bundle.action_high[:3])
    assert 0.9 <= inside.mean() < 1


def test_a_graph_of_other_weights_is_found_by_parity(exported: tuple[Path, dict[str, float]]) -> None:
    other = world_model()
    with torch.no_grad():
        other.latent_mean += 0.01
        other.action_scale *= 0.8
    errors = measure_parity(other, exported[0], episodes(), samples=2)
    assert errors["encoder_max_abs_error"] > 1e-3 and errors["predictor_max_abs_error"] > 1e-4


def test_too_large_a_difference_is_an_error_and_leaves_the_old_bundle(
    exported: tuple[Path, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_graphs(model: WorldModel, folder: Path, opset: int) -> None:
        for name in ("encoder.onnx", "predictor.onnx"):
            shutil.copy(exported[0] / name, folder / name)

    monkeypatch.setattr(export_bundle, "export_graphs", copy_graphs)
    path = tmp_path / "onnx"
    path.mkdir()
    (path / "bundle.json").write_text("old")
    with pytest.raises(UserError, match=r"encoder_max_abs_error is .*, above export\.max_abs_error 1e-12"):
        write_bundle(path, world_model(), episodes(), POSES, replace(CONFIG, max_abs_error=1e-12), {}, {}, {})
    assert (path / "bundle.json").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["onnx"]


def export_linear(path: Path, opset: int) -> None:
    batch = {0: torch.export.Dim("batch")}
    export_graph(torch.nn.Linear(3, 2), {"input": torch.zeros(2, 3)}, "y", batch, path, opset)


def test_exporting_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_linear(tmp_path / "linear.onnx", 18)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("opset", [7, 99])
def test_an_opset_that_the_exporter_can_not_write_is_an_error_in_one_line(tmp_path: Path, opset: int) -> None:
    with pytest.raises(UserError, match=rf"^can't export linear\.onnx with export\.opset {opset}: [^\n]+$"):
        export_linear(tmp_path / "linear.onnx", opset)


def test_data_of_another_width_than_the_world_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes states and actions of 14 and 14, the data have 7 and 7"):
        write_bundle(tmp_path / "onnx", world_model(states=14), episodes(), POSES, CONFIG, {}, {}, {})


def test_the_revision_is_unknown_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_revision() == "unknown"
    monkeypatch.setattr(
        export_bundle.subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("git"))
    )
    assert git_revision() == "unknown"


def test_the_revision_is_the_commit_and_says_whether_code_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def git(*arguments: str) -> str:
        author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        return subprocess.run(["git", *author, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    Path("code.py").write_text("a = 1")
    Path("metrics.json").write_text("{}")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    Path("metrics.json").write_text("[]")  # a run of the chain changes metrics: that is no other code
    assert git_revision() == git("rev-parse", "HEAD")
    Path("code.py").write_text("a = 2")
    assert git_revision() == git("rev-parse", "HEAD") + "-dirty"
