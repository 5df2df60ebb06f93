"""The page says what the summary says: planted numbers (see planted_audit), read back from the HTML."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from layerlocal.report import readme_figure, render_page, write_page
from planted_audit import accuracy_rule, class_rows, cost_rule, estimate, locality_entry, planted_summary, run_row

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


def test_first_screen_says_gap_its_two_parts_cost_and_locality(page: str) -> None:
    text = text_of(page)
    verdict = text[: text.index("Accuracy beside the twins")]
    assert (
        "all 3 local rules are below backprop. The most accurate is local-heads: 88.7 % beside 90.0 % of its BP twin, −1.3 pp"
        in verdict
    )
    assert (
        "Speed and saved bytes are those of one step of another network, vgg8 x1.0" in verdict
        and "speed ÷ BP, vgg8 x1.0" in verdict
    )
    assert "extra supervision brings +0.5 pp" in verdict and "itself −1.8 pp" in verdict
    for number in (
        "−3.1 pp [−3.7, −2.5], n=3",
        "−3.6 pp [−4.2, −3.0], n=3",
        "−14.2 pp",
        "1.31×",
        "1.25×",
        "0.72×",
        "0.58×",
        "✓ block",
    ):
        assert number in verdict
    assert "from +1.2 pp at K=2 to +3.6 pp [+2.6, +4.6], n=3 at K=10 (of which DeepSup − BP +3.0 pp)" in verdict
    assert "from −1.5 pp at K=2 to −4.5 pp [−5.5, −3.5], n=3 at K=10" in verdict


def test_every_planted_number_commands_and_hardware_are_in_the_page(page: str) -> None:
    text = text_of(page)
    # accuracies: 90.0 − 1.3 fused; last block of the rule: 88.7 − 16·0.62³ − 1 = 83.9
    for number in ("88.7 % [88.1, 89.3]", "83.9 % [83.3, 84.5]", "90.5 % [89.9, 91.1]", "75.8 % [75.2, 76.4]"):
        assert number in text
    for number in ("119.0 MiB", "524", "1.25× [1.23, 1.28], n=7", "1.5 GFLOP", "64.0 MiB", "50.0 %", "20.0 %"):
        assert number in text
    for part in ("accuracy", "classes", "cost", "depth"):
        assert f"layerlocal audit --only {part}" in text
    for words in (
        "planted cpu",
        "9.9.9",
        "abc123",
        "layerlocal train --rule dtg-ff --seed 1",
        '"temperature_max": 2.0',
    ):
        assert words in text
    assert "not run" not in text


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (estimate(-0.02, 0.01), "x is below backprop: −2.0 pp"),
        (estimate(0.02, 0.01), "x is above backprop: +2.0 pp"),
        (estimate(-0.004, 0.01), "x is not told apart from backprop: −0.4 pp [−1.4, +0.6], n=3"),
        (estimate(-0.02, None, 1), "x is measured with one seed only, so not judged: −2.0 pp, n=1, no interval"),
    ],
)
def test_headline_follows_the_interval_not_the_mean(gap: dict[str, Any], said: str) -> None:
    assert said in text_of(render_page({"accuracy": {"rules": [{"rule": "x", "gap": gap}]}}))


def side(mean: float) -> dict[str, Any]:
    return {"fused": estimate(mean, 0.01)}


def test_the_headline_names_the_most_accurate_rule_and_says_of_it_what_the_tally_says() -> None:
    """PLANTED: the rule with the best gap has the worse accuracy, and its interval holds zero."""
    rules = [
        {"rule": "a", **side(0.7), "twins": {"bp": side(0.69)}, "gap": estimate(0.01, 0.02)},
        {"rule": "b", **side(0.8), "twins": {"bp": side(0.83)}, "gap": estimate(-0.03, 0.01)},
    ]
    text = text_of(render_page({"accuracy": {"rules": rules}}))
    assert "of 2 local rules 1 is below backprop and 1 is not told apart from backprop." in text
    assert "The most accurate is b: 80.0 % beside 83.0 % of its BP twin, −3.0 pp [−4.0, −2.0], n=3." in text
    rules[0] |= side(0.9)
    text = text_of(render_page({"accuracy": {"rules": rules}}))
    assert "is a: 90.0 % beside 69.0 % of its BP twin, +1.0 pp [−1.0, +3.0], n=3, not told apart." in text


def test_a_rule_in_a_network_of_its_own_width_is_marked_and_not_the_most_accurate_beside_the_others() -> None:
    """PLANTED: b is more accurate, and so is its wider twin."""
    rules = [
        {"rule": "a", **side(0.7), "twins": {"bp": side(0.69)}, "gap": estimate(0.03, 0.02)},
        {"rule": "b", **side(0.9), "twins": {"bp": side(0.8)}, "gap": estimate(0.1, 0.02), "own_width": 0.625},
    ]
    text = text_of(render_page({"accuracy": {"rules": rules}}))
    assert (
        "The most accurate in the network that most share is a: 70.0 %" in text
        and "b in a network of width 0.625, as its twins" in text
    )


def test_rows_that_are_read_otherwise_are_marked_and_the_others_are_not() -> None:
    rules = [
        {"rule": name, "reads": reads, "gap": estimate(-0.03, 0.01)}
        for name, reads in (("a", "RMS, 4×4 cells"), ("b", "goodness"))
    ]
    text = text_of(render_page({"accuracy": {"usual_reading": "RMS, 4×4 cells", "rules": rules}}))
    assert "A block is read by its RMS, 4×4 cells, unless its row says otherwise." in text
    assert "b reads goodness" in text and "a reads" not in text


def test_speed_and_memory_of_the_same_network_have_no_mark() -> None:
    row = {"rule": "a", "gap": estimate(-0.03, 0.01)}
    content = {
        "accuracy": {"network": "cnn4, width 1", "rules": [row]},
        "cost": {"network": "cnn4, width 1, 32 px", "rules": [cost_rule("a", 1.5, 1)]},
    }
    text = text_of(render_page(content))
    assert "1.50×" in text and "another network" not in text


def test_axes_of_two_wild_seeds_stay_where_accuracies_lie_and_the_page_warns() -> None:
    wild = {"mean": 0.3, "low": -2.5, "high": 3.1, "n": 2, "values": [0.1, 0.5]}
    sides = {"fused": wild, "last": wild, "blocks": ["block0"], "block_accuracies": [wild]}
    rule = {"rule": "a", "seeds": [0, 1], "gap": wild, **sides, "twins": {"bp": sides, "bp-deepsup": sides}}
    html = render_page({"accuracy": {"rules": [rule]}})
    ticks = [float(t.replace("−", "-")) for t in re.findall(r">(−?\d+(?:\.\d+)?)</text>", html)]
    assert ticks and min(ticks) >= -110 and max(ticks) <= 110
    assert "Two seeds only: the audit." in text_of(html) and "Give --seeds 3 or more" in text_of(html)


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
    assert (
        len(svgs) == 2 + 3 + 2 + 2 + 1 + 5
    )  # accuracy, a panel a rule, two sweeps, two ratios, depth, five certificates
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
            assert value.startswith(("#", "data:image/svg+xml,")), (tag, key, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_everywhere(name: str) -> None:
    summary = planted_summary(rules=1)
    summary["accuracy"]["rules"][0]["rule"] = summary["title"] = summary["command"] = summary["data"]["name"] = name
    summary["accuracy"]["rules"][0]["blocks"] = [name] * 4
    summary["accuracy"]["rules"][0]["note"] = summary["environment"]["cpu"] = name
    summary["environment"][name] = name
    summary["cost"]["rules"][-1]["rule"] = summary["cost"]["depth"]["series"][-1]["rule"] = name
    summary["classes"]["rule"] = summary["classes"]["notes"]["real"] = name
    summary["locality"][-1] |= {"rule": name, "declared": name, "run": name, "losses": [name] * 4, "blocks": [name] * 4}
    summary["runs"][0] |= {"run": name, "label": name, "spec": {name: name}, "command": name}
    summary["failed"] = [{"label": name, "reason": name}]
    html = render_page(summary)
    assert "script" not in {tag for tag, _ in read(html).seen}
    assert html.count("alert(1)") == html.count("&lt;script&gt;alert(1)") and "✗ 49" not in html
    for svg in svgs_of(html):
        ET.fromstring(svg)


def test_mathtext_in_a_name_is_drawn_as_typed() -> None:
    summary = planted_summary(rules=1)
    summary["accuracy"]["rules"][0]["rule"] = '$x_1$ & "q"'
    drawn = [
        t.text for svg in svgs_of(render_page(summary)) for t in ET.fromstring(svg).iter() if t.tag.endswith("text")
    ]
    assert '$x_1$ & "q"' in drawn


DRAWN = ("accuracy", "classes", "cost", "locality", "runs")


@pytest.mark.parametrize("only", [*DRAWN, "environment", "data", "failed", "title"])
def test_a_page_of_one_section_says_of_each_other_that_it_was_not_run(only: str) -> None:
    text = text_of(render_page({"command": "layerlocal audit --out planted", only: planted_summary(rules=1)[only]}))
    given = {"accuracy": 2, "classes": 1, "cost": 1, "locality": 1, "runs": 1}.get(only, 0)
    assert text.count("not run. This runs it: Command layerlocal audit --out planted") == 6 - given


@pytest.mark.parametrize("empty", [{}, [], None])
def test_an_empty_section_is_like_a_missing_one(empty: object) -> None:
    summary = planted_summary(rules=1)
    assert render_page(dict.fromkeys(summary, empty)) == render_page({})


def test_an_empty_summary_and_holes_in_every_place_still_make_a_page() -> None:
    assert text_of(render_page({})).count("not run. This runs it") == 6
    summary = planted_summary(rules=2)
    rules = summary["accuracy"]["rules"]
    rules[0] |= {"gap": None, "fused": {"mean": None, "low": None, "high": None, "n": 0, "values": []}, "twins": {}}
    rules[1] |= {"extra_supervision": None, "block_accuracies": []}
    summary["classes"]["synthetic"] = []
    summary["cost"]["rules"][0] |= {"speed_ratio": None, "saved_ratio": math.nan, "flops_per_step": None}
    summary["cost"]["depth"]["series"][0]["peak_saved_bytes"] = [None, 3]
    summary["locality"][0] |= {"reach": [], "intervention": [[None]], "reach_norm": None}
    text = text_of(render_page(summary))
    assert "Teacher-student data: not run." in text and "not run" in text


def test_a_leak_is_told_in_words_and_marked_in_the_picture() -> None:
    summary = planted_summary(rules=1)
    summary["locality"] = [locality_entry("local-heads", leak=True)]
    html = render_page(summary)
    text = text_of(html)
    assert "✗ not certified" in text and "✗ declared block, measured global" in text
    assert "2 of the cells are more than the rule declared" in text
    assert "loss block2 reaches block1, |gradient| 0.25 (more than declared)" in html
    assert "block2 perturbed: the update of block1 changed (more than declared)" in html


@pytest.mark.parametrize(("declared", "backward"), [("block", "0 of 6"), ("segment", "2 of 6"), ("global", "6 of 6")])
def test_what_is_declared_is_no_leak(declared: str, backward: str) -> None:
    text = text_of(render_page({"locality": [locality_entry("r", declared)]}))
    assert "more than the rule declared" not in text
    assert f"earlier block's update in {backward} cases" in text


def test_equal_certificates_share_one_card_and_all_their_runs_are_named() -> None:
    entries = [locality_entry("r") | {"run": f"hash{i}"} for i in range(9)]
    html = render_page({"locality": entries})
    assert html.count('class="card"') == 1 and all(f"hash{i}" in html for i in range(9))
    assert "9 runs" in html


def test_failed_runs_are_told_on_the_first_screen(page: str) -> None:
    summary = planted_summary(rules=1)
    summary["failed"] = [{"label": "ff seed 2", "reason": "NaN in the loss of block1"}]
    text = text_of(render_page(summary))
    assert text.index("1 run failed or refused") < text.index("Accuracy beside the twins")
    assert "NaN in the loss of block1" in text
    assert "failed or refused" not in text_of(page)


@pytest.mark.parametrize(("rules", "depth"), [(1, 1), (2, 20), (8, 2)])
def test_few_and_many_rules_and_blocks(rules: int, depth: int) -> None:
    html = render_page(planted_summary(rules=rules, depth=depth, runs=1))
    assert len(svgs_of(html)) == 2 + rules + 2 + 2 + 1 + 2 + rules


def test_the_same_summary_gives_the_same_bytes_and_leaves_matplotlib_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    summary = {k: v for k, v in planted_summary(rules=1).items() if k != "cost"}
    copy = json.loads(json.dumps(summary))
    assert render_page(summary) == render_page(copy)
    assert summary == copy and dict(matplotlib.rcParams) == before


def test_readme_figure_stands_alone_in_light_and_dark() -> None:
    drawing = readme_figure(planted_summary(rules=1)).to_file("svg").decode()
    ET.fromstring(drawing)
    assert "prefers-color-scheme: dark" in drawing
    assert "var(" not in drawing and "currentColor" not in drawing
    with pytest.raises(ValueError, match="no accuracy section"):
        readme_figure({})


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
    summary = planted_summary(rules=3)
    summary["runs"] = [run_row(i) for i in range(5000)]
    summary["locality"] = [locality_entry("r") | {"run": f"{i:016x}"} for i in range(5000)]
    summary["classes"] |= {"synthetic": class_rows(0.01), "real": class_rows(-0.01)}
    summary["accuracy"]["rules"] = [accuracy_rule("dtg-ff", 0)]
    start = time.perf_counter()
    html = render_page(summary)
    assert time.perf_counter() - start < 10
    assert html.count('<tr id="run-') == 5000
