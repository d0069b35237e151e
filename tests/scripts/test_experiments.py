"""The page of experiments says what the trials of an arm say together, and never mixes those of other settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from scripts import experiments
from scripts.experiments import agreeing, write_page
from vjepa.errors import UserError
from vjepa.report.experiments import Row, rivals_of, rows_of
from vjepa.report.trials import difference, over_seeds, paired_difference, read_records, seeds_apart


def trial(arm: str, seed: int, success: list[float], **changed: Any) -> dict[str, Any]:
    value = sum(success) / len(success)
    return {
        "measure": "ablation", "arm": arm, "share": 1.0, "seed": seed, "name": f"{arm}-{seed}",
        "settings": arm, "base": "b", "recorded": "2026-01-02", "code": "c0de",
        "command": f"dvc exp run -S +arm={arm} -S seed={seed}",
        "stages": {"pretrain": {"seconds": 60.0}, "plan": {"seconds": 30.0}},
        "numbers": {
            "plan.reach.success": [value, max(value - 0.1, 0), min(value + 0.1, 1), len(success)],
            "plan.reach.success_random": [0.1, 0.0, 0.2, len(success)],
            "probe.hand_error_cm": [5.0 if arm == "default" else 9.0, 4.9, 9.1, 50],
            "pretrain.effective_rank": [float(seed), None, None, None],
        },
        "scenes": {"reach": {"success": success}},
    } | changed  # fmt: skip


def page(records: list[dict[str, Any]]) -> str:
    return experiments.page(records, {"ablation": "b", "development": "b", "readout": "b"})


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_seeds_that_differ_make_the_interval_wide() -> None:
    alike = over_seeds("plan.reach.success", [(0.5, 0.4, 0.6, 50)] * 3)
    assert (alike.value, alike.n) == (0.5, 50) and alike.bounds == pytest.approx((0.4, 0.6)), "seeds share the episodes"
    apart = over_seeds("plan.reach.final_distance_cm", [(25.0, 25.0, 25.0, 50), (27.0, 27.0, 27.0, 50)])
    assert apart.bounds == pytest.approx((26 - 12.706, 26 + 12.706), abs=1e-3), "Student's with one degree of freedom"
    assert over_seeds("plan.reach.final_distance_cm", [(1.0, 1.0, 1.0, 5), (2.0, 2.0, 2.0, 5)]).bounds[0] == 0
    assert over_seeds("pretrain.state_readout", [(-0.5, -0.6, -0.4, 5), (0.5, 0.4, 0.6, 5)]).bounds[0] < -0.5
    assert over_seeds("plan.reach.success", [(0.9, 0.6, 1.0, 9), (1.0, 0.7, 1.0, 9)]).bounds[1] == 1.0


def test_the_same_scenes_tell_apart_what_separate_ones_would_not() -> None:
    rng = np.random.default_rng(0)
    easy = rng.uniform(0, 1, 200)
    theirs, mine = np.stack([easy, easy]), np.stack([easy, easy]) + 0.05 + rng.normal(0, 0.01, (2, 200))
    center, low, high = paired_difference(mine, theirs)
    assert low < center < high and center == pytest.approx(0.05, abs=0.01) and low > 0
    _, low, high = paired_difference(theirs, theirs)
    assert low <= 0 <= high


def test_how_far_seeds_are_apart_is_what_welch_says() -> None:
    mine, theirs = np.array([0.8, 0.84, 0.78]), np.array([0.84, 0.8, 0.68, 0.7])
    interval = stats.ttest_ind(mine, theirs, equal_var=False).confidence_interval(0.95)
    assert seeds_apart(mine, theirs) == pytest.approx((interval.high - interval.low) / 2)
    assert seeds_apart(mine, theirs[:1]) == seeds_apart(theirs[:1], mine) > 0, "one seed knows of no others"
    assert seeds_apart(mine[:1], theirs[:1]) == 0 == seeds_apart(np.ones(3), np.ones(2))
    far = difference("probe.hand_error_cm", [(m, m, m, 9) for m in mine], [(t, t, t, 9) for t in theirs])
    assert far.bounds == pytest.approx((interval.low, interval.high)), "no more where episodes agree"
    _, low, high = paired_difference(np.repeat(mine[:, None], 5, 1), np.repeat(theirs[:, None], 5, 1))
    assert (low, high) == pytest.approx((interval.low, interval.high)), "nor where scenes do"


def test_an_interval_of_a_difference_holds_the_true_one_as_often_as_it_says() -> None:
    """Three seeds of either arm, which vary as much, in scenes that are as hard for both."""
    rng, held = np.random.default_rng(0), []
    for _ in range(2000):
        scenes = rng.normal(0, 1, 40)
        mine, theirs = (scenes + rng.normal(0, 0.5, (3, 1)) + rng.normal(0, 0.01, (3, 40)) for _ in range(2))
        _, low, high = paired_difference(mine, theirs)
        held.append(low <= 0 <= high)
    assert 0.94 < np.mean(held) < 0.985, "Student's of each in quadrature would be above 0.99"


def test_without_shared_scenes_a_difference_has_the_intervals_of_both_in_quadrature() -> None:
    mine, theirs = [(6.0, 5.7, 6.4, 50)], [(9.0, 8.6, 9.3, 50)]
    more = difference("probe.hand_error_cm", mine, theirs)
    assert (more.value, *more.bounds) == pytest.approx((-3.0, -3.0 - np.hypot(0.3, 0.3), -3.0 + np.hypot(0.4, 0.4)))
    overlapping = difference("probe.hand_error_cm", [(6.0, 5.0, 7.0, 50)], [(7.7, 6.7, 8.7, 50)])
    assert overlapping.bounds[1] < 0, "two intervals may touch although the difference leaves out 0"
    text = page([trial(arm, 1, [0.0, 1.0] * 5) for arm in ("default", "untrained", "pixels")])
    table = text.partition("### What `default` has more")[2].partition("###")[0]
    assert "| number | than untrained | than pixels |" in table
    assert line(table, "| Where the hand is").count("[-4.14, 1.80]") == 2 and "**" not in table


def test_an_arm_is_marked_by_the_scenes_it_shares_with_the_untrained_one() -> None:
    half, more = [0.0, 1.0] * 20, [0.0, 1.0, 1.0, 1.0] * 10
    text = page([trial("default", seed, more) for seed in (1, 2)] + [trial("untrained", seed, half) for seed in (1, 2)])
    assert "75\N{NO-BREAK SPACE}% [65, 85] **+** |" in line(text, "| default | 2 |"), text
    assert "**" not in line(text, "| untrained | 2 |")
    same = page([trial(arm, seed, half) for arm in ("default", "untrained") for seed in (1, 2)])
    assert "**" not in line(same, "| default | 2 | 50")
    worse = page([trial("default", seed, half) for seed in (1, 2)] + [trial("untrained", s, more) for s in (1, 2)])
    assert "**-**" in line(worse, "| default | 2 | 50")
    single = page([trial("default", 1, half), trial("untrained", 1, more)])
    assert "**-**" not in line(single, "| default | 1 | 50"), "one seed says nothing of how seeds differ"
    assert (
        "| untrained | 100 % | 1 | 1.5 | 1.0 | c0de | 2026-01-02 | `dvc exp run -S +arm=untrained -S seed=1` |" in text
    )
    assert "success_random" not in text, "baselines are arms of their own"


def test_trials_of_other_settings_are_never_put_together() -> None:
    old = trial("default", 1, [0.0] * 10, base="a", settings="old", recorded="2026-01-01")
    new = [trial("default", 1, [1.0] * 10), trial("untrained", 1, [1.0] * 10)]
    text = page([old, *new])
    first, second = text.split("## Results, before the profile changed, 2026-01-01")
    assert line(first, "| default | 1 |").startswith("| default | 1 | 100")
    assert line(second, "| default | 1 |").startswith("| default | 1 | 0")
    assert "## Results, 2026-01-02" in first
    assert "## Results, before the profile changed, 2026-01-02" in experiments.page(new, {"ablation": "changed since"})
    changed = trial("default", 1, [1.0] * 10, settings="changed")
    assert [(row.arm, len(row.trials)) for row in rows_of([*new, changed])].count(("default", 1)) == 2


def test_what_recipes_are_chosen_on_is_never_put_together_with_what_they_are_reported_on() -> None:
    chosen_on = trial("default", 1, [1.0] * 10, measure="development", recorded="2026-01-03")
    text = page([chosen_on, trial("default", 1, [0.0] * 10)])
    reported, chosen = text.split("## Measured as `development`, 2026-01-03")
    assert line(reported, "| default | 1 |").startswith("| default | 1 | 0")
    assert line(chosen, "| default | 1 |").startswith("| default | 1 | 100")
    assert "What recipes are chosen on" in chosen, "what the file in conf/measure says"


def test_what_is_screened_by_read_outs_alone_has_a_table_of_them() -> None:
    def screened(arm: str, seed: int, agreement: float) -> dict[str, Any]:
        numbers = {"pretrain.distance_agreement": [agreement, None, None, None]}
        return trial(arm, seed, [1.0], measure="readout", numbers=numbers, scenes={})

    text = page([screened("default", 1, 0.4), screened("default", 2, 0.5), screened("untrained", 1, 0.3)])
    assert "| default | 2 | 0.450 [-0.185, 1.09] |" in line(text, "| default | 2 |")
    assert "| untrained | 1 | 0.300 |" in line(text, "| untrained | 1 | 0"), "one seed without a sample has no interval"
    assert not any(title in text for title in ("What foretells", "### Closed loop", "has more"))
    assert "**" not in line(text, "| default | 2 |")


def test_a_number_that_orders_the_trials_as_success_does_agrees_with_it() -> None:
    trials = [trial("default", seed, [1.0] * seed + [0.0] * (10 - seed)) for seed in range(1, 6)]
    found = line(page(trials), "| Effective rank")
    assert found.endswith("| 5 | +1.00 | 1.7 % |"), "of the 120 orders one agrees and one disagrees as much"
    early, late = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0], [2.0, 7.0, 1.0, 8.0, 2.5, 8.1, 3.0, 4.0]
    agreement, chance = agreeing(early, late)
    assert agreement == pytest.approx(stats.spearmanr(early, late).statistic)
    assert chance == pytest.approx(stats.spearmanr(early, late).pvalue, abs=0.05), "about what Student's t says"


def test_a_page_without_trials_is_an_error_that_says_what_makes_them() -> None:
    with pytest.raises(UserError, match="make ablation"):
        write_page([])


def row(arm: str, *seeds: list[float]) -> Row:
    (found,) = rows_of([trial(arm, seed, success) for seed, success in enumerate(seeds)])
    return found


def test_scenes_are_paired_by_their_seeds_not_by_their_place() -> None:
    half, more = [0.0, 1.0] * 5, [0.0, 1.0] * 4 + [1.0, 1.0]
    others = {"reach": {"seed": list(range(10, 20)), "success": half}}
    (elsewhere,) = rows_of([trial("untrained", seed, half, scenes=others) for seed in (1, 2)])
    unpaired = row("default", more, more).more_than(elsewhere, "plan.reach.success")
    assert unpaired is not None and unpaired.bounds == pytest.approx(
        (0.1 - np.hypot(0.1, 0.1), 0.1 + np.hypot(0.1, 0.1))
    )
    paired = row("default", more, more).more_than(row("untrained", half, half), "plan.reach.success")
    assert paired is not None and paired.bounds == pytest.approx((0.1 - 0.2262, 0.1 + 0.2262), abs=1e-4)


def test_scenes_that_agree_and_seeds_that_differ_tell_nothing_apart() -> None:
    always, never = [1.0] * 10, [0.0] * 10
    more = row("default", always, always).more_than(row("untrained", never, never), "plan.reach.success")
    assert more is not None and more.value == 1 and more.bounds[0] < 0.95, "ten scenes that agree leave others open"
    differ = row("default", always, [0.0, 1.0] * 5), row("untrained", never, [0.0, 1.0] * 5)
    assert differ[0].against(differ[1], "plan.reach.success") == "unclear"
    fewer = row("untrained", [1.0] * 6, [0.0] * 6)
    assert row("default", always, never).against(fewer, "plan.reach.success") == "unclear", "no shared scenes"


def test_the_profile_recorded_last_comes_first_also_on_one_day() -> None:
    old = trial("default", 1, [0.0] * 10, base="a", settings="z", recorded="2026-01-02T08:00:00+00:00")
    new = trial("default", 1, [1.0] * 10, recorded="2026-01-02T09:00:00+00:00")
    for records in ([old, new], [new, old]):
        assert page(records).index("## Results, 2026-01-02") < page(records).index("before the profile changed")


def test_of_several_settings_of_an_arm_the_latest_is_the_rival_in_any_order() -> None:
    old = trial("untrained", 1, [0.0] * 10, settings="zzz", recorded="2026-01-01")
    new = trial("untrained", 2, [1.0] * 10, settings="aaa", recorded="2026-01-02")
    tenth = trial("untrained", 3, [1.0] * 10, share=0.1, recorded="2026-01-03")
    for records in ([old, new, tenth], [tenth, new, old]):
        assert [row.settings for row in rows_of(records)] == ["zzz", "aaa", "untrained"], "all episodes first"
        assert {share: row.settings for share, row in rivals_of(rows_of(records)).items()} == {
            1.0: "aaa",
            0.1: "untrained",
        }


def test_a_trial_that_stands_in_the_file_twice_is_no_second_seed(tmp_path: Path) -> None:
    lines = [json.dumps(trial("default", seed, [1.0])) for seed in (1, 2, 1)]
    (tmp_path / "trials.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match="line 3: default-1 stands there twice"):
        read_records(tmp_path / "trials.jsonl")


def test_each_way_of_measuring_has_a_picture_of_what_more_buys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(measure: str) -> list[dict[str, Any]]:
        arms = {"short_pretraining": 1.0, "default": 2.0, "long_pretraining": 3.0}
        made = [trial(arm, 1, [1.0], measure=measure) for arm in arms]
        for record in made:
            record["numbers"]["pretrain.clips_seen"] = [arms[record["arm"]], None, None, None]
            record["name"] += measure
        return made

    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "digest", lambda *_: "b")
    monkeypatch.setattr(experiments, "settings_of", lambda _: ())
    monkeypatch.setattr(experiments, "MEASURES", tmp_path)
    write_page([*longer("ablation"), *longer("readout")])
    text = Path("docs/experiments.md").read_text()
    for name in ("scaling.png", "scaling_readout.png"):
        assert text.count(f"]({name})") == 1 and Path("docs", name).read_bytes().startswith(b"\x89PNG")


def test_a_share_that_may_pass_one_is_not_cut_there() -> None:
    assert over_seeds("posttrain.latent_error_share", [(1.2, 1.1, 1.3, 9)]).bounds == (1.1, 1.3)
