"""What more of something buys is told by three amounts of it or more, of recipes that differ in nothing else."""

from __future__ import annotations

from typing import Any

from vjepa.report.experiments import Row
from vjepa.report.scaling import EPISODES, Curve, curves, scaling_picture

CLIPS = "Clips seen in pretraining"


def row(arm: str, share: float = 1.0, clips: int = 25600, settings: str = "", success: float = 0.5) -> Row:
    numbers = {
        "pretrain.clips_seen": [clips, None, None, None],
        "plan.reach.success": [success, 0.1, 0.9, 50],
        "probe.hand_error_cm": [6.0, 5.0, 7.0, 50],
    }
    trial: dict[str, Any] = {"arm": arm, "share": share, "seed": 1, "numbers": numbers, "scenes": {}}
    return Row(arm, share, settings, (trial,))


def amounts(curve: Curve) -> list[float]:
    return [amount for amount, _ in curve.points]


LONGER = [row("long_pretraining", clips=51200), row("short_pretraining", clips=6400), row("default")]


def test_a_curve_goes_from_little_to_much_whatever_the_order_of_the_trials() -> None:
    found = curves([*LONGER, row("default", 0.02), row("default", 0.1), row("untrained"), row("untrained", 0.1)])
    assert list(found) == [CLIPS, EPISODES], "sizes were not tried, and no curve is made of fewer than three points"
    assert [(curve.arm, amounts(curve)) for curve in found[CLIPS]] == [("default", [6400, 25600, 51200])]
    assert [(curve.arm, amounts(curve)) for curve in found[EPISODES]] == [("default", [0.02, 0.1, 1.0])]


def test_a_smaller_share_of_the_episodes_is_no_point_of_the_other_curves() -> None:
    assert curves([*LONGER[:2], row("default", 0.1)]) == {}


def test_of_an_arm_whose_settings_changed_the_later_trials_count() -> None:
    (curve,) = curves([*LONGER, row("default", settings="later", success=0.8)])[CLIPS]
    assert [len(point.trials) for _, point in curve.points] == [1, 1, 1]
    assert [point.settings for _, point in curve.points] == ["", "later", ""]


def test_the_picture_draws_what_the_trials_measured_and_no_probe_against_robot_episodes() -> None:
    found = curves([*LONGER, row("default", 0.02, success=0.2), row("default", 0.1, success=0.4)])
    shown = [axes for axes in scaling_picture(found).axes if axes.axison]
    assert [(axes.get_title(loc="left"), axes.get_xlabel()) for axes in shown] == [
        ("Reach", CLIPS),
        ("Where the hand is, error, cm", CLIPS),
        ("Reach", EPISODES),
    ]
    line = shown[2].containers[0].lines[0]
    assert line.get_xydata().tolist() == [[0.02, 0.2], [0.1, 0.4], [1.0, 0.5]]
