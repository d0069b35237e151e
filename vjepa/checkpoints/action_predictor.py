"""The predictor of V-JEPA 2-AC on disk: a folder inside the encoder's, since `transformers` has no such model."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match
from vjepa.checkpoints.model_config import CONFIG, OwnSettings
from vjepa.errors import UserError
from vjepa.files import atomic_directory
from vjepa.nn.action_predictor import ActionPredictor

FOLDER, MODEL_TYPE = "action_predictor", "vjepa2_ac_predictor"


class ActionPredictorSettings(OwnSettings):
    """What `config.json` says of an `ActionPredictor`."""

    latent_width: PositiveInt
    rows: PositiveInt
    columns: PositiveInt
    actions: PositiveInt
    states: PositiveInt
    width: PositiveInt
    depth: PositiveInt
    heads: PositiveInt
    mlp_ratio: PositiveFloat
    shortcuts: bool
    extrinsics: NonNegativeInt

    def build(self) -> ActionPredictor:
        """The predictor, with fresh weights; ValueError where its sizes don't go together."""
        values = self.model_dump(exclude={"model_type"})
        return ActionPredictor(grid=(values.pop("rows"), values.pop("columns")), **values)


def save_action_predictor(path: Path, predictor: ActionPredictor) -> None:
    """Write a folder that `load_action_predictor` opens."""
    settings = ActionPredictorSettings(
        model_type=MODEL_TYPE,
        latent_width=predictor.latent_width,
        rows=predictor.grid[0],
        columns=predictor.grid[1],
        actions=predictor.actions,
        states=predictor.states,
        width=predictor.width,
        depth=predictor.depth,
        heads=predictor.heads,
        mlp_ratio=predictor.mlp_ratio,
        shortcuts=predictor.shortcuts,
        extrinsics=predictor.extrinsics,
    )
    with atomic_directory(path) as folder:
        write_folder(folder, settings.model_dump(), dict(predictor.state_dict()))


def load_action_predictor(path: Path) -> ActionPredictor:
    """Read what `save_action_predictor` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its settings; all differences are named.
    """
    config, tensors = read_folder(path)
    if (kind := config.get("model_type")) != MODEL_TYPE:
        raise UserError(f"{path} holds a model of type {kind!r}, not {MODEL_TYPE!r}")
    settings = ActionPredictorSettings.read(config, path)
    try:
        with torch.device("meta"):  # shapes alone: a size that the file does not have takes no memory
            wanted = settings.build().state_dict()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path / CONFIG} describes no predictor of V-JEPA 2-AC: {error}") from error
    found = require_match(tensors, wanted, f"{path} does not fit its {CONFIG}")
    predictor = settings.build()
    predictor.load_state_dict(found)
    return predictor.eval()
