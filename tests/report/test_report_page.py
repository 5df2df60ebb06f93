"""The page over any store: claims, summaries, accuracies and runs, planted (see planted_summaries) and read back from the HTML."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from layerlocal.report import Content, render_page, write_page
from layerlocal.report.rows import LARGEST_LINK, data_uri
from layerlocal.report.views import Cell
from layerlocal.runs.store import RunStore
from layerlocal.runs.table import run_row
from layerlocal.summary import Summary
from pages import HOSTILE, read, svgs_of, text_of
from planted_store import plant_store
from planted_summaries import accuracy_row, claim, estimate, planted_content, planted_parts, planted_study, study_row
from planted_summaries import run_row as planted_run

NASTY = [
    *HOSTILE,
    '</script><img src=x onerror=alert(1)>"><img onerror=alert(1)>',
    "\u202edetroppus\u2066 \u200f",
    "name" * 300,
]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(planted_content())


@pytest.fixture(scope="module")
def words(page: str) -> str:
    return text_of(page)


def test_parts_come_in_order_summaries_claims_accuracies_runs(page: str) -> None:
    ids = [a["id"] for tag, a in read(page).seen if tag in ("section", "details") and "id" in a]
    order = ["audit", "study-planted-classes", "claims", "accuracies", "provenance", "runs"]
    assert [i for i in ids if i in order] == order
    levels = [int(tag[1]) for tag, _ in read(page).seen if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_verdict_says_claim_reported_measured_and_why(words: str) -> None:
    first = words[words.index("P1 ") : words.index("P2 ")]
    for said in (
        "P1 A planted sentence that is supported. planted et al. 2026, Table 3",
        "about −2.1 points −8.0 pp [−8.4, −7.6] gap at 16 classes (class-goodness) ✓ supported 3 quick 1 pp 0.037",
        "The mean over 3 seeds is shown to lie where it lies.",
        "t test; supported if shown to lie below −1 pp; p 0.012 before adjustment; α 0.05",
        "planted reason for the smallest effect",
        "Protocol: 10 epochs instead of 200",
    ):
        assert said in first
    assert "✗ contradicted" in words and "−8.00 pp per doubling [−8.40, −7.60]" in words
    assert "0.52 [0.39, 0.64]" in words and "? inconclusive n = 5 to 40 would settle it" in words
    assert "Of 4 claims, 1 is supported, 1 is contradicted, 1 is inconclusive and 1 is not run." in words
    assert "SHA-256 of the claims: " + "c0ffee" * 10 + "abcd" in words


def test_only_a_claim_that_was_not_run_or_that_seeds_would_settle_brings_its_command(page: str) -> None:
    part = text_of(page)
    part = part[
        part.index("Claims, as reported and as measured") : part.index(
            "Reported beside measured", part.index("1 claim is not run")
        )
    ]
    assert part.count("This runs it: layerlocal study planted-classes --size quick --out planted") == 2
    assert "This runs it" in part[part.index("P3 ") : part.index("1 claim is not run: P4")]
    last = part[part.index("P4 ") :]
    assert "○ not run" in last and "This runs it" in last
    assert "n = " not in last


def test_a_verdict_is_a_word_and_a_sign_and_never_colour_alone(page: str) -> None:
    marks = re.findall(r'<strong class="mark ([\w-]+)"><span aria-hidden="true">(.)</span> ([\w ]+)</strong>', page)
    assert marks == [
        ("supported", "✓", "supported"),
        ("contradicted", "✗", "contradicted"),
        ("inconclusive", "?", "inconclusive"),
        ("not-run", "○", "not run"),
    ]


@pytest.mark.parametrize(
    ("direction", "reference", "said"),
    [
        ("greater", 0.0, "above 0.5 pp"),
        ("greater", 2.0, "above 2.5 pp"),
        ("less", 0.0, "below −0.5 pp"),
        ("none", 0.0, "within ±0.5 pp of 0 pp"),
    ],
)
def test_the_bound_of_a_claim_is_its_reference_and_smallest_effect(direction: str, reference: float, said: str) -> None:
    row = claim("P", "supported", direction=direction, reference=reference, smallest_effect=0.5)
    assert f"supported if shown to lie {said};" in text_of(render_page(Content(claims=[row])))


def test_a_claim_without_numbers_still_stands_in_the_table() -> None:
    holes: dict[str, Any] = dict.fromkeys(claim("P", "supported"))
    text = text_of(render_page(Content(claims=[holes, {}, {"id": "P9", "verdict": "a new word"}])))
    assert text.count("○ not run") == 2 and "· a new word" in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_a_study_says_question_findings_progress_and_what_is_missing(words: str) -> None:
    part = words[words.index("Does the gap grow with the number of classes? (planted) Planted question") :]
    for said in (
        "Planted question: is it output dimension or class difficulty?",
        "runs 36 of 38 finished",
        "The planted gap is −8.0 pp at 16 classes.",
        "planted note",
        "Command layerlocal study planted-classes --size quick --out planted",
        "2 runs are missing",
        "class-goodness, 16 classes, seed 2 NaN in the loss of block1",
        "bp, 16 classes, seed 2 not run yet",
        "real 16 −2.5 75.0 % [74.0, 76.0], n=3 −8.0 pp [−8.4, −7.6], n=3",
        "synthetic 16 1.25 50.0 % –",
    ):
        assert said in part


def test_every_number_of_a_figure_stands_in_the_table_under_it(words: str) -> None:
    # lines: the real gap falls by 2 pp a doubling, so −4.0 pp at 4 classes; heat: column 3 − row 1 = 2 pp
    assert "real classes gap 4 −4.0 pp [−4.4, −3.6], n=3" in words
    assert "local coarse labels 58.0 % [56.0, 60.0], n=3" in words
    assert "class-goodness 8 2 channels +2.0 pp [+1.7, +2.3], n=3" in words
    assert "conv method B 92.0 % 90.0 %, n=1" in words


def test_figures_are_wellformed_labelled_and_their_ids_unique(page: str) -> None:
    ids = [a["id"] for _, a in read(page).seen if "id" in a]
    assert len(ids) == len(set(ids))
    own = [svg for svg in svgs_of(page) if 'id="study-planted-classes-' in svg]
    assert len(own) == 2 + 1 + 1 + 1  # two panels, arms, heat map, scatter
    assert len(svgs_of(page)) == 5 + 2 + 1 + 2 + 1  # differences, blocks, cost, locality
    for svg in svgs_of(page):
        root = ET.fromstring(svg)
        assert root.get("role") == "img" and len(root.get("aria-label", "")) > 60 and root.get("viewBox")
        assert "width" not in root.attrib
    assert "#0101" not in page
    assert not re.search(r"\b(nan|None)\b", text_of(page))


def test_a_link_downloads_the_rows_as_csv(page: str) -> None:
    links = [a for tag, a in read(page).seen if tag == "a" and "download" in a]
    assert [link["download"] for link in links] == ["audit.csv", "study-planted-classes.csv"]
    link = links[1]
    head, text = str(link["href"]).split(",", 1)
    assert head == "data:text/csv;charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(unquote(text))))
    assert len(rows) == 6
    assert rows[1]["gap"] == "-0.125" and rows[1]["blocks.local.block1"] == "0.5" and rows[1]["runs.bp"] == "bbbb016"
    assert rows[1]["separability"] == ""


def test_a_link_is_packed_where_plain_is_too_long_and_left_out_where_packed_is_too() -> None:
    import base64
    import gzip
    import random

    text = "a,b\n1,2 & <3>\n"
    uri, ending = data_uri(text)
    assert ending == "csv" and unquote(uri.split(",", 1)[1]) == text and not set(uri) & set(" \n<>&\"'#")
    long = text * 200_000
    uri, ending = data_uri(long)
    assert ending == "csv.gz" and len(uri) <= LARGEST_LINK
    assert gzip.decompress(base64.b64decode(uri.split(",", 1)[1])).decode() == long
    noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789,\n", k=3_000_000))
    assert data_uri(noise) == ("", "csv.gz")


def test_accuracies_stand_beside_published_ones(words: str) -> None:
    assert (
        "planted method A planted et al. 2026 planted-data 98.1 % class-goodness 97.2 % [97.0, 97.5] 3 quick smaller"
        in words
    )
    assert "planted method B planted et al. 2026 planted-data 98.1 % class-goodness not run – quick" in words
    more = accuracy_row(
        text="98.1 % (best of 5)", reported_bp=0.99, measured_bp=estimate(0.98, 0.01), difference=-0.0087
    )
    more |= {"reason": "planted reason", "protocol_differences": ["a", "b"]}
    text = text_of(render_page(Content(accuracies=[more])))
    assert (
        "98.1 % (best of 5) 99.0 % class-goodness 97.2 % [97.0, 97.5] 98.0 % [97.0, 99.0] −0.9 pp 3 quick a; b planted reason"
        in text
    )


def test_warnings_come_before_everything(words: str) -> None:
    assert words.index("planted warning") < words.index("The planted audit") < words.index("Claims, as reported")


def test_where_parts_were_run_on_other_hardware_each_value_names_its_parts() -> None:
    first = planted_study("one", environment={"processor": "fast", "torch": "2"}, figures=())
    second = planted_study("two", environment={"processor": "slow", "torch": "2"}, figures=())
    text = text_of(render_page(Content(summaries=[first, second])))
    assert "processor fast (one quick); slow (two quick)" in text and "torch 2 " in text and "2 (one)" not in text


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    for tag, attributes in read(page).seen:
        assert tag not in ("iframe", "object", "embed", "img")
        assert tag != "script" or not attributes
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(key) or "#"
            assert value.startswith(("#", "data:image/svg+xml,", "data:text/csv;")), (tag, key, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert "default-src 'none'" in page


def test_the_page_runs_one_script_of_ours_and_the_browser_is_told_its_sum(page: str) -> None:
    (script,) = re.findall("<script>(.*?)</script>", page, flags=re.S)
    summed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{summed}'" in page and page.count("script-src") == 1
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML|https?:", script)


def test_links_inside_the_page_lead_somewhere(page: str) -> None:
    seen = read(page).seen
    ids = {a["id"] for _, a in seen if "id" in a}
    links = [str(a["href"])[1:] for tag, a in seen if tag == "a" and str(a["href"]).startswith("#")]
    assert "study-planted-classes" in links and "content" in links
    assert set(links) <= ids


def test_boxes_that_scroll_are_reached_by_keyboard_and_named(page: str) -> None:
    boxes = [a for tag, a in read(page).seen if tag == "div" and a.get("class") == "scroll"]
    assert len(boxes) > 5
    assert all(a.get("tabindex") == "0" and a.get("role") == "region" and a.get("aria-label") for a in boxes)


KEPT = {"kind", "run", "scale", "unit", "direction", "verdict", "key", "better", "experiment", "axis", "z"}
"""What is one of a few words, not anyone's text."""


def replace_texts(value: Any, text: str) -> Any:
    """The same content with every word that may be anyone's replaced."""
    if isinstance(value, Summary):
        return Summary.model_validate(replace_texts(value.model_dump(), text))
    if isinstance(value, Content):
        return Content(**{key: replace_texts(inner, text) for key, inner in vars(value).items()})
    if isinstance(value, dict):
        return {key: inner if key in KEPT else replace_texts(inner, text) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [replace_texts(inner, text) for inner in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("text", NASTY)
def test_hostile_text_is_text_everywhere(text: str) -> None:
    html = render_page(replace_texts(planted_content(), text))
    seen = read(html).seen
    assert not {tag for tag, _ in seen} & {"img", "iframe"} and [tag for tag, _ in seen].count("script") == 1
    assert not [key for _, attributes in seen for key in attributes if key.startswith("on")]
    assert "✗ 49" not in html
    for mark in "\u202e\u2066\u200f":
        assert mark not in html
    ids = [a["id"] for _, a in seen if "id" in a]
    assert len(ids) == len(set(ids))
    for svg in svgs_of(html):
        ET.fromstring(svg)


def test_mathtext_in_a_name_is_drawn_as_typed() -> None:
    html = render_page(replace_texts(planted_study(), '$x_1$ & "q"'))
    drawn = [t.text for svg in svgs_of(html) for t in ET.fromstring(svg).iter() if t.tag.endswith("text")]
    assert '$x_1$ & "q"' in drawn


def test_a_store_of_plain_runs_makes_a_page_of_runs() -> None:
    text = text_of(render_page(Content(runs=[planted_run(30)], command="layerlocal report")))
    assert "All 1 run, each with its command" in text and "layerlocal train --rule class-goodness --seed 10" in text
    assert '"temperature_max": 2.0' in text and "audit" not in text.lower() and "Claims" not in text
    assert "Hardware and versions: each run has its own, in its env.json" in text and "not recorded" not in text


def test_a_page_of_nothing_says_so() -> None:
    text = text_of(render_page(Content(summaries=[])))
    assert "Runs: not run. This runs it: Command layerlocal report" in text


def test_a_summary_alone_is_the_page_of_that_summary() -> None:
    summary = planted_parts()
    named = {"title": summary.title, "command": summary.command, "created": summary.created}
    assert render_page(summary) == render_page(Content(summaries=[summary], **named))


def test_a_summary_of_nothing_makes_a_page() -> None:
    read(render_page(Summary()))
    read(render_page(Content(summaries=[Summary(), Summary()])))


def test_a_study_without_a_finished_run_says_so_and_brings_its_command() -> None:
    study = planted_study(finished=0, figures=(), tables=(), rows=(), sentences=())
    text = text_of(render_page(study))
    assert "No run of this is finished yet." in text and "Command layerlocal study planted-classes" in text
    assert "Download" not in text


def test_studies_of_one_name_have_sections_of_their_own() -> None:
    html = render_page(Content(summaries=[planted_study(name, figures=()) for name in ("x !", "X?", "")]))
    sections = [a["id"] for tag, a in read(html).seen if tag == "section" and "study" in str(a.get("class"))]
    assert sections == ["study-x", "study-x-quick", "study"]


def test_a_claim_leads_to_the_size_of_the_study_that_it_was_judged_by() -> None:
    studies = [
        planted_study(figures=()),
        planted_study(figures=(), size="full"),
        planted_study(figures=(), size="full"),
    ]
    html = render_page(
        Content(summaries=studies, claims=[claim("P", "supported", size="full"), claim("Q", "not run", size=None)])
    )
    links = re.findall(r'data-label="size"><a href="#([^"]+)">', html)
    assert links == ["study-planted-classes-full-2"]  # the last of two alike
    assert "Does the gap grow with the number of classes? (…, full" in text_of(html)


def test_five_thousand_runs_are_all_in_one_valid_page(tmp_path: Path) -> None:
    specs = plant_store(tmp_path / "runs", 5000)
    records = RunStore(tmp_path / "runs").finished()
    rows = [run_row(record, options=False) for record in records]
    path = write_page(Content(runs=rows), tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    seen = read(html).seen
    assert {str(a["id"]) for tag, a in seen if tag == "tr" and "id" in a} == {f"run-{spec.hash}" for spec in specs}
    assert sum(tag == "table" for tag, _ in seen) == 20  # 250 rows each
    assert "All 5,000 runs" in text_of(html)
    assert path.stat().st_size < 5_000_000
    assert "print" not in next(str(a.get("class")) for tag, a in seen if tag == "details" and a.get("id") == "runs")


def test_of_more_runs_than_a_page_holds_those_that_it_speaks_of_are_listed_and_the_note_counts_all() -> None:
    rows = [{"run": f"{index:016x}", "rule": "ff"} for index in range(5003)]
    own = {"local": rows[-1]["run"], "bp": rows[-2]["run"]}
    study = planted_study(rows=(study_row(0, 2) | {"runs": own},))
    html = render_page(Content(summaries=[study], runs=rows))
    listed = {str(a["id"]) for tag, a in read(html).seen if tag == "tr" and str(a.get("id")).startswith("run-")}
    assert len(listed) == 5000 and {f"run-{name}" for name in own.values()} < listed
    assert f"run-{rows[4997]['run']}" in listed and f"run-{rows[4998]['run']}" not in listed
    assert "5,000 of 5,003 runs" in text_of(html) and "layerlocal.load_runs" in text_of(html)


def test_own_results_come_before_claims_judged_or_not() -> None:
    study = planted_study(seeds=(0, 1))
    html = render_page(Content(summaries=[study], claims=[claim("P1", "not run")]))
    assert html.index('id="study-planted-classes"') < html.index('id="claims"') < html.index('id="provenance"')
    assert "Two seeds only: the study planted-classes." in text_of(html) and "Give --seeds 3 or more" in text_of(html)
    judged = render_page(Content(summaries=[study], claims=[claim("P1", "supported"), claim("P2", "not run")]))
    assert judged.index('id="study-planted-classes"') < judged.index('id="claims"')


def test_a_figure_leads_to_the_runs_behind_it(page: str) -> None:
    assert f'<a href="#run-{20:016x}">' in page and f'<tr id="run-{20:016x}">' in page


def test_the_same_content_gives_the_same_bytes() -> None:
    assert render_page(planted_content()) == render_page(planted_content())


def test_write_page_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_page(Content(title="new", summaries=[]), path) == path
    assert "<title>new</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_page_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, layerlocal.report as r; r.render_page(r.Content()); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_long_count_stands_under_its_interval_and_a_short_one_beside_it():
    long, short = Cell("+0.8", "[−0.1, +1.6], n=3 + images"), Cell("+0.8", "[−0.1, +1.6], n=3")
    assert long.lines() == ["[−0.1, +1.6],", "n=3 + images"]
    assert short.lines() == ["[−0.1, +1.6], n=3"]
    assert short.lines(signs=12) == ["[−0.1, +1.6],", "n=3"]
    assert short.lines(signs=11) == ["[−0.1,", "+1.6],", "n=3"]
    assert (str(long), str(short)) == ("+0.8 [−0.1, +1.6], n=3 + images", "+0.8 [−0.1, +1.6], n=3")
