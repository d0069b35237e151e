"""Great Expectations' Data Docs made to open anywhere: its pages load styles, scripts and pictures from eight hosts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path

from vjepa.gates.expectations import Outcome
from vjepa.gates.tables import ABOUT

STYLE = """<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3, h4, h5, h6 { font-size: 1.1rem; margin: 1.2rem 0 .4rem; }
table { border-collapse: collapse; }
td, th { border: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
div:has(> table) { overflow-x: auto; }
ol, ul { padding-left: 1.2rem; }
i { font-style: normal; }
.card:has([type="radio"]), a[data-toggle="collapse"] { display: none; }
.badge { background: #eee; border-radius: .3rem; padding: 0 .3rem; }
.text-danger { color: #b3261e; }
.text-success { color: #146c2e; }
.fa-check-circle::before { content: "\\2713 passed"; }
.fa-times::before { content: "\\2717 failed"; }
.fa-exclamation-triangle::before { content: "! error"; }
</style>"""


CHANCE = r"-?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=>)\d{8}T\d{6}\.\d{6}Z|2000-01-01T00:00:00Z"
"""Random ids and times of the run in a page: without them, equal data give equal pages."""


def finish_pages(docs: Path, outcomes: Sequence[Outcome]) -> None:
    """Take out of every page what comes from elsewhere, and write an index that needs no script."""
    shutil.rmtree(docs / "static")  # fonts and pictures of which none is shown
    for page in docs.rglob("*.html"):
        page.write_text(self_contained(page.read_text(encoding="utf-8")), encoding="utf-8")
    rows = []
    for suite in dict.fromkeys(outcome.suite for outcome in outcomes):
        (page,) = (docs / "validations" / suite).rglob("*.html")
        own = [outcome for outcome in outcomes if outcome.suite == suite]
        failed = sum(not outcome.passed and not outcome.is_note for outcome in own)
        notes = sum(not outcome.passed and outcome.is_note for outcome in own)
        mark = '<i class="fa-times text-danger"></i>' if failed else '<i class="fa-check-circle text-success"></i>'
        link = f'<a href="{escape(page.relative_to(docs).as_posix())}">{escape(suite)}</a>'
        cells = (mark, ABOUT[suite], link, f"{own[0].rows:,}", f"{len(own)}", f"{failed}", f"{notes}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("Result", "About", "Table", "Rows", "Expectations", "Failed", "Noted")
    heads = "".join(f"<th>{name}</th>" for name in names)
    table = f"<table><tr>{heads}</tr>{''.join(rows)}</table>"
    body = f"<h1>Data gates</h1><p>Great Expectations over the data, table by table.</p><div>{table}</div>"
    body += listed("Failed", [outcome for outcome in outcomes if not outcome.passed and not outcome.is_note])
    body += listed("Noted, stops nothing", [outcome for outcome in outcomes if not outcome.passed and outcome.is_note])
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Data gates</title>{STYLE}</head>'
    (docs / "index.html").write_text(f"{head}<body>{body}</body></html>\n", encoding="utf-8")


def listed(title: str, outcomes: Sequence[Outcome]) -> str:
    """Outcomes in full, each with what to do; nothing where there are none."""
    items = "".join(f"<li>{escape(outcome.sentence())}</li>" for outcome in outcomes)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def self_contained(page: str) -> str:
    """A page without scripts, and without styles and pictures that another host would have to send."""
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    page = re.sub(r"<link\b[^>]*>", "", page)
    page = re.sub(r'<img\b[^>]*src="https?:[^>]*>', "Data gates", page)
    page = re.sub(r"url\(['\"]?https?:[^)]*\)", "none", page)
    page = re.sub(r"<footer>.*?</footer>", "", page, flags=re.DOTALL)
    page = re.sub(CHANCE, "", page)
    return page.replace("</head>", f"{STYLE}</head>", 1)
