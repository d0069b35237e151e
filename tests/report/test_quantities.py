import pytest

from vjepa.report.quantities import Quantity, better, interval, number, plain, quantities, unit, with_unit


@pytest.mark.parametrize(
    "name",
    ["task_accuracy", "reach.success", "reach.success_ever", "answer_accuracy", "state_readout", "distance_agreement"],
)
def test_accuracy_success_and_agreement_are_better_when_higher(name: str) -> None:
    assert better(name) == "higher"


@pytest.mark.parametrize(
    "name",
    [
        "hand_error_cm",
        "offline.direction_error_deg",
        "latent_l1",
        "reach.final_distance_cm",
        "offline.true_action_rank",
        "encoder_max_abs_error",
        "seconds_per_action",
    ],
)
def test_errors_distances_and_ranks_are_better_when_lower(name: str) -> None:
    assert better(name) == "lower"


@pytest.mark.parametrize("name", ["effective_rank_of_features", "parameters", "loss", "feature_deviation"])
def test_a_name_that_does_not_say_which_way_is_better_gets_no_direction(name: str) -> None:
    assert better(name) is None


def test_nested_and_dotted_names_are_the_same_quantity() -> None:
    value = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    assert list(quantities("plan", {"reach": {"success": value}})) == list(quantities("plan", {"reach.success": value}))


def test_plain_numbers_are_quantities_without_interval_and_texts_are_none() -> None:
    found = list(quantities("export", {"encoder_max_abs_error": 2e-6, "machine": "two cores", "sizes": [1, 2]}))
    assert [(q.name, q.bounds, q.n) for q in found] == [("encoder_max_abs_error", (2e-6, 2e-6), None)]


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("task_accuracy", 0.876, "88\N{NO-BREAK SPACE}%"),
        ("task_accuracy", -0.001, "0\N{NO-BREAK SPACE}%"),
        ("hand_error_cm", 3.0, "3.00\N{NO-BREAK SPACE}cm"),
        ("direction_error_deg", 26.14, "26.1°"),
        ("latent_l1", 0.12049, "0.120"),
        ("encoder_max_abs_error", 2.1e-6, "2.1e-06"),
        ("steps", 12345.0, "12,345"),
        ("success_still", 0.0, "0\N{NO-BREAK SPACE}%"),
    ],
)
def test_numbers_are_written_with_their_unit_and_about_three_figures(name: str, value: float, written: str) -> None:
    assert with_unit(value, unit(name)) == written


def test_an_interval_is_written_in_the_unit_of_its_value() -> None:
    assert interval(Quantity("probe", "task_accuracy", 0.88, 0.76, 0.942, 50), "%") == "[76, 94]"
    assert interval(Quantity("export", "x", 0.88), "") == ""


def test_counts_are_written_in_full() -> None:
    assert plain(Quantity("pretrain", "parameters", 826_123)) == "826,123"
    assert number(0) == "0"
