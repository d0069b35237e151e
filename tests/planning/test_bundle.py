from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto
from toy_world import write_manifest

from vjepa.errors import UserError
from vjepa.planning import Bundle


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def test_a_bundle_opens_with_what_its_manifest_says(toy_folder: Path) -> None:
    bundle = Bundle.open(toy_folder)
    assert (bundle.image_size, bundle.tokens, bundle.width, bundle.max_context, bundle.max_stride) == (16, 2, 2, 2, 1)
    assert bundle.state_names == ("x", "y", "gripper")
    assert bundle.planned == (0, 1)
    assert bundle.time_step_s == 0.125


def test_a_folder_without_a_manifest_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no bundle\.json; `python -m stages\.export`"):
        Bundle.open(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    (folder / "bundle.json").write_text('{"format": "vjepa-b')
    with pytest.raises(UserError, match=r"bundle\.json can't be read"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format", "another", "does not describe a bundle"),
        ("version", 1, "is of version 1, and this code reads version 3"),
        ("time_step_s", None, "can't be used"),
        ("tokens", {"rows": 1, "columns": 2}, "'width' is missing"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    make_toy_folder: Callable[..., Path], key: str, value: object, reason: str
) -> None:
    folder = make_toy_folder()
    edit(folder, lambda manifest: manifest.update({key: value}))
    with pytest.raises(UserError, match=reason):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "predictor.onnx"])
def test_a_file_changed_by_one_byte_is_refused(make_toy_folder: Callable[..., Path], name: str) -> None:
    folder = make_toy_folder()
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is not what bundle\.json lists \(sha256 differs\)"):
        Bundle.open(folder)


def test_a_missing_file_is_named(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    (folder / "predictor.onnx").unlink()
    with pytest.raises(UserError, match=r"predictor\.onnx can't be read: No such file"):
        Bundle.open(folder)


def test_a_graph_that_the_manifest_does_not_hash_is_refused(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    edit(folder, lambda manifest: manifest["files"].pop("encoder.onnx"))
    with pytest.raises(UserError, match=r"must list the files encoder\.onnx and predictor\.onnx"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/file", "..", "", "..\\secret", "C:\\secret"])
def test_a_path_that_leads_out_of_the_folder_is_refused_before_it_is_opened(
    make_toy_folder: Callable[..., Path], name: str
) -> None:
    folder = make_toy_folder()
    edit(folder, lambda manifest: manifest["files"].update({name: {"sha256": "0", "bytes": 1}}))
    with pytest.raises(UserError, match="leads out of its folder"):
        Bundle.open(folder)


def test_weights_outside_the_folder_are_refused(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()
    manifest = json.loads((folder / "bundle.json").read_text())
    model = onnx.load(folder / "encoder.onnx")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "places")
    (folder.parent / "weights").write_bytes(weight.raw_data)
    entry = {"location": "../weights", "offset": "0", "length": str(len(weight.raw_data))}
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entry.items():
        weight.external_data.add(key=key, value=value)
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())
    write_manifest(folder, manifest)
    with pytest.raises(UserError, match=r"encoder\.onnx can't be opened by ONNX Runtime: .*escapes"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("preprocessing", "image_size", 32, r"encoder\.onnx: frames is .*16, 16.* says \['any', 32, 32, 3\]"),
        ("tokens", "columns", 3, r"latents is .* says \['any', 3, 2\]"),
        ("tokens", "width", 4, r"latents is .* says \['any', 2, 4\]"),
    ],
)
def test_widths_that_the_graphs_do_not_have_are_refused(
    make_toy_folder: Callable[..., Path], section: str, key: str, value: int, reason: str
) -> None:
    folder = make_toy_folder()
    edit(folder, lambda manifest: manifest[section].update({key: value}))
    with pytest.raises(UserError, match=reason):
        Bundle.open(folder)


def test_an_action_wider_than_the_graph_takes_is_refused(make_toy_folder: Callable[..., Path]) -> None:
    folder = make_toy_folder()

    def widen(manifest: dict[str, Any]) -> None:
        manifest["state"] = {"names": ["x", "y", "z", "gripper"], "units": ["m", "m", "m", "1"]}
        action = {"names": ["dx", "dy", "dz", "dgripper"], "units": ["m", "m", "m", "1"], "planned": [0, 1]}
        manifest["action"] = {**action, "derived": True, "low": [-1] * 4, "high": [1] * 4}

    edit(folder, widen)
    with pytest.raises(UserError, match=r"predictor\.onnx: actions is .* says \['any', 'any', 4\]"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"planned": [0, 3]}, "not columns of an action of 3"),
        ({"planned": []}, "not columns of an action of 3"),
        ({"planned": [0, 2], "low": [0, 0, 1]}, "the planned column dgripper has no range"),
        ({"low": [0, 0]}, "differ in length"),
    ],
)
def test_an_action_that_the_planner_would_misread_is_refused(
    make_toy_folder: Callable[..., Path], change: dict[str, Any], reason: str
) -> None:
    folder = make_toy_folder()
    edit(folder, lambda manifest: manifest["action"].update(change))
    with pytest.raises(UserError, match=reason):
        Bundle.open(folder)
