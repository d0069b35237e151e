"""An unknown, missing or ill-typed key is an error that names it."""

import pytest

from vjepa.config import EncoderConfig, PretrainConfig, read_config
from vjepa.errors import UserError

GOOD = {
    "image_size": 64, "patch": 8, "tubelet": 2, "width": 128, "depth": 4, "heads": 4, "mlp_ratio": 4.0,
    "tiled_rope": True, "levels": [1, 3], "image_patches": False,
}  # fmt: skip


def test_good_values_become_the_dataclass():
    assert read_config(EncoderConfig, GOOD, "encoder") == EncoderConfig(**GOOD)


def test_an_unknown_key_is_named():
    with pytest.raises(UserError, match=r"params\.yaml: encoder.*'pacth'"):
        read_config(EncoderConfig, GOOD | {"pacth": 8}, "params.yaml: encoder")


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="the key 'depth' is missing"):
        read_config(EncoderConfig, {k: v for k, v in GOOD.items() if k != "depth"}, "encoder")


def test_a_value_of_the_wrong_type_is_named():
    with pytest.raises(UserError, match=r"'width'.*wide"):
        read_config(EncoderConfig, GOOD | {"width": "wide"}, "encoder")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"patch": 7}, "encoder: image_size 64 is no multiple of patch 7"),
        ({"heads": 3}, "encoder: width 128 can't be shared by heads 3"),
    ],
)
def test_a_value_out_of_its_range_is_named(change, rule):
    with pytest.raises(UserError, match=rule):
        read_config(EncoderConfig, GOOD | change, "encoder")


def test_a_number_where_a_section_belongs_is_an_error():
    with pytest.raises(UserError, match="encoder must be a section with keys, not 3"):
        read_config(EncoderConfig, 3, "encoder")


def test_a_wrong_key_deep_inside_is_named():
    with pytest.raises(UserError, match="pretrain: the key 'scale'"):
        read_config(PretrainConfig, {"masks": [{"blocks": 2, "scale": 0.1, "aspect_ratio": [1, 1]}]}, "pretrain")
