"""Any summary is a section of a page, of Markdown and of CSV, whatever the experiment: its parts, tables, figures and links."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from layerlocal.report import render_csv, render_json, render_markdown, render_page
from layerlocal.summary import Axis, Column, Figure, Missed, Part, Point, Series, Summary, Table

GAP = {"mean": -0.02, "low": -0.03, "high": -0.01, "n": 3, "values": [-0.01, -0.02, -0.03]}
SPEED = {"median": 1.5, "low": 1.25, "high": 2.0, "n": 5}
CELLS = {
    "gap": (GAP, "points", "−2.0 pp", "[−3.0, −1.0], n=3"),
    "speed": (SPEED, "ratio", "1.50×", "[1.25, 2.00], n=5"),
    "saved": (1572864, "bytes", "1.5 MiB", ""),
    "flops": (1234567, "count", "1.23 M", ""),
    "p": (0.0004, "probability", "< 0.001", ""),
    "left": (None, "percent", "–", ""),
}


def line_figure(name: str = "planted-gap") -> Figure:
    points = tuple(Point(x=x, y=0.1 * x) for x in (1, 2, 4))
    series = (Series(name="dtg-ff", points=points),)
    return Figure(
        name=name, title="Planted line", x=Axis(label="blocks"), y=Axis(label="accuracy", unit="%"), series=series
    )


def summary(**changes: object) -> Summary:
    columns = [Column(key="rule", label="rule")]
    columns += [Column(key=key, label=key, kind=kind, judged=key == "gap") for key, (_, kind, *_) in CELLS.items()]  # type: ignore[arg-type]
    row = {"rule": "dtg-ff", **{key: value for key, (value, *_) in CELLS.items()}}
    given: dict[str, object] = {
        "experiment": "study", "name": "planted", "size": "quick", "title": "A planted study", "question": "Is it planted?",
        "facts": {"data": "planted data"}, "sentences": ("It is <planted>.", "Twice."), "figures": (line_figure(),),
        "tables": (Table(caption="The table", columns=tuple(columns), rows=(row,)), Table(caption="Folded", folded=True)),
        "notes": ("A note.",), "command": "layerlocal study planted", "rows": ({"rule": "dtg-ff", "seed": 0, "runs": {"bp": "abc"}},),
        "planned": 3, "finished": 1, "missing": (Missed(label="two", reason="NaN", runs=2),), "rules": ("dtg-ff",), "seeds": (0, 1, 2),
        "parts": (Part(title="Inner part", sentences=("Inside.",), figures=(line_figure("inner"),), parts=(Part(title="Deep part"),)),),
    }  # fmt: skip
    return Summary(**(given | changes))  # type: ignore[arg-type]


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>")[-1]))


def test_a_page_says_everything_a_summary_says():
    text = text_of(render_page(summary()))
    said = ["Is it planted?", "planted data", "It is &lt;planted&gt;.", "Twice.", "A note.", "Inner part", "Inside.", "Deep part",
            "2 runs are missing", "NaN", "layerlocal study planted", "1 of 3 finished", "Folded"]  # fmt: skip
    assert [part for part in said if part not in text] == []


@pytest.mark.parametrize("key", CELLS)
def test_every_kind_of_cell_is_written_as_its_column_says(key):
    _, _, main, rest = CELLS[key]
    page, markdown = text_of(render_page(summary())), render_markdown(summary())
    assert main.replace("<", "&lt;") in page and rest in page
    assert f"{main} {rest}".strip().replace("<", "\\<") in markdown.replace("\\[", "[")


def test_a_judged_interval_says_on_which_side_of_zero_it_lies():
    page = render_page(summary())
    assert re.search(r'class="words below">below<', page)
    assert "n=3, below |" in render_markdown(summary())


def test_anchors_are_unique_and_are_made_of_names():
    twice = [summary(), summary(size="medium"), summary(name="other")]
    page = render_page({"summaries": twice})
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {"study-planted", "study-planted-medium", "study-other", "study-planted-inner-part"} <= set(ids)
    assert {f"#{name}" for name in re.findall(r'href="#([^"]+)"', page)} <= {f"#{name}" for name in ids}


def test_the_headline_of_a_page_is_the_first_sentence_and_its_first_table_comes_before_the_figures():
    page = render_page(summary())
    assert re.search(r'class="headline">It is &lt;planted&gt;\.<', page)
    assert (
        page.index("The table") < page.index("<svg role")
        if "<svg role" in page
        else page.index("The table") < page.index('role="img"')
    )


def test_csv_has_every_row_and_json_the_whole_summary():
    rows = list(
        csv.DictReader(io.StringIO(render_csv({"summaries": [summary(), summary(experiment="cost", name="cost")]})))
    )
    assert [row["experiment"] for row in rows] == ["study", "cost"]
    assert rows[0]["runs.bp"] == "abc" and rows[0]["size"] == "quick"
    assert Summary.model_validate(json.loads(render_json(summary()))["summaries"][0]) == summary()


def test_markdown_nests_headings_as_parts_are_nested():
    headings = re.findall(r"^#+ .*", render_markdown(summary()), re.M)
    assert headings[1:4] == ["## A planted study", "### Inner part", "#### Deep part"]
