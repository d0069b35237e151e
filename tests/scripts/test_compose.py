from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.compose import compose
from stages.runner import read_params
from vjepa.data.sources import FORMATS
from vjepa.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PROFILES = sorted(path.stem for path in (CONF / "profile").glob("*.yaml"))


def test_params_yaml_is_the_composition_of_the_default_profile(tmp_path: Path) -> None:
    """If this fails: `make profile` composes it again."""
    compose(tmp_path / "params.yaml", [], CONF)
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == yaml.safe_load((tmp_path / "params.yaml").read_text())


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_can_be_read_by_the_stages(profile: str, tmp_path: Path) -> None:
    compose(tmp_path / "params.yaml", [f"profile={profile}"], CONF)
    params = read_params(tmp_path / "params.yaml")
    assert params["encoder"].image_size == params["curate"].image_size


@pytest.mark.parametrize("source", sorted(path.stem for path in (CONF / "source").glob("*.yaml")))
def test_every_source_can_be_read_by_the_stages(source: str, tmp_path: Path) -> None:
    compose(tmp_path / "params.yaml", [f"source={source}"], CONF)
    assert read_params(tmp_path / "params.yaml")["source"].format in FORMATS


def test_an_override_lands_in_the_composition(tmp_path: Path) -> None:
    compose(tmp_path / "params.yaml", ["profile=smoke", "probe.steps=7"], CONF)
    assert read_params(tmp_path / "params.yaml")["probe"].steps == 7


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("profile=none", r"Could not find 'profile/none'.*cpu cpu-night smoke"),
        ("+probe.stepz=7", r"conf with \+probe.stepz=7: probe: the key .*stepz"),
        ("probe.steps=many", r"conf with probe.steps=many: probe: the key .*steps"),
    ],
)
def test_what_no_stage_could_read_is_refused_and_the_old_file_stays(
    override: str, complaint: str, tmp_path: Path
) -> None:
    target = tmp_path / "params.yaml"
    target.write_text("as it was")
    with pytest.raises(UserError, match=complaint):
        compose(target, [override], CONF)
    assert target.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    source = tmp_path / "conf/source/simulator.yaml"
    source.write_text(source.read_text().replace("camera:", " camera:"))
    with pytest.raises(UserError, match=r"can't be composed with : .*simulator\.yaml") as caught:
        compose(tmp_path / "params.yaml", [], tmp_path / "conf")
    assert "\n" not in str(caught.value)


def test_dvcs_own_composition_gives_the_same_file(tmp_path: Path) -> None:
    """`dvc exp run -S profile=smoke` and `make profile PROFILE=smoke` are two doors to one room."""
    (tmp_path / "dvc.yaml").write_text("stages: {keep: {cmd: cp params.yaml kept.yaml, outs: [kept.yaml]}}")
    (tmp_path / ".gitignore").write_text("/kept.yaml\n")
    subprocess.run(["cp", "-r", str(CONF), str(tmp_path)], check=True)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    dvc = [sys.executable, "-m", "dvc"]
    for command in (
        [*git, "init", "-q"],
        [*dvc, "init", "-q"],
        [*dvc, "config", "hydra.enabled", "true"],
        [*git, "add", "-A"],
        [*git, "commit", "-q", "-m", "start"],
        [*dvc, "exp", "run", "-S", "profile=smoke"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    compose(tmp_path / "ours.yaml", ["profile=smoke"], CONF)
    assert (tmp_path / "kept.yaml").read_text() == (tmp_path / "ours.yaml").read_text()
