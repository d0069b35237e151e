from __future__ import annotations

import threading
from pathlib import Path

import pytest
from dvc.repo import Repo
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from toy_chain import dvc

from flows.chain import chain, main, reason

pytestmark = pytest.mark.usefixtures("prefect_server")


def artifact(key: str) -> Artifact:
    """The newest artifact of a stage."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), limit=200)
    return max(found, key=lambda one: one.created)


def test_the_chain_runs_every_stage_and_ends_completed(toy: Path) -> None:
    state = chain(folder=toy, return_state=True)
    assert state.is_completed() and state.message == "4 stages are up to date"
    assert (toy / "shipped.txt").read_text() == "fine\n"
    assert "up to date" in dvc(toy, "status")


def test_a_stage_leaves_its_metrics_and_its_output_as_an_artifact(toy: Path) -> None:
    chain(["pack"], folder=toy)
    text = str(artifact("stage-pack").data)
    assert "# pack: done" in text and "Packs a crate" in text
    assert "| `mass_g` | 92.5 | 90 to 95 | 4 |" in text
    assert "packed one apple" in text


def test_a_failed_gate_gives_its_line_and_nothing_after_it_runs(toy: Path) -> None:
    (toy / "pack.sh").write_text((toy / "pack.sh").read_text().replace("sound", "rotten"))
    state = chain(["ship"], folder=toy, return_state=True)
    assert state.is_failed() and state.message == "gate failed: crate/apple is rotten"
    assert not (toy / "verdict.txt").exists() and not (toy / "shipped.txt").exists()
    assert "failed with exit status" in str(artifact("stage-gate").data)


def test_a_failed_gate_is_not_tried_again(toy: Path) -> None:
    (toy / "gate.sh").write_text("echo try >> tries; exit 1")
    assert chain(["gate"], folder=toy, return_state=True).is_failed()
    assert (toy / "tries").read_text() == "try\n"


def test_what_was_changed_by_hand_is_judged_by_the_gate_not_built_again(toy: Path) -> None:
    chain(folder=toy)
    (toy / "crate/apple").write_text("rotten")
    (toy / "shipped.txt").unlink()
    state = chain(["ship"], folder=toy, return_state=True)
    assert state.message == "gate failed: crate/apple is rotten"
    assert (toy / "crate/apple").read_text() == "rotten" and not (toy / "shipped.txt").exists()


def test_what_no_gate_judges_is_brought_back(toy: Path) -> None:
    chain(folder=toy)
    (toy / "shipped.txt").write_text("altered")
    assert chain(["ship"], folder=toy, return_state=True).is_completed()
    assert (toy / "shipped.txt").read_text() == "fine\n"


def test_force_builds_again_what_was_changed_by_hand(toy: Path) -> None:
    chain(folder=toy)
    (toy / "crate/apple").write_text("rotten")
    assert chain(["ship"], force=True, folder=toy, return_state=True).is_completed()
    assert (toy / "crate/apple").read_text() == "sound\n"


def test_a_locked_repository_is_tried_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = Repo(str(toy))
    repo.lock.lock()
    threading.Timer(6, repo.lock.unlock).start()  # longer than DVC itself waits
    assert chain(["paint"], folder=toy, return_state=True).is_completed()


def test_the_program_ends_with_the_failed_stages_line(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "gate.sh").write_text("echo 'gate failed: no crate'; exit 1")
    monkeypatch.chdir(toy)
    with pytest.raises(SystemExit) as ended:
        main(["--stage", "gate"])
    assert ended.value.code == 1
    assert "chain failed: gate failed: no crate" in capsys.readouterr().err


def test_the_program_refuses_an_unknown_stage(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(toy)
    with pytest.raises(SystemExit) as ended:
        main(["--stage", "gait"])
    assert ended.value.code == 1
    assert "'gait' is no stage" in capsys.readouterr().err


def test_the_reason_is_the_stages_own_line_before_dvcs() -> None:
    tail = ["Running stage 'b':", "> python -m b", "b failed: no room", "late words", "ERROR: failed to reproduce 'b'"]
    assert reason("b", tail) == "b failed: no room"


def test_the_reason_has_the_indented_lines_that_follow_it() -> None:
    said = ["b failed: 2 of 9 do not hold:", "  this one", "  that one"]
    assert reason("b", ["> python -m b", *said, "late words", "  of another"]) == "\n".join(said)


def test_the_reason_is_dvcs_where_the_command_went_well() -> None:
    tail = ["Running stage 'b':", "> sh b.sh", "all good", "ERROR: failed to reproduce 'b': output 'x' does not exist"]
    assert reason("b", tail) == "b failed: failed to reproduce 'b': output 'x' does not exist"


def test_the_reason_is_the_last_line_where_nobody_gave_one() -> None:
    tail = ["> python b.py", "Traceback", "KeyError: 'x'", "ERROR: failed to reproduce 'b': failed to run: python b.py"]
    assert reason("b", tail) == "b failed: KeyError: 'x'"
