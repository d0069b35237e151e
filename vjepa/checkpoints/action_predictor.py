"""The predictor of V-JEPA 2-AC on disk: a folder inside the encoder's, since `transformers` has no such model."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match
from vjepa.checkpoints.model_config import CONFIG, Settings
from vjepa.errors import UserError
from vjepa.files import atomic_directory
from vjepa.nn.action_predictor import ActionPredictor

FOLDER, MODEL_TYPE = "action_predictor", "vjepa2_ac_predictor"


class ActionPredictorSettings(Settings):
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
        values = self.model_dump()
        return ActionPredictor(grid=(values.pop("rows"), values.pop("columns")), **values)


def save_action_predictor(path: Path, predictor: ActionPredictor) -> None:
    """Write a folder that `load_action_predictor` opens."""
    settings = ActionPredictorSettings(
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
        write_folder(folder, {"model_type": MODEL_TYPE} | settings.write(), dict(predictor.state_dict()))


def load_action_predictor(path: Path) -> ActionPredictor:
    """Read what `save_action_predictor` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its settings; all differences are named.
    """
    config, tensors = read_folder(path)
    if (kind := config.get("model_type")) != MODEL_TYPE:
        raise UserError(f"{path} holds a model of type {kind!r}, not {MODEL_TYPE!r}")
    try:
        predictor = ActionPredictorSettings.read(config, path).build()
    except ValueError as error:
        raise UserError(f"{path / CONFIG} describes no predictor of V-JEPA 2-AC: {error}") from error
    predictor.load_state_dict(require_match(tensors, predictor.state_dict(), f"{path} does not fit its {CONFIG}"))
    return predictor.eval()
