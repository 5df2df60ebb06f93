"""The public table: what is claimed beside what is measured, on pages that hold together; hostile text is text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layerlocal.claims.foreign import load_foreign
from layerlocal.report import Content, render_page
from layerlocal.report.site import Site, render_site, write_site
from layerlocal.report.site.field import costs_of, entries_of, headline_words, link_of, price_figure, standing
from layerlocal.summary import Quantity, Summary
from layerlocal.types import InputError
from pages import HOSTILE, read, text_of
from planted_figures import estimate, matrix_figure
from planted_summaries import accuracy_row, claim, planted_content, planted_study

ROW = accuracy_row(
    rule="class-goodness", source="arXiv:2606.06539", text="98.1 %", reported_bp=0.985, difference=-0.0085, n=3, study="accuracy",
    status="measured", price_of_locality=estimate(-0.02, 0.005), objective=None, extra_supervision=estimate(0.01, 0.02), headroom=0.004,
    our_protocol="cnn4, 3 epochs", measured_bp=estimate(0.98, 0.001), command="layerlocal study accuracy",
)  # fmt: skip
UNMEASURED = accuracy_row(
    method="Trifecta", rule=None, measured=None, text="83.5 %", reason="We have no such rule.", n=0
)
OWN = {
    **ROW,
    "method": "my-rule",
    "rule": "my-rule",
    "source": "",
    "reported": None,
    "text": "",
    "difference": None,
    "headroom": None,
}
FOREIGN = {
    "name": "Planted/repo", "url": "https://github.com/planted/repo", "commit": "a" * 40, "file": "train.py", "line": 12, "says": "local",
    "locality": "global", "saved_bytes": "1.02×", "flops": "1.00×", "verdict": "not local", "words": "kind words",
    "command": "layerlocal certify x.py:f",
}  # fmt: skip


def planted_site(**changes: Any) -> Site:
    content = planted_content(accuracies=[ROW, UNMEASURED, OWN])
    whole = Site(
        content=content,
        rules=[
            {
                "name": "class-goodness",
                "what": "planted words",
                "locality": "locality block",
                "references": "arXiv:2606.06539",
            }
        ],
        certificates={"class-goodness": matrix_figure()},
        foreign=[FOREIGN],
        stores=["planted"],
    )
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return render_site(planted_site())


def html_of(files: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if name.endswith(".html")}


@pytest.fixture(scope="module")
def pages(files: dict[str, str]) -> dict[str, str]:
    return html_of(files)


def test_there_is_an_index_a_page_a_rule_and_a_page_a_claim_and_one_style_and_script_for_all(
    files: dict[str, str],
) -> None:
    assert sorted(files) == [
        "claims/p1.html", "claims/p2.html", "claims/p3.html", "claims/p4.html", "index.html",
        "page.css", "page.js", "rules/class-goodness.html", "rules/my-rule.html",
    ]  # fmt: skip


def test_every_link_leads_to_a_page_a_place_or_a_source(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        seen = read(html).seen
        ids = {a["id"] for _, a in seen if "id" in a}
        assert len(ids) == sum("id" in a for _, a in seen)
        for _, attributes in ((tag, a) for tag, a in seen if tag == "a"):
            href = str(attributes["href"])
            if href.startswith("https://"):
                continue
            path, _, place = href.partition("#")
            target = (Path(name).parent / path).as_posix() if path else name
            target = str(Path(target.replace("claims/../", "").replace("rules/../", "")))
            assert target in pages, (name, href)
            assert not place or f'id="{place}"' in pages[target], (name, href)


def test_pages_ask_for_nothing_from_elsewhere(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        up = "../" * name.count("/")
        assert re.findall(r"<(?:script|link|img)[^>]*?(?:src|href)=\"(?!data:)([^\"]*)", html) == [
            f"{up}page.css",
            f"{up}page.js",
        ]
        assert "default-src 'none'" in html and "<script>" not in html and "<style" not in html


def test_a_row_says_claimed_measured_price_headroom_and_how(pages: dict[str, str]) -> None:
    words = text_of(pages["index.html"])
    row = words[words.index("planted method A arXiv:2606.06539") :]
    row = row[: row.index("1 published, not measured here")]
    for said in (
        "98.1 % BP 98.50 %", "97.2 % [97.0, 97.5], n=3 quick", "−2.0 pp [−2.5, −1.5] below", "+0.4 pp",
        "measured − claimed −0.9 pp", "Measured: cnn4, 3 epochs (study accuracy, quick).", "Our BP: 98.0 %", "layerlocal study accuracy",
        "Claimed: smaller network; fewer epochs",
    ):  # fmt: skip
        assert said in row, said
    assert "1 published, not measured here" in words and "We have no such rule." in words


def test_locality_is_what_all_runs_of_a_rule_were_measured_to_be() -> None:
    runs = [{"rule": "x", "certified": True, "locality": "block"}] * 2 + [
        {"rule": "bp", "twin_of": "x", "certified": True, "locality": "global"}
    ]
    good = planted_site(content=Content(runs=runs))
    assert good.locality == {"x": ("✓ block", "2 runs")}
    bad = planted_site(content=Content(runs=[*runs, {"rule": "x", "certified": False, "locality": "global"}]))
    assert bad.locality == {"x": ("✗ global", "1 run")}


def test_the_caveat_that_decides_comes_before_any_number_of_the_table(pages: dict[str, str]) -> None:
    words = text_of(pages["index.html"])
    assert words.index("On 1 of 2 rows with a measurement backprop is known to be trained") < words.index(
        "Every method"
    )
    assert (
        "The price of locality was measured 2 times: below 0 in 2, above 0 in 0, not told apart from 0 in 0." in words
    )
    assert "Of 2 published accuracies 1 stand" in words


def test_what_rows_say_together() -> None:
    assert standing([ROW, UNMEASURED, OWN]) == {"published": 2, "measured": 2, "beside": 1, "trained": 1}
    assert headline_words([UNMEASURED]) == ["Of 1 published accuracies none is measured here yet."]


def test_two_published_accuracies_of_one_rule_are_one_mark_in_the_figure() -> None:
    figure = price_figure([ROW, {**ROW, "method": "another name"}, OWN])
    assert figure is not None
    assert [(s.panel, [p.y for p in s.points]) for s in figure.series] == [
        ("planted-data", ["class-goodness", "my-rule"])
    ]
    assert price_figure([UNMEASURED]) is None


def test_measured_rows_come_first_and_unmeasured_ones_say_why() -> None:
    assert [entry.status for entry in entries_of([UNMEASURED, ROW])] == ["measured", "not run"]
    assert entries_of([UNMEASURED])[0].how[-1] == "We have no such rule."


@pytest.mark.parametrize(
    ("source", "href"),
    [
        ("arXiv:2606.06539", "https://arxiv.org/abs/2606.06539"),
        ("https://frasgreen.com", "https://frasgreen.com"),
        ("ICLR 2025", ""),
        ("javascript:alert(1)", ""),
        ("arXiv:<script>", ""),
        ("https://x y", ""),
    ],
)
def test_only_an_arxiv_number_or_an_address_is_a_link(source: str, href: str) -> None:
    assert link_of(source) == href


def test_costs_are_medians_of_the_cost_audit() -> None:
    quantities = {
        "memory_against_bp": Quantity(
            what="memory of x ÷ bp: vgg8", unit="×", of="processes", values={"0": 0.5, "1": 0.7, "2": 0.6}
        ),
        "speed_against_bp": Quantity(
            what="samples/s of x ÷ bp: vgg8", unit="×", of="rounds", values={"0": 1.0, "1": 2.0}
        ),
    }
    found = costs_of(
        [Summary(experiment="cost", name="cost", size="quick", quantities={"x": quantities}, command="layerlocal cost")]
    )
    assert (found["x"].memory, found["x"].speed, found["x"].micro_speed, found["x"].what) == (
        "0.60×",
        "1.50×",
        "–",
        "vgg8",
    )


def test_a_rules_page_has_its_words_terms_certificate_and_claims(pages: dict[str, str]) -> None:
    words = text_of(pages["rules/class-goodness.html"])
    for said in (
        "planted words",
        "arXiv:2606.06539",
        "extra supervision: DeepSup − BP",
        "Locality certificate",
        "✓ supported P1",
        "layerlocal check class-goodness",
    ):
        assert said in words, said
    assert "Cost: not run. This runs it: Command layerlocal cost --rules class-goodness" in words


def test_a_claims_page_has_verdict_reason_bound_and_how(pages: dict[str, str]) -> None:
    words = text_of(pages["claims/p1.html"])
    for said in (
        "A planted sentence that is supported.", "Verdict: ✓ supported", "The mean over 3 seeds is shown to lie where it lies.",
        "about −2.1 points", "−8.0 pp", "smallest effect that counts", "supported if shown to lie below −1 pp", "10 epochs instead of 200",
    ):  # fmt: skip
        assert said in words, said


def test_the_same_statement_about_other_rules_is_a_click_away() -> None:
    content = planted_content(claims=[claim("P1", "supported"), claim("P1@ff", "contradicted", rule="ff")])
    pages = render_site(planted_site(content=content))
    assert 'href="p1-ff.html"' in pages["claims/p1.html"] and 'href="p1.html"' in pages["claims/p1-ff.html"]


def test_names_of_pages_are_plain_and_never_collide() -> None:
    content = planted_content(
        claims=[
            claim("P1", "supported"),
            claim("p1", "supported"),
            claim("../../etc", "supported"),
            claim("日本", "supported"),
        ],
        accuracies=[{**ROW, "rule": "a/b.py:Rule"}, {**ROW, "rule": "A/b.py:rule"}],
    )
    pages = render_site(planted_site(content=content, rules=[]))
    assert {name for name in pages if name.startswith("claims/")} == {
        "claims/p1.html", "claims/p1-2.html", "claims/etc.html", "claims/page.html",
    }  # fmt: skip
    assert {"rules/a-b-py-rule.html", "rules/a-b-py-rule-2.html"} <= {*pages}


@pytest.mark.parametrize("text", HOSTILE[:2])
def test_hostile_text_is_text_on_every_page(text: str) -> None:
    bad = {key: text if isinstance(value, str) else value for key, value in ROW.items()}
    content = planted_content(
        title=text,
        claims=[claim(text, "supported", sentence=text, source=text, rule=text)],
        accuracies=[bad],
        command=text,
    )
    site = planted_site(
        content=content, rules=[{"name": text, "what": text, "references": text}], foreign=[{**FOREIGN, "words": text}]
    )
    for html in html_of(render_site(site)).values():
        assert [tag for tag, _ in read(html).seen].count("script") == 1
        assert "<script>alert" not in html and "✗ 49" not in html


def test_a_site_of_nothing_measured_says_so() -> None:
    pages = render_site(Site(content=Content(title="empty", accuracies=[UNMEASURED])))
    assert "Nothing is measured yet." in text_of(pages["index.html"]) and "No claim is judged yet." in text_of(
        pages["index.html"]
    )


def test_pages_are_written_whole_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    written = write_site(planted_site(), tmp_path)
    assert written[0] == tmp_path / "index.html" and all(path.exists() for path in written)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "claims",
        "index.html",
        "mine.txt",
        "page.css",
        "page.js",
        "rules",
    ]
    with pytest.raises(InputError, match="cannot be made a folder"):
        write_site(planted_site(), tmp_path / "mine.txt")


def test_code_of_others_is_listed_with_what_makes_it_again(pages: dict[str, str]) -> None:
    words = text_of(pages["index.html"])
    assert (
        "Planted/repo train.py, line 12 commit aaaaaaaaaaaa" in words
        and "kind words layerlocal certify x.py:f" in words
    )


def test_our_own_list_of_certified_code_can_be_read() -> None:
    assert all(entry.view()["url"].startswith("https://") for entry in load_foreign())


def test_own_rules_are_called_by_their_own_names_and_stand_whole_in_commands_and_rows() -> None:
    long = "examples/my_rule.py:LogisticMargin"
    study = planted_study(
        rules=(long, "ff"),
        sentences=(f"{long} is below BP.",),
        command=f"layerlocal study x --rules {long}",
        rows=({"rule": long},),
    )
    html = render_page(study)
    assert "LogisticMargin is below BP." in text_of(html)
    assert (
        f"layerlocal study x --rules {long}" in html
        and "examples%2Fmy_rule.py" not in html.partition("data:text/csv")[0]
    )
    assert long.replace("/", "/") in html[html.index("data:text/csv") :]
    by_file = text_of(render_page(planted_study(rules=(long,), sentences=("my_rule.py:LogisticMargin is above.",))))
    assert "LogisticMargin is above." in by_file and "my_rule.py:LogisticMargin is" not in by_file
    two = planted_study(rules=("a/one.py:Rule", "b/two.py:Rule"), sentences=("a/one.py:Rule and b/two.py:Rule",))
    assert "one.py:Rule and two.py:Rule" in text_of(render_page(two))
