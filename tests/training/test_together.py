"""Processes that train together come to what one comes to; what goes wrong in one of them ends all with the reason."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.launch import launched
from tests.training.engines import ENGINE
from tests.training.together import STEPS, failing, one_of, posttraining, pretraining, train
from vjepa.errors import UserError
from vjepa.training.parallel import Share, World

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.together"])
LONGEST_S = 300
"""After which a process that does not end counts as one that hangs: it has no exit code."""
KINDS = [pretraining, posttraining]


def together(
    out: Path, make: Callable[..., Any], engine: dict[str, Any], processes: int = 2, **settings: Any
) -> list[dict[str, Any]]:
    """What came out of each of some processes that train together; their exit codes are 0."""
    out.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = [
        PROCESSES.Process(target=one_of, args=(rank, processes, port, out, make, out / "run", engine), kwargs=settings)
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(LONGEST_S)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
    assert codes == [0] * processes
    return [torch.load(path, weights_only=True) for path in sorted(out.glob("*.pt"))]


def furthest(found: dict[str, Any], wanted: dict[str, Any], name: str) -> float:
    """The largest difference of a logged number, over all steps."""
    assert [row["step"] for row in found["log"]] == [*range(0, STEPS, 5), STEPS - 1]
    return max(abs(mine[name] - theirs[name]) for mine, theirs in zip(found["log"], wanted["log"], strict=True))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[Callable[..., Any], dict[str, Any]]:
    """Each training by one process in one pass."""
    return {make: train(make, tmp_path_factory.mktemp(make.__name__), {}) for make in KINDS}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("engine", [{}, {"micro_batch": 2}, {"strategy": "fsdp", "micro_batch": 2}])
def test_two_processes_and_several_passes_come_to_the_loss_of_one(
    make: Callable[..., Any], engine: dict[str, Any], straight: dict[Callable[..., Any], Any], tmp_path: Path
) -> None:
    first, second = together(tmp_path / "two", make, engine)
    assert first["log"] == second["log"], "all decide by the same numbers"
    assert all(torch.equal(tensor, second["state"][name]) for name, tensor in first["state"].items())
    for name, bound in (("loss", 2e-6), ("gradient_norm", 2e-5), ("update_norm", 2e-5)):
        assert furthest(first, straight[make], name) < bound, name
    for name, tensor in straight[make]["state"].items():
        assert torch.allclose(first["state"][name], tensor, atol=2e-4), name


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("engine", [{"micro_batch": 2, "recompute": True}])
def test_passes_and_recomputed_blocks_change_nothing(
    make: Callable[..., Any], engine: dict[str, Any], straight: dict[Callable[..., Any], Any], tmp_path: Path
) -> None:
    assert furthest(train(make, tmp_path, engine), straight[make], "loss") < 2e-6


@pytest.mark.parametrize(
    ("how", "said", "steps"), [("asked to end", "saved its state", [7]), ("no number", "the loss is nan at step 6", [])]
)
def test_what_happens_in_one_process_ends_all_at_the_same_step(
    how: str, said: str, steps: list[int], tmp_path: Path
) -> None:
    assert together(tmp_path / "two", failing, {}, how=how) == []
    assert all(said in (tmp_path / "two" / f"{rank}.txt").read_text() for rank in range(2))
    assert [int(path.name.split("-")[1]) for path in (tmp_path / "two" / "run").glob("step-*")] == steps


def test_uneven_shards_and_epochs_end_for_all(tmp_path: Path) -> None:
    """24 episodes in one shard, ten clips a step: epochs end within steps and within shares."""
    settings = {
        "shard_window": 1,
        "batch_size": 10,
        "mask_batch": 5,
        "cooldown_mask_batch": 5,
        "steps": 12,
        "warmup": 1,
        "cooldown": 2,
    }
    one = train(pretraining, tmp_path / "one", {}, **settings)
    first, _ = together(tmp_path / "two", pretraining, {}, **settings)
    assert [row["loss"] for row in first["log"]] == pytest.approx([row["loss"] for row in one["log"]], abs=2e-6)


def test_images_leave_weights_without_gradient_in_all_processes(tmp_path: Path) -> None:
    """V-JEPA 2.1's patches for images are used in some steps and those for clips in others."""
    settings = {"images": True, "tiled_rope": False, "steps": 12, "warmup": 1, "cooldown": 2}
    one = train(pretraining, tmp_path / "one", {}, **settings)
    first, _ = together(tmp_path / "two", pretraining, {}, **settings)
    assert [row["loss"] for row in first["log"]] == pytest.approx([row["loss"] for row in one["log"]], abs=2e-6)


def test_bf16_follows_fp32_and_keeps_weights_and_optimizer_in_fp32(
    straight: dict[Callable[..., Any], Any], tmp_path: Path
) -> None:
    found = train(pretraining, tmp_path, {"precision": "bf16"})
    assert 1e-5 < furthest(found, straight[pretraining], "loss") < 2e-2
    assert {tensor.dtype for tensor in found["state"].values()} == {torch.float32}


def test_clipped_gradients_are_as_long_as_allowed(straight: dict[Callable[..., Any], Any], tmp_path: Path) -> None:
    longest = 0.1
    assert min(row["gradient_norm"] for row in straight[pretraining]["log"]) > longest
    clipped = train(pretraining, tmp_path / "clipped", {"clip_norm": longest})
    assert [row["gradient_norm"] for row in clipped["log"]] == pytest.approx([longest] * 11, rel=1e-3)
    far = train(pretraining, tmp_path / "far", {"clip_norm": 1e6})
    assert furthest(far, straight[pretraining], "loss") < 2e-6


def test_compiled_blocks_come_to_the_same_loss(straight: dict[Callable[..., Any], Any], tmp_path: Path) -> None:
    assert furthest(train(posttraining, tmp_path, {"compile": True}), straight[posttraining], "loss") < 2e-5


@pytest.mark.parametrize(
    ("total", "processes", "micro_batch", "together", "said"),
    [
        (8, 3, 0, None, "batch_size 8 can't be shared alike by 3 processes"),
        (2, 4, 0, None, "batch_size 2 can't be shared alike by 4 processes"),
        (8, 2, 3, None, r"passes of 3 clips \(micro_batch\) don't part the 4 of each process alike"),
        (12, 1, 3, 4, "don't part the 12 of each process and the 4 whose masks have one size alike"),
    ],
)
def test_clips_that_cannot_be_shared_are_refused(
    total: int, processes: int, micro_batch: int, together: int | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Share.of(total, World(0, processes), replace(ENGINE, micro_batch=micro_batch), together)


def test_a_training_computes_on_the_device_that_the_world_names(tmp_path: Path) -> None:
    """On torch's device without memory a step runs, and fails where two devices would meet."""
    meta = torch.device("meta")
    after_encoding = posttraining(tmp_path, World(), {})
    after_encoding.model.to(meta)
    for training in (pretraining(tmp_path, World(device=meta), {}), after_encoding):
        result = training.take_step(0, 0)
        result.loss.backward()
        assert result.loss.device == meta
        assert {p.device for p in training.run.objective.parameters()} == {meta}


def test_a_process_that_dies_ends_the_others_and_all_go_on_from_the_last_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    [wanted, _] = together(tmp_path / "straight", posttraining, {})
    engine = replace(ENGINE, processes=2)
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(UserError, match="process 1 of 2 was ended by SIGKILL; start it again to go on"):
        launched("tests.training.elastic", engine, [str(broken)])
    assert not list(broken.glob("*.pt"))
    mended = tmp_path / "mended"
    mended.mkdir()
    assert launched("tests.training.elastic", replace(engine, restarts=1), [str(mended)])
    assert "resumed at step 20" in capfd.readouterr().out
    found = torch.load(mended / "0.pt", weights_only=True)
    assert found["log"] == wanted["log"]
    assert all(torch.equal(tensor, wanted["state"][name]) for name, tensor in found["state"].items())
