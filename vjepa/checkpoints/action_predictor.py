"""The predictor of V-JEPA 2-AC on disk: a folder inside the encoder's, since `transformers` has no such model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from vjepa.checkpoints.folder import read_folder, write_folder
from vjepa.checkpoints.matching import require_match, shapes_of
from vjepa.checkpoints.model_config import CONFIG, OwnSettings
from vjepa.files import atomic_directory
from vjepa.nn.action_predictor import ActionPredictor

FOLDER = "action_predictor"


class ActionPredictorSettings(OwnSettings):
    """What `config.json` says of an `ActionPredictor`."""

    KIND: ClassVar[str] = "vjepa2_ac_predictor"
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
        values = self.sizes()
        return ActionPredictor(grid=(values.pop("rows"), values.pop("columns")), **values)


def save_action_predictor(path: Path, predictor: ActionPredictor) -> None:
    """Write a folder that `load_action_predictor` opens."""
    settings = ActionPredictorSettings.of(predictor, rows=predictor.grid[0], columns=predictor.grid[1])
    with atomic_directory(path) as folder:
        write_folder(folder, settings.model_dump(), dict(predictor.state_dict()))


def load_action_predictor(path: Path) -> ActionPredictor:
    """Read what `save_action_predictor` wrote, in evaluation mode.

    Raises:
        UserError: a file is missing or damaged, or its tensors don't fit its settings; all differences are named.
    """
    config, tensors = read_folder(path)
    settings = ActionPredictorSettings.read(config, path)
    wanted = shapes_of(lambda: settings.build().state_dict(), path / CONFIG, "predictor of V-JEPA 2-AC")
    found = require_match(tensors, wanted, f"{path} does not fit its {CONFIG}")
    predictor = settings.build()
    predictor.load_state_dict(found)
    return predictor.eval()
