"""Any summary is a section of a page, of Markdown and of CSV, whatever the experiment: its parts, tables, figures and links."""

from __future__ import annotations

import re

import pytest

from layerlocal.report import Content, render_markdown, render_page
from layerlocal.summary import Column, Missed, Summary, Table
from pages import text_of
from planted_summaries import CELLS, planted_parts, planted_study


def test_a_page_says_everything_a_summary_says() -> None:
    text = text_of(
        render_page(Content(summaries=[planted_parts(missing=(Missed(label="two", reason="NaN", runs=2),)), Summary()]))
    )
    said = ["The planted audit", "planted data", "Of 2 <planted> rules, 1 is below backprop.", "And why.", "A note of the audit.", "Inside.",
            "Accuracy (planted)", "By block", "Locality (planted)", "2 runs are missing", "NaN", "layerlocal audit --out planted",
            "layerlocal inner", "9 of 9 finished", "Left out (planted)"]  # fmt: skip
    assert [part for part in said if part not in text] == []


@pytest.mark.parametrize("key", CELLS)
def test_every_kind_of_cell_is_written_as_its_column_says(key: str) -> None:
    _, _, main, rest = CELLS[key]
    page, markdown = text_of(render_page(planted_parts())), render_markdown(planted_parts())
    assert f"{main} {rest}".strip() in page
    assert f"{main} {rest}".strip().replace("<", "\\<") in markdown


def test_a_judged_interval_says_on_which_side_of_zero_it_lies() -> None:
    assert re.search(r'class="words below">below<', render_page(planted_parts()))
    assert "−2.0 pp [−3.0, −1.0], n=3, below |" in render_markdown(planted_parts())


def test_what_a_cost_audit_counts_are_measurements() -> None:
    text = text_of(render_page(planted_study(experiment="cost")))
    assert "2 measurements are missing" in text and "measurements 36 of 38 finished" in text


def test_anchors_are_unique_and_are_made_of_names() -> None:
    page = render_page(
        Content(summaries=[planted_parts(), planted_parts(size="medium"), planted_study(), planted_study()])
    )
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {
        "audit",
        "audit-medium",
        "study-planted-classes",
        "audit-accuracy-planted",
        "audit-accuracy-planted-by-block",
    } <= set(ids)
    assert {"study-planted-classes-gap", "study-planted-classes-gap-p2"} <= set(ids), "a figure and its second panel"
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_headline_is_the_first_sentence_and_the_first_table_comes_before_all_parts() -> None:
    page = render_page(planted_parts())
    assert 'class="headline">Of 2 &lt;planted&gt; rules, 1 is below backprop.<' in page
    assert page.index("Every rule (planted)") < page.index("<h3>Accuracy (planted)</h3>")
    assert page.count('class="headline"') == 1


def test_many_sentences_behind_the_headline_are_a_list() -> None:
    few, many = (render_page(planted_parts(sentences=tuple(f"Sentence {i}." for i in range(n)))) for n in (3, 9))
    assert few.count('<p class="more">Sentence') == 2 and many.count('<p class="more">Sentence') == 0
    assert many.count("<li>Sentence") == 8


def test_figures_come_before_tables_where_there_are_no_parts() -> None:
    page = render_page(planted_study())
    assert page.index("<figure") < page.index("Planted table of arms")


def test_a_table_may_be_folded_and_columns_are_as_given() -> None:
    table = Table(
        caption="c",
        folded=True,
        columns=(Column(key="b", label="B"), Column(key="a", label="A")),
        rows=({"a": 1, "b": "x"},),
    )
    text = text_of(render_page(planted_study(tables=(table,))))
    assert "c c B A x 1" in text


def test_headings_nest_as_parts_are_nested() -> None:
    headings = re.findall(r"<h(\d)>([^<]*)</h", render_page(Content(summaries=[planted_parts(), planted_study()])))
    at = dict((title, int(level)) for level, title in headings)
    assert (at["The planted audit"], at["Accuracy (planted)"], at["By block"]) == (2, 3, 4)
