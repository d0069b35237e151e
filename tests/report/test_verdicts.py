from typing import Any

import pytest

from vjepa.report.quantities import quantities
from vjepa.report.verdicts import Comparison, compare, limits, statement


def between(low: float, high: float, n: int = 50) -> dict[str, Any]:
    return {"value": (low + high) / 2, "low": low, "high": high, "n": n}


def compared(file: str, **values: Any) -> list[Comparison]:
    return compare(list(quantities(file, values)))


@pytest.mark.parametrize(
    ("name", "ours", "baseline", "verdict"),
    [
        ("task_accuracy", (0.8, 0.9), (0.5, 0.7), "beats"),
        ("task_accuracy", (0.5, 0.7), (0.8, 0.9), "loses"),
        ("task_accuracy", (0.6, 0.9), (0.5, 0.7), "unclear"),
        ("task_accuracy", (0.7, 0.9), (0.5, 0.7), "unclear"),  # touching is not apart
        ("hand_error_cm", (2.0, 3.0), (4.0, 5.0), "beats"),
        ("hand_error_cm", (4.0, 5.0), (2.0, 3.0), "loses"),
        ("latent_l1", (0.10, 0.13), (0.12, 0.15), "unclear"),
        ("final_distance_cm", (2.0, 3.0), (4.0, 5.0), "beats"),
        ("direction_error_deg", (20.0, 30.0), (90.0, 95.0), "beats"),
        ("success", (0.7, 0.9), (0.0, 0.1), "beats"),
    ],
)
def test_only_intervals_apart_are_told_apart_in_the_direction_of_the_name(
    name: str, ours: tuple[float, float], baseline: tuple[float, float], verdict: str
) -> None:
    (comparison,) = compared("x", **{name: between(*ours), f"{name}_untrained": between(*baseline)})
    assert comparison.verdict == verdict


def test_a_line_carries_the_least_favourable_of_its_verdicts() -> None:
    (comparison,) = compared(
        "probe",
        task_accuracy=between(0.6, 0.7),
        task_accuracy_untrained=between(0.8, 0.9),
        task_accuracy_majority=between(0.1, 0.2),
    )
    assert comparison.verdict == "loses"
    assert comparison.strongest is not None and comparison.strongest.suffix == "untrained"


def test_a_statement_says_each_verdict_with_its_numbers() -> None:
    (comparison,) = compared(
        "probe",
        task_accuracy=between(0.6, 0.7, n=352),
        task_accuracy_untrained=between(0.8, 0.9),
        task_accuracy_majority=between(0.65, 0.75),
    )
    said = statement(comparison).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("65 % [60, 70], n = 352: ")
    assert "loses to an encoder with random weights at 85 % [80, 90] (intervals apart)" in said
    assert "is not distinguishable from always guessing the most frequent class at 70 % [65, 75]" in said


def test_a_number_without_interval_is_its_own_interval() -> None:
    (comparison,) = compared("x", answer_accuracy=between(0.6, 0.7), answer_accuracy_blind=0.65)
    assert comparison.verdict == "unclear"


def test_the_true_actions_rank_is_judged_by_chance() -> None:
    (good,) = compared("plan", **{"offline.true_action_rank": between(0.01, 0.02)})
    (bad,) = compared("plan", **{"offline.true_action_rank": between(0.45, 0.52)})
    assert (good.verdict, bad.verdict) == ("beats", "unclear")


def test_the_expert_is_a_reference_and_no_rival() -> None:
    (comparison,) = compared(
        "plan",
        success=between(0.7, 0.8),
        success_random=between(0.0, 0.1),
        success_expert=between(0.9, 1.0),
    )
    assert comparison.verdict == "beats"
    assert comparison.strongest is not None and comparison.strongest.suffix == "random"
    assert [baseline.suffix for baseline in comparison.baselines] == ["random", "expert"]


def test_a_baselines_name_without_its_quantity_stands_alone() -> None:
    (comparison,) = compared("x", task_accuracy_untrained=between(0.6, 0.7))
    assert comparison.baselines == ()


def planning(**extra: Any) -> str:
    reach = {"success": between(0.8, 0.9), "success_random": between(0.0, 0.1)}
    return " ".join(limits(compared("plan", reach=reach | extra), seed=3))


def test_without_an_untrained_arm_the_page_says_that_pretraining_is_not_shown_to_help_planning() -> None:
    assert (
        "That pretraining helps planning is not shown: no world model on an encoder with random weights" in planning()
    )


def test_an_untrained_arm_that_does_as_well_keeps_the_claim_off_the_page() -> None:
    said = planning(success_untrained=between(0.7, 0.85))
    assert "That pretraining helps planning is not shown in: Reach: success at the last step." in said
    assert "beats the one with random weights" not in said


def test_an_untrained_arm_that_loses_is_said_for_that_benchmark_only() -> None:
    said = planning(
        success_untrained=between(0.1, 0.3), success_ever=between(0.8, 0.9), success_ever_untrained=between(0.8, 0.9)
    )
    assert "beats the one with random weights in: Reach: success at the last step." in said
    assert "not shown in: Reach: success at any step." in said


def test_unsolved_benchmarks_few_episodes_and_the_single_seed_are_among_the_limits() -> None:
    push = {"success": between(0.0, 0.4, n=5), "success_random": between(0.0, 0.3, n=5)}
    said = " ".join(limits(compared("plan", push=push), seed=3))
    assert "Not shown to be better than random actions or staying still: Push: success at the last step" in said
    assert "fewest: plan, push.success, n = 5" in said
    assert "One training run (seed 3)" in said


def test_no_closed_loop_benchmark_is_said() -> None:
    said = " ".join(limits(compared("plan", **{"offline.direction_error_deg": between(20, 30)}), seed=0))
    assert "nothing here says that the planner reaches a goal" in said


def test_weak_probes_and_a_language_model_that_may_be_blind_are_among_the_limits() -> None:
    probe = compared("probe", motion_accuracy=between(0.6, 0.7), motion_accuracy_untrained=between(0.65, 0.7))
    align = compared("align", answer_accuracy=between(0.6, 0.7), answer_accuracy_blind=between(0.65, 0.7))
    said = " ".join(limits([*probe, *align], seed=0))
    assert "pretraining helps the probes is not shown for: Which way the hand moves" in said
    assert "uses the video is not shown for: Answers about a clip" in said
