import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import MadeUpRun, make_run
from PIL import Image

from vjepa.errors import DataError, UserError
from vjepa.report.inputs import METRICS
from vjepa.report.quantities import quantities
from vjepa.report.trials import RECORDS, read_records, write_records


@pytest.fixture
def run(tmp_path: Path) -> MadeUpRun:
    """A made-up run whose files are written, to be changed by a test."""
    made = make_run(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> MadeUpRun:
    """A made-up run with its report, to be looked at only."""
    made = make_run(tmp_path_factory.mktemp("finished"))
    made.write()
    made.render()
    return made


@pytest.fixture(scope="module")
def page(finished: MadeUpRun) -> str:
    """The finished run's page."""
    return (finished.folder / "report" / "index.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would load, jump to or read aloud."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.jumps: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.without_alt = 0
        self.cells: list[list[str]] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.loads += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        href = values.get("href", values.get("xlink:href", ""))
        kind = self.jumps if href.startswith("#") else self.links if tag == "a" else self.loads
        kind.extend([href] if href else [])
        self.ids += [values["id"]] if "id" in values else []
        self.without_alt += tag == "img" and "alt" not in values
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.cells[-1][-1] += data.strip()


def test_every_metric_of_every_file_is_on_the_page_with_its_n(finished: MadeUpRun, page: str) -> None:
    rows = {(row[0], row[1]): row for row in Page(page).cells if len(row) == 5}
    for stage, values in finished.metrics.items():
        for quantity in quantities(stage, values):
            row = rows[f"{stage}.json", quantity.name]
            assert row[2], quantity.name
            assert row[4] == ("" if quantity.n is None else str(quantity.n))


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    loads = Page(page).loads
    assert len(loads) > 20
    assert [load for load in loads if not load.startswith("data:")] == []
    assert Page(page).links == ["docs/index.html"], "the gates' pages beside it"
    assert not re.search(r"https?:|//[\w.-]+\.\w+|@import|<script|<link rel=\"stylesheet", page)
    assert re.findall(r"url\((?!#)", page) == []


def test_ids_are_unique_and_every_reference_inside_the_page_has_its_target(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {jump.removeprefix("#") for jump in parsed.jumps} <= set(parsed.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(parsed.ids)


def test_every_picture_has_an_alternative_text(page: str) -> None:
    assert Page(page).without_alt == 0


def test_equal_inputs_give_equal_bytes(run: MadeUpRun, finished: MadeUpRun, page: str) -> None:
    assert run.render() == page
    figures = [(made.folder / "report" / "figure.png").read_bytes() for made in (run, finished)]
    assert figures[0] == figures[1]


def test_the_page_stays_small_and_comes_with_a_picture_for_the_readme(finished: MadeUpRun, page: str) -> None:
    assert len(page.encode()) < 5_000_000
    assert sorted(path.name for path in (finished.folder / "report").iterdir()) == ["docs", "figure.png", "index.html"]
    with Image.open(finished.folder / "report" / "figure.png") as figure:
        assert np.asarray(figure.convert("L")).std() > 10


@pytest.mark.parametrize("stage", METRICS)
def test_a_missing_metrics_file_is_named_with_the_command_that_makes_it(run: MadeUpRun, stage: str) -> None:
    (run.folder / "metrics" / f"{stage}.json").unlink()
    with pytest.raises(UserError, match=rf"metrics/{stage}\.json is missing.*dvc repro {stage}"):
        run.read()


def test_a_missing_manifest_is_named(run: MadeUpRun) -> None:
    (run.folder / "data" / "shards" / "manifest.parquet").unlink()
    with pytest.raises(UserError, match=r"manifest\.parquet is missing"):
        run.read()


@pytest.mark.parametrize(
    ("file", "content"), [("metrics/plan.json", "{"), ("plots/plan/energy.npz", "no"), ("plots/pretrain.csv", "a\n1")]
)
def test_a_damaged_file_is_named(run: MadeUpRun, file: str, content: str) -> None:
    (run.folder / file).write_text(content)
    with pytest.raises(UserError, match=re.escape(file)):
        run.read()


def test_a_recording_without_one_of_its_arrays_is_named(run: MadeUpRun) -> None:
    np.savez(run.folder / "plots" / "plan" / "episodes.npz", frames=np.zeros((1, 2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"episodes\.npz.*goals"):
        run.read()


def test_what_is_missing_in_a_small_run_is_said_in_its_place(run: MadeUpRun) -> None:
    for name in ("answers.json", "pretrain.csv", "posttrain.csv", "plan/episodes.npz", "plan/energy.npz"):
        (run.folder / "plots" / name).unlink()
    (run.folder / "metrics" / "timings.json").unlink()
    (run.folder / RECORDS).unlink()
    inputs = run.read()
    inputs.episodes = []
    page = run.render(inputs)
    for said in (
        "No recorded questions",
        "docs/experiments.jsonl is missing",
        "plots/pretrain.csv is missing",
        "plots/posttrain.csv is missing",
        "No recorded episodes",
        "No energy landscape",
        "No timings",
        "Not enough episodes: none was held out",
        "Not enough frames to show the masks",
    ):
        assert said in page
    assert (run.folder / "report" / "figure.png").exists()


def test_a_quantity_that_loses_to_its_baseline_is_shown_as_such(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    reach = made.metrics["plan"]["reach"]
    reach["success"], reach["success_random"] = reach["success_random"], reach["success"]
    made.write()
    page = made.render()
    line = re.search(r"<li><span>((?!</li>).)*Reach: success at the last step.*?</li>", page, re.DOTALL)
    assert line is not None and "▼" in line[0] and "loses to random actions" in line[0]


def test_the_trials_of_an_arm_are_held_against_random_weights(run: MadeUpRun, page: str) -> None:
    def line(page: str) -> list[str]:
        section = page.partition('<section id="experiments">')[2].partition("</section>")[0]
        return next(cells for cells in Page(section).cells if cells[0] == "Reach")

    assert "6 trials, recorded 2026-01-11 to 2026-01-13" in page
    _, mine, theirs = line(page)
    assert "%" in mine and "beats" in mine and "beats" not in theirs
    trials = read_records(run.folder / RECORDS)
    for trial in trials:
        trial["arm"] = {"default": "untrained", "untrained": "default"}[trial["arm"]]
    write_records(trials, run.folder / RECORDS)
    _, mine, _ = line(run.render())
    assert "loses" in mine
    for trial in trials:
        trial["measure"] = "development"
    write_records(trials, run.folder / RECORDS)
    assert "docs/experiments.jsonl is missing or holds none" in run.render(), (
        "what recipes are chosen on proves nothing"
    )


@pytest.mark.parametrize(
    ("text", "what"), [("{", "no JSON object"), ('{"arm": "default"}', "a trial without measure, share")]
)
def test_a_line_that_is_no_trial_is_named(run: MadeUpRun, text: str, what: str) -> None:
    with (run.folder / RECORDS).open("a") as file:
        file.write(text + "\n")
    with pytest.raises(UserError, match=rf"experiments\.jsonl, line 7: {what}"):
        run.read()


def test_a_claim_that_pretraining_helps_planning_needs_an_untrained_arm(page: str) -> None:
    assert "That pretraining helps planning is not shown" in page


def test_a_quantity_of_a_group_is_named_by_its_innermost_group(page: str) -> None:
    assert "<strong>Up down: answers about a clip</strong>" in page


def test_planned_episodes_carry_their_own_outcome(page: str) -> None:
    # the made-up recordings: reach ends 2, 3, 4 and 5 cm away (the first three succeed), handle_press 8 and 9 cm
    assert re.findall(r"(✓|✗) (?:no )?success", page) == ["✓", "✓", "✓", "✗", "✗", "✗"]
    assert page.count("hand to goal: 30.0 → ") == 6


def test_answers_are_marked_by_comparing_them_with_the_truth(run: MadeUpRun) -> None:
    answers = json.loads((run.folder / "plots" / "answers.json").read_text())[:1]
    answers[0] |= {"answer": "up", "predicted": "up", "blind": "down"}
    (run.folder / "plots" / "answers.json").write_text(json.dumps(answers))
    assert re.findall(r"(✓|✗) (?:right|wrong)", run.render()) == ["✓", "✗"]


def test_texts_of_the_data_cannot_change_the_page(run: MadeUpRun) -> None:
    inputs = run.read()
    inputs.episodes[0].task = "<script>alert(1)</script>"
    assert "<script" not in run.render(inputs)


def test_quarantined_episodes_are_counted_by_reason(page: str) -> None:
    rows = Page(page).cells
    assert ["moves … m, less than …", "2"] in rows
    assert ["the video can't be decoded", "1"] in rows


def test_episodes_are_counted_by_task_and_split(page: str) -> None:
    assert ["all", "16", "8"] in Page(page).cells


def test_a_report_that_cannot_be_completed_leaves_the_old_one(run: MadeUpRun, monkeypatch: Any) -> None:
    old = run.render()

    def fail(path: Path, *args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vjepa.report.page.save_figure", fail)
    with pytest.raises(UserError, match="No space left on device"):
        run.render()
    assert (run.folder / "report" / "index.html").read_text(encoding="utf-8") == old
