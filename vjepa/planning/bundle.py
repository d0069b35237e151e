"""The exported bundle: what a folder must be before anything in it is run.

A bundle is `bundle.json`, `encoder.onnx` and `predictor.onnx`. It may come from elsewhere, so every file is compared
with its SHA-256 and every width with what the graphs really take. The hashes find damage and mix-ups; they are no
signature.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import onnxruntime

from vjepa.errors import UserError
from vjepa.files import sha256_of

FORMAT = "vjepa-bundle"
VERSION = 3
GRAPHS = ("encoder.onnx", "predictor.onnx")
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose files and widths have been checked.

    Attributes:
        folder: where it lies.
        image_size: pixels on each side of the encoder's input.
        tokens: latent tokens of a frame, N.
        width: features of a token, D.
        state_names: meaning of the state's columns.
        action_names: meaning of the action's columns.
        action_low: `float32 [A]`, lower end of the actions in its data (held-out episodes, 1 % quantile).
        action_high: `float32 [A]`, upper end (99 %).
        derived: whether an action is the difference of two states, rather than a recorded command.
        planned: columns of the action that are planned; the others stay zero.
        max_context: most time steps that the predictor sees at once.
        max_stride: how many equal actions the predictor can be told as one.
        time_step_s: seconds between two steps.
        manifest: the whole of `bundle.json`.
        encoder: frames to latents.
        predictor: latents, actions and states to the next latents.
    """

    folder: Path
    image_size: int
    tokens: int
    width: int
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: np.ndarray
    action_high: np.ndarray
    derived: bool
    planned: tuple[int, ...]
    max_context: int
    max_stride: int
    time_step_s: float
    manifest: dict[str, Any]
    encoder: onnxruntime.InferenceSession
    predictor: onnxruntime.InferenceSession

    @property
    def in_metres(self) -> bool:
        """Whether the planned columns are displacements in m."""
        units = self.manifest["action"]["units"]
        return self.derived and all(units[column] == "m" for column in self.planned)

    @staticmethod
    def open(folder: str | Path, threads: int = 0, providers: Sequence[str] = PROVIDERS) -> Bundle:
        """Check and open a bundle.

        Args:
            folder: e.g. `models/onnx`.
            threads: threads of one inference; 0 is one for each core.
            providers: ONNX Runtime's providers in order of preference; those this machine lacks are passed over.

        Raises:
            UserError: the folder is no bundle of this version, a file is missing or damaged, or the graphs don't fit
                what `bundle.json` says.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        try:
            state, action, tokens = manifest["state"], manifest["action"], manifest["tokens"]
            bundle = Bundle(
                folder=folder,
                image_size=int(manifest["preprocessing"]["image_size"]),
                tokens=int(tokens["rows"]) * int(tokens["columns"]),
                width=int(tokens["width"]),
                state_names=tuple(state["names"]),
                action_names=tuple(action["names"]),
                action_low=np.array(action["low"], np.float32),
                action_high=np.array(action["high"], np.float32),
                derived=bool(action["derived"]),
                planned=tuple(int(column) for column in action["planned"]),
                max_context=int(manifest["context"]["max"]),
                max_stride=int(manifest["context"]["max_stride"]),
                time_step_s=float(manifest["time_step_s"]),
                manifest=manifest,
                encoder=open_session(folder / "encoder.onnx", threads, providers),
                predictor=open_session(folder / "predictor.onnx", threads, providers),
            )
            check_meaning(bundle, action["units"])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{folder / 'bundle.json'} can't be used: {reason}; export the model again") from error
        check_graphs(bundle)
        return bundle


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of `bundle.json`, of a format and version that this code knows."""
    path = folder / "bundle.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no bundle: it has no bundle.json; `python -m stages.export` makes one") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} does not describe a bundle: its format is not {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise UserError(
            f"{path} is of version {manifest.get('version')!r}, and this code reads version {VERSION}: "
            "export the model again or install the code that wrote it"
        )
    return manifest


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compare every listed file with its hash; names that lead out of the folder are refused before they are opened."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not set(GRAPHS) <= set(files):
        raise UserError(f"{folder / 'bundle.json'} must list the files {' and '.join(GRAPHS)}")
    for name, entry in files.items():
        # Windows' rules on every system: they know both kinds of slash, and drives.
        if name in ("", ".", "..") or PureWindowsPath(name).name != name:
            raise UserError(f"{folder / 'bundle.json'} lists {name!r}, which leads out of its folder: don't use it")
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise UserError(f"{folder / name} can't be read: {error.strerror}; fetch the bundle again") from error
        if not isinstance(entry, dict) or found != entry.get("sha256"):
            raise UserError(f"{folder / name} is not what bundle.json lists (sha256 differs); fetch the bundle again")


def open_session(path: Path, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the first of `providers` that works here."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    available = [name for name in providers if name in onnxruntime.get_available_providers()]
    # A build with CUDA on a machine without it prints what it can't load and goes on with the next provider: muted.
    onnxruntime.set_default_logger_severity(4)
    try:
        if "CUDAExecutionProvider" in available:
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
        return onnxruntime.InferenceSession(path, options, providers=available)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise UserError(f"{path} can't be opened by ONNX Runtime: {' '.join(str(error).split())}") from error
    finally:
        onnxruntime.set_default_logger_severity(2)


def check_meaning(bundle: Bundle, units: Sequence[str]) -> None:
    """Whether states and actions mean what the planner does with them; raises ValueError."""
    actions = len(bundle.action_names)
    if not len(units) == len(bundle.action_low) == len(bundle.action_high) == actions:
        raise ValueError("names, units, low and high of the action differ in length")
    if bundle.derived and len(bundle.state_names) != actions:
        raise ValueError(
            f"an action of {actions} columns can't be the difference of states of {len(bundle.state_names)}"
        )
    if not bundle.planned or not set(bundle.planned) <= set(range(actions)):
        raise ValueError(f"the planned columns {list(bundle.planned)} are not columns of an action of {actions}")
    # The search box of what is no length is the range of actions in the data.
    for column in () if bundle.in_metres else bundle.planned:
        if not bundle.action_low[column] < bundle.action_high[column]:
            raise ValueError(f"the planned column {bundle.action_names[column]} has no range: low is not below high")


def check_graphs(bundle: Bundle) -> None:
    """Compare the inputs and outputs of both graphs with the widths in `bundle.json`."""
    size, actions, states = bundle.image_size, len(bundle.action_names), len(bundle.state_names)
    latents = [bundle.tokens, bundle.width]
    expected: dict[str, dict[str, list[Any]]] = {
        "encoder.onnx": {"frames": [None, size, size, 3], "latents": [None, *latents]},
        "predictor.onnx": {
            "latents": [None, None, *latents],
            "actions": [None, None, actions],
            "states": [None, None, states],
            "next_latents": [None, *latents],
        },
    }
    for name, session in zip(GRAPHS, (bundle.encoder, bundle.predictor), strict=True):
        found = {value.name: value.shape for value in [*session.get_inputs(), *session.get_outputs()]}
        if set(found) != set(expected[name]):
            wanted = sorted(expected[name])
            raise UserError(f"{bundle.folder / name} has {sorted(found)}, not {wanted}; export it again")
        for value, shape in expected[name].items():
            fits = len(found[value]) == len(shape) and all(
                isinstance(has, str) if wants is None else has == wants
                for has, wants in zip(found[value], shape, strict=True)
            )
            if not fits:
                says = [size or "any" for size in shape]
                raise UserError(
                    f"{bundle.folder / name}: {value} is {found[value]}, but bundle.json says {says}; export it again"
                )
