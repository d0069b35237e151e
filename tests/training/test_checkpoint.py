"""Checkpoints are whole or not there, say what is damaged, and keep the last two and the best."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.refusals import each_refused
from tests.training.toy import Toy, assert_equal
from vjepa.errors import UserError
from vjepa.training.checkpoint import Progress
from vjepa.training.storage import RUN, SUMS, read_about


def killed(folder: Path, at: int = 11, **options: Any) -> list[Path]:
    """The checkpoints of a run that died, the oldest first."""
    with pytest.raises(KeyboardInterrupt):
        Toy(folder, dies_at=at, **options).train()
    return sorted(folder.glob("step-*"))


def test_a_checkpoint_is_safetensors_and_text_whose_hashes_a_plain_tool_checks(tmp_path: Path) -> None:
    _, newest = killed(tmp_path)
    assert sorted(file.name for file in newest.iterdir()) == [
        SUMS, RUN, "shard-00001-model-00001-of-00001.safetensors",
    ]  # fmt: skip
    assert (
        subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=newest, stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_large_states_go_to_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vjepa.training.storage.FILE_BYTES", 40)
    _, newest = killed(tmp_path)
    assert len(list(newest.glob("*.safetensors"))) > 3
    monkeypatch.undo()
    assert_equal(Toy(tmp_path).train(), Toy(tmp_path / "straight").train())


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path: Path) -> None:
    killed(tmp_path)
    said: list[str] = []
    assert Toy(tmp_path, identity="b").run.checkpoints.load(said.append) is None
    assert "are of other settings or data; starting anew" in said[0]
    killed(tmp_path, at=6, identity="b")  # its first checkpoint takes the place of those that are further on
    found = Toy(tmp_path, identity="b").run.checkpoints.load(said.append)
    assert found is not None and found.step == 4 and len(list(tmp_path.iterdir())) == 1
    assert "resumed at step 4" in said[1]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, change_a_byte, Path.unlink])
@pytest.mark.parametrize("name", [SUMS, RUN, "shard-00001-model-00001-of-00001.safetensors"])
def test_a_damaged_file_is_named_and_costs_the_steps_since_the_checkpoint_before(
    damage: Callable[[Path], None], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = Toy(tmp_path / "straight").train()
    first, second = killed(tmp_path / "damaged")
    assert first.name.startswith("step-00000004-") and second.name.startswith("step-00000008-")
    damage(second / name)
    resumed = Toy(tmp_path / "damaged").train()
    said = capsys.readouterr().out
    assert f"{second.name} is damaged and not used: " in said and name in said and "resumed at step 4" in said
    if name != SUMS and damage is change_a_byte:
        assert f"the SHA-256 of {name} is " in said
    assert resumed.run.log == straight.run.log
    assert_equal(resumed, straight)


def test_where_all_checkpoints_are_damaged_nothing_is_started_anew_without_being_told_to(tmp_path: Path) -> None:
    for path in killed(tmp_path):
        cut(path / RUN)
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged; delete them to start anew"):
        Toy(tmp_path).train()


def test_a_damaged_checkpoint_does_not_count_among_those_that_stay(tmp_path: Path) -> None:
    _, second = killed(tmp_path)
    cut(second / RUN)
    toy = Toy(tmp_path)
    found = toy.run.checkpoints.load(lambda said: None)
    assert found is not None and found.step == 4
    toy.run.checkpoints.save(Progress(5, found.log), due=True)
    toy.run.checkpoints.wait()
    assert sorted(path.name[:13] for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


class Refusing:
    """An open file whose writes go through `Refusing.write`, which a test may let fail."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Refusing:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: Any) -> int:
        return Refusing.pass_on(self.file, content)

    @staticmethod
    def pass_on(file: Any, content: Any) -> int:
        return file.write(content)


@pytest.mark.parametrize(
    ("owner", "call"), [(os, "replace"), (os, "fsync"), (os, "unlink"), (os, "link"), (Refusing, "pass_on")]
)
def test_whichever_call_of_the_writer_is_refused_the_old_or_the_new_checkpoint_loads(
    owner: Any, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"best": "rare", "steps": 8}
    if owner is Refusing:
        real = Path.open
        monkeypatch.setattr(Path, "open", lambda *given, **named: Refusing(real(*given, **named)))
        monkeypatch.setattr(Refusing, "pass_on", Refusing.pass_on)
    straight = Toy(tmp_path / "straight", **options).train()
    folders = (tmp_path / str(turn) for turn in itertools.count())
    folder, turns = tmp_path, 0

    def run() -> None:
        nonlocal folder
        folder = next(folders)
        Toy(folder, **options).train()

    for error in each_refused(monkeypatch, owner, call, run):
        turns += 1
        assert error is None or (isinstance(error, UserError) and "can't " in str(error))
        steps = [read_about(path)["step"] for path in folder.glob("step-*")]
        bests = [read_about(path)["step"] for path in folder.glob("best-*")]
        assert set(steps) <= {4, 8} and set(bests) <= {1, 8}
        assert call == "unlink" or not list(folder.glob(".*"))
        resumed = Toy(folder, **options).train()
        assert resumed.run.log == straight.run.log
        assert_equal(resumed, straight)
        resumed.run.finish(folder / "log.csv")
        assert sorted(path.name[:13] for path in folder.iterdir()) == ["best-00000008", "log.csv"]
    assert turns >= 4


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    """The operating system itself refuses to write past a limit, as a full disk does."""
    killed(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from tests.training.toy import Toy; from vjepa.errors import UserError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (500, {limit}))\n"
        "try:\n    Toy(Path(sys.argv[1])).train()\n"
        "except UserError as error:\n    print('clear:', error)\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    assert "clear: can't write" in printed and ": File too large (" in printed
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_steps_are_taken_while_a_checkpoint_is_written_and_do_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, further = Toy(tmp_path), threading.Event()
    real, take_step, at_four = Path.open, toy.take_step, {}

    def held(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        if mode == "wb" and "step-00000004" in str(path):
            assert further.wait(30)
        return real(path, mode, *given, **named)

    def telling(step: int, part: int) -> Any:
        if step == 4:
            at_four.update(toy.state())
        if step == 7:
            further.set()
            raise KeyboardInterrupt
        return take_step(step, part)

    monkeypatch.setattr(Path, "open", held)
    monkeypatch.setattr(toy, "take_step", telling)
    with pytest.raises(KeyboardInterrupt):
        toy.train()
    found = Toy(tmp_path)
    assert found.run.checkpoints.load(lambda said: None) is not None
    assert all(torch.equal(tensor, at_four[name]) for name, tensor in found.state().items())
    assert not all(torch.equal(tensor, at_four[name]) for name, tensor in toy.state().items())


@pytest.mark.parametrize(("best", "step"), [("hill", 7), ("-hill", 20), ("rare", 13), ("twice", 20), ("-twice", 1)])
def test_the_best_state_is_kept(best: str, step: int, tmp_path: Path) -> None:
    toy = Toy(tmp_path, best=best).train()
    after = Toy(tmp_path / "straight", dies_at=step)
    if step < 20:
        with pytest.raises(KeyboardInterrupt):
            after.train()
    else:
        after.train()
    assert toy.run.load_best().name.startswith(f"best-{step:08d}-")
    assert_equal(toy, after)
    toy.run.finish(tmp_path / "log.csv")
    assert sorted(path.name[:13] for path in tmp_path.iterdir() if path.name != "straight") == [
        f"best-{step:08d}", "log.csv",
    ]  # fmt: skip


def test_a_best_state_that_is_also_due_is_written_once(tmp_path: Path) -> None:
    Toy(tmp_path, best="twice").train()
    [best] = tmp_path.glob("best-*")
    assert all(file.samefile(best.with_name(f"step{best.name[4:]}") / file.name) for file in best.iterdir())


def test_the_best_of_a_killed_run_is_that_of_a_straight_one(tmp_path: Path) -> None:
    for at in (3, 10, 14):
        killed(tmp_path / "killed", at, best="rare")
    resumed, straight = (Toy(tmp_path / name, best="rare").train() for name in ("killed", "straight"))
    assert resumed.run.load_best().name == straight.run.load_best().name
    assert_equal(resumed, straight)


def test_a_best_that_is_gone_or_damaged_or_misspelt_ends_with_a_line_about_it(tmp_path: Path) -> None:
    toy = Toy(tmp_path, best="hill").train()
    change_a_byte(toy.run.load_best() / RUN)
    with pytest.raises(UserError, match=r"the best state, .*best-00000007.*, can't be used: the SHA-256 of run"):
        toy.run.load_best()
    [best] = tmp_path.glob("best-*")
    shutil.rmtree(best)
    with pytest.raises(UserError, match=r"the best state, .*best-00000007.*, can't be used: .*No such file"):
        toy.run.load_best()
    with pytest.raises(UserError, match=r"engine.best hil is no number of the log, which has loss, .*hill"):
        Toy(tmp_path / "misspelt", best="hil").train()
