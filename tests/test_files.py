"""A reader finds the old file or the new one, never half of one."""

import errno
import json
import os
import subprocess

import pytest

from vjepa.errors import UserError
from vjepa.files import atomic_directory, atomic_path, clear_left, remove_directory, sha256_of, write_json


def test_an_error_while_writing_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"x": 1} and list(tmp_path.iterdir()) == [path]


def test_an_error_while_filling_a_folder_leaves_the_old_one(tmp_path):
    with atomic_directory(tmp_path / "d") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "d") as folder:
        (folder / "b").write_text("half")
        raise RuntimeError
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["a"] and len(list(tmp_path.iterdir())) == 1


def test_a_new_folder_replaces_all_of_the_old_one(tmp_path):
    for name in ("a", "b"):
        with atomic_directory(tmp_path / "d") as folder:
            (folder / name).write_text(name)
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["b"]


def test_a_full_disk_is_one_clear_line(tmp_path):
    no_space = pytest.raises(UserError, match=r"can't write .*b\.json: No space left on device")
    with no_space, atomic_path(tmp_path / "b.json") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does: it names no file
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_read_while_writing_keeps_its_own_name(tmp_path):
    with pytest.raises(UserError, match=r"source can't be used: No such file"), atomic_directory(tmp_path / "d"):
        (tmp_path / "source").read_bytes()


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".d.{ended.pid}.tmp").mkdir()
    (tmp_path / f".d.{ended.pid}.old.tmp").mkdir()
    other = tmp_path / f".d.{os.getppid()}.tmp"  # of a process that runs
    other.mkdir()
    with atomic_directory(tmp_path / "d"):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([other, tmp_path / "d"])


def test_json_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_a_folder_that_a_killed_program_had_moved_aside_comes_back(tmp_path):
    """It died between moving the old folder aside and giving its name to the new one."""
    path = tmp_path / "shards"
    gone = subprocess.Popen(["true"])
    gone.wait()
    aside = tmp_path / f".shards.{gone.pid}.old.tmp"
    aside.mkdir()
    (aside / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_directory(path):
        raise ZeroDivisionError
    assert (path / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["shards"]


def test_a_removed_folder_is_gone_and_one_whose_removal_was_killed_goes_with_what_else_was_left(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    remove_directory(tmp_path / "a")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "b").rename(tmp_path / f".b.{gone.pid}.tmp")
    (tmp_path / f".c.{os.getppid()}.tmp").mkdir()  # of a process that runs
    (tmp_path / ".mine.tmp").mkdir()
    clear_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".c.{os.getppid()}.tmp", ".mine.tmp"]
    with pytest.raises(UserError, match=r"can't remove .*a: No such file"):
        remove_directory(tmp_path / "a")
