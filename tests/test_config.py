"""An unknown, missing or ill-typed key is an error that names it."""

import pytest

from vjepa.config import EncoderConfig, PretrainConfig, read_config
from vjepa.errors import UserError

GOOD = {"image_size": 64, "patch": 8, "tubelet": 2, "width": 128, "depth": 4, "heads": 4, "mlp_ratio": 4.0}


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


def test_a_wrong_key_deep_inside_is_named():
    with pytest.raises(UserError, match="pretrain: the key 'scale'"):
        read_config(PretrainConfig, {"masks": [{"blocks": 2, "scale": 0.1, "aspect_ratio": [1, 1]}]}, "pretrain")
