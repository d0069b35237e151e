from __future__ import annotations

from pathlib import Path

import pytest
from toy_chain import dvc

from flows.graph import altered_outputs, stages


def test_stages_come_after_those_they_depend_on(toy: Path) -> None:
    names = [stage.name for stage in stages(toy)]
    assert sorted(names) == ["gate", "pack", "paint", "ship"]
    assert names.index("pack") < names.index("gate") < names.index("ship")


def test_a_target_brings_what_it_depends_on_and_nothing_else(toy: Path) -> None:
    assert [stage.name for stage in stages(toy, ["gate"])] == ["pack", "gate"]


def test_an_unknown_target_is_named_with_the_known_ones(toy: Path) -> None:
    with pytest.raises(ValueError, match=r"'pak' is no stage.*gate, pack, paint, ship"):
        stages(toy, ["pak"])


def test_a_stage_carries_its_sentence_and_its_metrics(toy: Path) -> None:
    pack = stages(toy, ["pack"])[0]
    assert pack.description == "Packs a crate"
    assert pack.measured() == []
    dvc(toy, "repro", "pack")
    (quantity,) = pack.measured()
    assert (quantity.name, quantity.value, quantity.low, quantity.high, quantity.n) == ("mass_g", 92.5, 90.0, 95.0, 4)


def test_what_a_gate_depends_on_is_judged_and_nothing_else(toy: Path) -> None:
    assert [stage.name for stage in stages(toy) if stage.judged] == ["pack"]


def test_the_data_gates_of_this_repository_judge_what_training_reads(repository: Path) -> None:
    assert [stage.name for stage in stages(repository) if stage.judged] == ["collect", "curate"]


def test_the_chain_of_this_repository_ends_with_the_report(repository: Path) -> None:
    names = [stage.name for stage in stages(repository)]
    assert names[0] == "collect" and names[-1] == "report"
    assert names.index("validate") < names.index("pretrain")


class TestAlteredOutputs:
    def test_nothing_is_altered_before_and_after_a_run(self, toy: Path) -> None:
        assert altered_outputs(toy, "pack") == []
        dvc(toy, "repro", "pack")
        assert altered_outputs(toy, "pack") == []

    def test_a_changed_file_inside_an_output_is_found(self, toy: Path) -> None:
        dvc(toy, "repro", "pack")
        (toy / "crate/apple").write_text("rotten")
        assert altered_outputs(toy, "pack") == ["crate"]

    def test_a_missing_output_is_to_be_made_again(self, toy: Path) -> None:
        dvc(toy, "repro", "gate")
        (toy / "verdict.txt").unlink()
        assert altered_outputs(toy, "gate") == []

    def test_metrics_in_git_do_not_count(self, toy: Path) -> None:
        dvc(toy, "repro", "pack")
        (toy / "metrics/pack.json").write_text("{}")
        assert altered_outputs(toy, "pack") == []

    def test_a_stage_whose_inputs_changed_too_runs_again(self, toy: Path) -> None:
        dvc(toy, "repro", "pack")
        (toy / "crate/apple").write_text("rotten")
        (toy / "pack.sh").write_text((toy / "pack.sh").read_text() + "echo again")
        assert altered_outputs(toy, "pack") == []
