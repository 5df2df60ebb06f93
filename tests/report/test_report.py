"""The page says what an audit's summary says: planted numbers (see planted_audit), read back from the HTML."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from layerlocal.experiments.audit.certificates import certificate_part
from layerlocal.report import figure_of, render_page, write_page
from layerlocal.summary import Missed, Summary
from layerlocal.types import InputError
from planted_audit import locality_entry, planted_summary, run_row

VOID = {"col", "meta", "link", "br", "img", "input", "hr"}
HOSTILE = ["<script>alert(1)</script>", '$x_1$ & "q" \\frac]]>-->\x00\x1b[31m\ud800 日本語 ✗ {{ 7*7 }}', ""]


class Reader(HTMLParser):
    """Text, attributes and an open-tag stack: raises nothing, records what does not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.bad: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.bad.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("style", "title"):
            self.words.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.bad and not reader.stack
    return reader


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(read(html).words))


def svgs_of(html: str) -> list[str]:
    return re.findall(r"<svg xmlns.*?</svg>", html, flags=re.S)


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(planted_summary())


def test_the_first_screen_says_gap_its_two_parts_cost_and_locality(page: str) -> None:
    text = text_of(page)
    verdict = text[text.index("On planted-data") : text.index("How far from its backprop twins")]
    assert all(sentence in verdict for sentence in planted_summary().sentences)
    for said in (
        "local-heads 88.7 % [87.7, 89.7] 90.0 % [90.0, 90.0] 90.5 % [90.5, 90.5] −1.3 pp [−2.3, −0.3], n=3 below +0.5 pp",
        "−3.1 pp [−4.1, −2.1], n=3 below",
        "1.31× 0.58× ✓ block",
        "Speed and saved bytes are those of one step of another network, vgg8, width 1.",
    ):
        assert said in verdict, said


def test_every_planted_number_and_the_hardware_are_in_the_page(page: str) -> None:
    text = text_of(page)
    # the last block of each rule lies 10 points below its fusion
    for number in (
        "78.7 % [77.7, 79.7]",
        "80.5 % [80.5, 80.5]",
        "119.0 MiB",
        "524",
        "1.25× [1.23, 1.28]",
        "1.5 G",
        "50.0 %",
        "20.0 %",
    ):
        assert number in text, number
    for words in ("planted cpu", "9.9.9", "abc123", "licence MIT", "9,000 train, 1,000 validation, 2,000 test"):
        assert words in text, words


def test_the_page_of_an_audit_of_which_nothing_is_finished_says_of_each_part_what_runs_it() -> None:
    from layerlocal.experiments.audit.summary import summarize
    from planted_audit import planted_plan

    text = text_of(render_page(summarize(planted_plan(), {})))
    assert text.count("not run. This runs") == 6 and "No local rule has been measured" in text


def test_runs_that_are_missing_are_told_on_the_first_screen(page: str) -> None:
    missing = [Missed(label="ff seed 2", reason="NaN in the loss of block1")]
    text = text_of(render_page(planted_summary(missing=missing)))
    assert text.index("1 run is missing") < text.index("How far from its backprop twins")
    assert "NaN in the loss of block1" in text and "missing" not in text_of(page)


CLAIM = {
    "id": "P1",
    "sentence": "s",
    "study": "classes",
    "reason": "no such study",
    "command": "layerlocal study classes",
}


def test_own_results_come_first_where_no_claim_is_judged() -> None:
    study = {"study": "accuracy", "title": "My own rule", "sentences": ["It works."], "seeds": [0, 1]}
    html = render_page({"studies": [study], "claims": [CLAIM | {"verdict": "not run"}]})
    assert html.index('id="study-accuracy"') < html.index('id="claims"') < html.index('id="provenance"')
    assert "Two seeds only: the study accuracy." in text_of(html)
    judged = render_page(
        {"studies": [study], "claims": [CLAIM | {"verdict": "supported"}, CLAIM | {"verdict": "not run"}]}
    )
    assert judged.index('id="claims"') < judged.index('id="study-accuracy"')


def test_every_figure_is_wellformed_labelled_svg_whose_ids_are_unique(page: str) -> None:
    svgs = svgs_of(page)
    # accuracy, a panel a rule, two sweeps, two ratios, depth, a certificate of each rule and of both its twins
    assert len(svgs) == 2 + 3 + 2 + 2 + 1 + 9
    for svg in svgs:
        root = ET.fromstring(svg)
        assert root.get("role") == "img" and len(root.get("aria-label", "")) > 20 and root.get("viewBox")
        assert "width" not in root.attrib
        targets = re.findall(r'(?:url\(|href=")#([^)"]+)', svg)
        assert all(f'id="{t}"' in svg for t in targets)
    ids = [a["id"] for _, a in read(page).seen if "id" in a]
    assert len(ids) == len(set(ids))


def test_page_asks_for_nothing_from_outside(page: str) -> None:
    for tag, attributes in read(page).seen:
        assert tag not in ("script", "iframe", "object", "embed", "img")
        for key in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(key) or "#"
            assert value.startswith(("#", "data:image/svg+xml,", "data:text/csv;")), (tag, key, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_everywhere(name: str) -> None:
    given = json.loads(
        planted_summary(rules=1).model_dump_json().replace("local-heads", "HOSTILE").replace("planted-data", "HOSTILE")
    )
    summary = Summary.model_validate(_replaced(given, "HOSTILE", name))
    html = render_page(
        {"audit": summary, "title": name, "command": name, "runs": [{"run": name, "label": name, "command": name}]}
    )
    assert "script" not in {tag for tag, _ in read(html).seen}
    assert (
        html.count("alert(1)") == html.count("&lt;script&gt;alert(1)") + html.count("%3Cscript%3Ealert(1)")
        and "✗ 49" not in html
    )
    for svg in svgs_of(html):
        ET.fromstring(svg)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {_replaced(key, old, new): _replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, old, new) for inner in value]
    return value.replace(old, new) if isinstance(value, str) else value


@pytest.mark.parametrize(("rules", "depth"), [(1, 1), (2, 20), (8, 2)])
def test_few_and_many_rules_and_blocks(rules: int, depth: int) -> None:
    html = render_page(planted_summary(rules=rules, depth=depth))
    assert len(svgs_of(html)) == 2 + rules + 2 + 2 + 1 + 3 * rules


def test_the_same_summary_gives_the_same_bytes() -> None:
    summary = planted_summary(rules=1)
    again = Summary.model_validate_json(summary.model_dump_json())
    assert render_page(summary) == render_page(again)


def test_one_figure_of_a_summary_stands_alone_in_light_and_dark() -> None:
    drawing = figure_of(planted_summary(rules=1), "audit-gap").to_file("svg").decode()
    ET.fromstring(drawing)
    assert "prefers-color-scheme: dark" in drawing
    assert "var(" not in drawing and "currentColor" not in drawing
    with pytest.raises(InputError, match="unknown figure of planted 'audit-gap'"):
        figure_of(Summary(title="planted"), "audit-gap")


def test_write_page_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_page({"title": "new"}, path) == path
    assert "<title>new</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_importing_the_report_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, layerlocal.report as r; r.render_page({}); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'matplotlib.pyplot')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_five_thousand_runs_in_ten_seconds_with_none_left_out() -> None:
    entries = [locality_entry("r") | {"run": f"{i:016x}"} for i in range(5000)]
    summary = planted_summary()
    parts = (*summary.parts[:-1], certificate_part(entries, ""))
    start = time.perf_counter()
    html = render_page(
        {"audit": summary.model_copy(update={"parts": parts}), "runs": [run_row(i) for i in range(5000)]}
    )
    assert time.perf_counter() - start < 10
    assert html.count('<tr id="run-') == 5000
