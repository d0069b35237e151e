"""`config.json` of a model folder: the settings of the networks in `transformers`' words, each with its type and range.

What V-JEPA 2.1 and the corrected position encoding add has a default, which is what V-JEPA 2 does, and is written only
where it differs, under a `model_type` of its own: `transformers` then refuses the folder rather than compute something
else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError
from torch import nn

from vjepa.errors import UserError
from vjepa.nn.blocks import LAYER_NORM_EPS
from vjepa.nn.encoder import PIXEL_MEAN, PIXEL_STD, VisionTransformer
from vjepa.nn.predictor import Predictor

CONFIG, PROCESSOR = "config.json", "video_preprocessor_config.json"
PLAIN = {"model_type": "vjepa2", "architectures": ["VJEPA2Model"]}
BEYOND = {"model_type": "vjepa2_1", "architectures": ["VisionTransformer"]}
FIXED = {"in_chans": 3, "layer_norm_eps": LAYER_NORM_EPS, "qkv_bias": True, "hidden_act": "gelu"}
"""Settings of `transformers` that all V-JEPA 2 models share; no other values can be followed."""


class Settings(BaseModel):
    """One network's part of the file. Other keys are another's: `transformers` writes many that say nothing here."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """The settings in a file's content.

        Raises:
            UserError: a key is missing, of another type or out of its range; all of them are named.
        """
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            wrong = [
                f"lacks the key {place!r}" if e["type"] == "missing" else f"{place}: {e['msg']}, not {e['input']!r}"
                for e in error.errors()
                for place in [".".join(map(str, e["loc"]))]
            ]
            raise UserError(f"{folder / CONFIG}: {'; '.join(wrong)}") from error

    def write(self) -> dict[str, Any]:
        """What the file says of the network."""
        values = self.model_dump(exclude_defaults=True)
        required = {name for name, field in type(self).model_fields.items() if field.is_required()}
        return values | (BEYOND if values.keys() - required else {})


class OwnSettings(Settings):
    """The whole of a file of a format that is this project's own: another key is an error."""

    model_config = ConfigDict(extra="forbid")
    KIND: ClassVar[str]
    model_type: str

    @classmethod
    def of(cls, network: nn.Module, **others: Any) -> Self:
        """Those of a network: its attributes of the same names, but for what is given."""
        names = cls.model_fields.keys() - others.keys() - {"model_type"}
        return cls(model_type=cls.KIND, **{name: getattr(network, name) for name in names}, **others)

    @classmethod
    def read(cls, config: Mapping[str, Any], folder: Path) -> Self:
        """As `Settings.read`; a model of another type is a `UserError`, too."""
        if (kind := config.get("model_type")) != cls.KIND:
            raise UserError(f"{folder} holds a model of type {kind!r}, not {cls.KIND!r}")
        return super().read(config, folder)

    def sizes(self) -> dict[str, Any]:
        """All of it but the type."""
        return self.model_dump(exclude={"model_type"})


class EncoderSettings(Settings):
    """Of a `VisionTransformer`; `frames_per_clip` is the length of its training clips."""

    crop_size: PositiveInt
    frames_per_clip: PositiveInt
    patch_size: PositiveInt
    tubelet_size: PositiveInt
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    mlp_ratio: PositiveFloat
    tiled_rope: bool = True
    rope_side: PositiveInt | None = None
    levels: list[NonNegativeInt] = []
    image_patches: bool = False

    @classmethod
    def of(cls, encoder: VisionTransformer, frames: int) -> Self:
        """Those of an encoder."""
        return cls(
            crop_size=encoder.image_size,
            frames_per_clip=frames,
            patch_size=encoder.patch,
            tubelet_size=encoder.tubelet,
            hidden_size=encoder.width,
            num_hidden_layers=encoder.depth,
            num_attention_heads=encoder.heads,
            mlp_ratio=encoder.mlp_ratio,
            tiled_rope=encoder.tiled_rope,
            rope_side=encoder.rope_side,
            levels=list(encoder.levels),
            image_patches=encoder.image_patches,
        )

    def build(self) -> VisionTransformer:
        """The encoder, with fresh weights; ValueError where its sizes don't go together."""
        return VisionTransformer(
            self.crop_size,
            self.patch_size,
            self.tubelet_size,
            self.hidden_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.mlp_ratio,
            self.tiled_rope,
            self.rope_side,
            self.levels,
            self.image_patches,
        )


class PredictorSettings(Settings):
    """Of a pretraining `Predictor`, on an encoder of `hidden_size`."""

    hidden_size: PositiveInt
    pred_hidden_size: PositiveInt
    pred_num_hidden_layers: PositiveInt
    pred_num_attention_heads: PositiveInt
    pred_mlp_ratio: PositiveFloat
    pred_num_mask_tokens: PositiveInt
    pred_tiled_rope: bool = True
    pred_output_size: PositiveInt | None = None
    pred_levels: PositiveInt = 1
    pred_context_head: bool = False
    pred_modalities: bool = False

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """Those of a predictor."""
        same = predictor.output_width == predictor.encoder_width
        return cls(
            hidden_size=predictor.encoder_width // predictor.levels,
            pred_hidden_size=predictor.width,
            pred_num_hidden_layers=predictor.depth,
            pred_num_attention_heads=predictor.heads,
            pred_mlp_ratio=predictor.mlp_ratio,
            pred_num_mask_tokens=len(predictor.mask_tokens),
            pred_tiled_rope=predictor.tiled_rope,
            pred_output_size=None if same else predictor.output_width,
            pred_levels=predictor.levels,
            pred_context_head=predictor.context_head,
            pred_modalities=predictor.modalities,
        )

    def build(self) -> Predictor:
        """The predictor, with fresh weights; ValueError where its sizes don't go together."""
        return Predictor(
            self.hidden_size * self.pred_levels,
            self.pred_hidden_size,
            self.pred_num_hidden_layers,
            self.pred_num_attention_heads,
            self.pred_mlp_ratio,
            self.pred_num_mask_tokens,
            self.pred_tiled_rope,
            self.pred_output_size,
            self.pred_levels,
            self.pred_context_head,
            self.pred_modalities,
        )


def folder_config(encoder: VisionTransformer, predictor: Predictor | None, frames: int) -> dict[str, Any]:
    """What `config.json` says of both networks."""
    config = PLAIN | FIXED | EncoderSettings.of(encoder, frames).write()
    return config if predictor is None else config | PredictorSettings.of(predictor).write()


def require_model_type(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse other models, and settings that would make the networks compute something else."""
    kinds, kind = (PLAIN["model_type"], BEYOND["model_type"]), config.get("model_type")
    if kind not in kinds:
        raise UserError(f"{folder} holds a model of type {kind!r}, not {kinds[0]!r} or {kinds[1]!r}")
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise UserError(f"{folder / CONFIG}: {name} is {config[name]!r}, but only {value!r} can be followed")


def processor_config(encoder: VisionTransformer) -> dict[str, Any]:
    """What `transformers`' video processor must do before the encoder."""
    return {
        "video_processor_type": "VJEPA2VideoProcessor",
        "size": {"shortest_edge": encoder.image_size},
        "crop_size": {"height": encoder.image_size, "width": encoder.image_size},
        "image_mean": PIXEL_MEAN,
        "image_std": PIXEL_STD,
    }
