from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts import check_machine


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that can't draw; its programs are in the folder returned, the calls to them in `calls`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(check_machine, "draws", lambda backend: (tmp_path / "library").exists())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs


def add_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_backend_that_draws_is_found_by_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_machine, "DRAW", "import os; assert os.environ['MUJOCO_GL'] == 'osmesa'")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert check_machine.drawing_backend() == "osmesa"


def test_the_backend_of_the_environment_is_the_only_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_machine, "DRAW", "import os; assert os.environ['MUJOCO_GL'] == 'osmesa'")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert check_machine.drawing_backend() is None


def test_this_machine_draws(capsys: pytest.CaptureFixture[str]) -> None:
    check_machine.main()
    assert capsys.readouterr().out.strip() in check_machine.BACKENDS


def test_a_wrong_setting_is_named_before_dvc_removes_anything(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (repository / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace("probe:\n", "probe:\n  stepz: 3\n"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        check_machine.main()
    printed = capsys.readouterr()
    assert "stepz" in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_root_with_apt_installs_the_library(bare: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calls = bare.parent / "calls"
    add_program(bare, "apt-get", f'echo "$@" >> {calls}; [ "$1" = update ] || : > {bare.parent / "library"}')
    check_machine.main()
    assert calls.read_text().splitlines() == ["update", "install -y libegl1 libgl1 libopengl0 libgl1-mesa-dri"]
    assert capfd.readouterr().out == "egl\n"


@pytest.mark.parametrize(
    ("program", "user", "advice"),
    [("apt-get", 1000, "sudo apt-get install -y libegl1"), ("dnf", 0, "sudo dnf install -y mesa-libEGL")],
)
def test_who_may_not_install_is_told_the_command(
    program: str,
    user: int,
    advice: str,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_program(bare, program, f": > {bare.parent / 'library'}")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(SystemExit, match="1"):
        check_machine.main()
    assert advice in capsys.readouterr().err
    assert not (bare.parent / "library").exists()


def test_own_data_planned_offline_need_nothing_to_draw_with(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(check_machine.__file__).parents[1]
    params, pipeline = (yaml.safe_load((root / name).read_text()) for name in ("params.yaml", "dvc.yaml"))
    monkeypatch.chdir(tmp_path)
    for closed_loop, stages in (({}, pipeline["stages"]), (params["plan"]["closed_loop"], {})):
        params["plan"]["closed_loop"] = closed_loop
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        with pytest.raises(SystemExit, match="1"):
            check_machine.main()
    params["plan"]["closed_loop"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    check_machine.main()
    assert capsys.readouterr().out == "disabled\n"


def test_little_room_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_machine, "DISK_GB", 10**6)
    assert any("free on the disk" in warning for warning in check_machine.warnings(tmp_path))


def test_make_lists_every_target_that_says_what_it_is_for() -> None:
    root = Path(check_machine.__file__).parents[1]
    listed = subprocess.run(["make", "help"], cwd=root, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} >= {
        "repro",
        "test",
        "flow",
        "check",
        "lock",
        "clean",
        "help",
    }
