"""The page in a real browser: nothing on the console, every figure visible, light and dark, desk and phone, paper."""

from __future__ import annotations

import base64
import csv
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerlocal.experiments.studies.language import SHOWN
from layerlocal.experiments.studies.parts import COLUMNS
from layerlocal.report import write_page
from layerlocal.report.site import write_site
from layerlocal.summary import Column, Table
from planted_figures import estimate, heat_figure, matrix_figure
from planted_summaries import accuracy_row, large_summary, planted_content, planted_parts, planted_study, run_row

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
pytestmark = pytest.mark.skipif(
    not (os.path.exists(CHROMIUM) and os.path.exists(DRIVER)),
    reason="needs the Debian packages chromium and chromium-driver",
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
VIEWS = [("light", 1200), ("dark", 1200), ("light", 375), ("dark", 375)]
FIGURES = """
return [...document.querySelectorAll('svg[role=img]')].map(s => {
  const r = s.getBoundingClientRect();
  return [s.id, r.width, r.height, r.left, r.right, s.checkVisibility(), getComputedStyle(s).color];
});"""
CUT = """
return [...document.querySelectorAll('svg[role=img]')].flatMap(s => {
  const box = s.getBoundingClientRect();
  return [...s.querySelectorAll('text')].filter(t => {
    const r = t.getBoundingClientRect();
    const beside = r.left < box.left - 3 || r.right > box.right + 3;
    return r.width && (beside || r.top < box.top - 3 || r.bottom > box.bottom + 3);
  }).map(t => s.id + ': ' + t.textContent);
});"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    runs = [run_row(i) for i in range(20, 400)]
    wide = planted_study(
        "wide", title="w" * 200, figures=(heat_figure(16),), sentences=("x" * 300,), question="y" * 300
    )
    pages = {
        "small": planted_content(summaries=[planted_parts()], claims=[], accuracies=[]),
        "large": planted_content(summaries=[large_summary()], claims=[]),
        "whole": planted_content(summaries=[planted_parts(), planted_study(), wide], runs=runs),
        "studies": planted_content(summaries=[planted_study(), wide], runs=runs),
    }
    return {name: write_page(content, folder / f"{name}.html") for name, content in pages.items()}


def show(browser: Any, path: Path, scheme: str, width: int) -> None:
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


def brightness(colour: str) -> float:
    return sum(float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


FIGURE_COUNT = {"small": 6, "large": 8, "studies": 6}


@pytest.mark.parametrize("name", FIGURE_COUNT)
@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_every_figure_is_visible_and_nothing_overflows(
    browser: Any, pages: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    show(browser, pages[name], scheme, width)
    assert browser.get_log("browser") == []
    figures = browser.execute_script(FIGURES)
    assert len(figures) == FIGURE_COUNT[name]
    for figure, wide, high, left, right, visible, colour in figures:
        assert visible and wide > 250 and high > 40, figure
        assert left >= 0 and (right <= width or "wide" in figure or "grid" in figure), (
            figure
        )  # a wide one scrolls in its box
        assert (brightness(colour) > 180) == (scheme == "dark"), figure
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    assert (brightness(paper) < 60) == (scheme == "dark")
    assert browser.execute_script(CUT) == []


SCROLLING = """
return [...document.querySelectorAll('.study .scroll')].filter(s => s.scrollWidth > s.clientWidth).map(s => s.getAttribute('aria-label'));"""
SIZES = "return [...new Set([...document.querySelectorAll('.study td, .study td strong')].map(t => getComputedStyle(t).fontSize))]"


def wide_table(caption: str, labels: dict[str, Any], shown: Any, about: float) -> Table:
    """PLANTED: three rows of means ± 2 ``about`` with two seeds, as of a study with its controls."""
    columns = (
        *(Column(key=key, label=key) for key in labels),
        *(Column(key=key, label=label, kind=kind) for key, label, kind in shown),
    )
    found = {"mean": -about, "low": -3 * about, "high": about, "n": 2, "values": [-2 * about, 0.0]}
    return Table(
        caption=caption, columns=columns, rows=(labels | dict.fromkeys((key for key, *_ in shown), found),) * 3
    )


@pytest.mark.parametrize("width", [1280, 1200, 375])
def test_tables_of_studies_with_controls_and_of_language_fit_a_window_of_1280_pixels_in_the_letters_of_others(
    browser: Any, tmp_path: Path, width: int
) -> None:
    factors = {"rule": "class-goodness", "images": "10 k", "× usual": "0.125"}
    places = {"rule": "class-goodness", "training bytes a parameter": 0.25, "width": 0.125, "segments": 6}
    tables = (
        wide_table("controls", factors, COLUMNS, 0.061),
        wide_table("long intervals", factors, COLUMNS, 0.45),
        wide_table("language", places, SHOWN, 0.12),
        wide_table("narrow", {"rule": "class-goodness"}, COLUMNS[:3], 0.061),
    )
    path = write_page(planted_content(summaries=[planted_study(tables=tables)], claims=[]), tmp_path / "page.html")
    show(browser, path, "light", width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(browser.execute_script(SIZES)) == 1
    if width == 1280:
        assert browser.execute_script(SCROLLING) == []


def test_run_links_and_details_open_without_script(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["small"], "light", 1200)
    table = "document.querySelector('#runs tbody tr')"
    assert not browser.execute_script(f"return {table}.checkVisibility()")
    browser.find_element("css selector", "#runs > summary").click()
    assert browser.execute_script(f"return {table}.checkVisibility()")
    assert browser.get_log("browser") == []


def test_page_prints_to_pdf_in_light_colours(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["small"], "dark", 1200)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert brightness(ink) < 60
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000


OPEN_ALL = "for (const d of document.querySelectorAll('details')) d.open = true;"
CROWDED = """
return [...document.querySelectorAll('svg[role=img]')].flatMap(s => {
  const boxes = [...s.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 2 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3
  ).map(([b]) => `${s.id}: ${a} / ${b}`));
});"""


@pytest.mark.parametrize("width", [375, 1200])
def test_a_page_with_everything_open_scrolls_in_its_boxes_and_never_sideways(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    show(browser, pages["whole"], "light", width)
    browser.execute_script(OPEN_ALL)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def test_words_in_the_figures_of_studies_do_not_lie_on_each_other(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["studies"], "light", 1200)
    assert browser.execute_script(CROWDED) == []


def test_the_link_downloads_the_rows(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    show(browser, pages["studies"], "light", 1200)
    browser.find_element("css selector", "a[download]").click()
    path = tmp_path / "study-planted-classes.csv"
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 6 and rows[0]["gap"] == "-0.125"
    assert browser.get_log("browser") == []


def test_the_keyboard_reaches_skip_link_navigation_details_and_boxes(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["studies"], "light", 1200)
    seen = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(
            browser.execute_script(
                "const e = document.activeElement; return [e.tagName, e.className, e.textContent.trim()]"
            )
        )
    assert seen[0] == ["A", "skip", "Skip to the content"]
    kinds = {(tag, name) for tag, name, _ in seen}
    assert {("A", ""), ("SUMMARY", ""), ("DIV", "scroll")} <= kinds
    assert any(text.startswith("Download the 6 rows") for _, _, text in seen)


def test_a_link_to_a_run_opens_the_table_of_runs(browser: Any, pages: dict[str, Path]) -> None:
    browser.get("about:blank")
    browser.get(f"{pages['studies'].as_uri()}#run-{399:016x}")
    assert browser.execute_script("return document.querySelector('#runs').open")
    top = browser.execute_script(f"return document.getElementById('run-{399:016x}').getBoundingClientRect().top")
    assert 0 <= top <= 900


def test_a_printed_page_has_the_text_of_what_is_folded_and_not_hundreds_of_runs(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    show(browser, pages["whole"], "dark", 1200)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    (tmp_path / "page.pdf").write_bytes(pdf)
    count = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 6 <= count <= 25
    if not shutil.which("pdftotext"):
        pytest.skip("needs pdftotext (Debian package poppler-utils) to read the text")
    found = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
    )
    text = re.sub(r"\s+", " ", found.stdout)
    for said in (
        "Of 4 claims, 1 is supported",
        "planted reason for the smallest effect",
        "NaN in the loss of block1",
        "The planted gap is −8.0 pp at 16 classes.",
    ):
        assert said in text, said
    assert "Skip to the content" not in text and "Download the" not in text


def test_no_figure_is_cut_across_printed_pages(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["whole"], "light", 1200)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    rules = "return [...document.querySelectorAll('svg[role=img]')].map(s => getComputedStyle(s.closest('.panel')).breakInside)"
    found = browser.execute_script(rules)
    assert len(found) == 12 and set(found) == {"avoid"}


# --- what the script adds, and the public table -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from layerlocal.report.site import Site

    folder = tmp_path_factory.mktemp("site")
    rows = [
        accuracy_row(
            method=f"method {i}", rule=f"rule-{i}", data=("a", "b")[i % 2], text=f"{90 + i} %", n=3, headroom=0.02, source="arXiv:2606.06539",
            measured=estimate(0.5 + 0.01 * (7 * i % 10), 0.01), price_of_locality=estimate(-0.01 * (i - 3), 0.004),
        )
        for i in range(12)
    ]  # fmt: skip
    content = planted_content(accuracies=[*rows, accuracy_row(measured=None)])
    whole = Site(content=content, certificates={"rule-1": matrix_figure()}, stores=["planted"])
    return {path.relative_to(folder).as_posix(): path for path in write_site(whole, folder)}


@pytest.mark.parametrize("name", ["index.html", "rules/rule-1.html", "claims/p1.html"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_pages_of_the_public_table_hold_on_a_desk_and_on_a_phone(
    browser: Any, site: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    show(browser, site[name], scheme, width)
    browser.execute_script(OPEN_ALL)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(LOW_CONTRAST) == []
    assert all(visible and wide > 250 for _, wide, _, _, _, visible, _ in browser.execute_script(FIGURES))


LOW_CONTRAST = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = (e) => {
  for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; }
  return 'rgb(255,255,255)';
};
return [...document.querySelectorAll('main *, nav *, header *, footer *')].filter(e =>
  [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && !e.closest('svg') && e.checkVisibility()
).filter(e => {
  const [a, b] = [light(getComputedStyle(e).color), light(paper(e))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05) < 4.5;
}).map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.trim().slice(0, 30));"""


def column(browser: Any, index: int) -> list[str]:
    """The words of one column of the first table of methods, as they stand."""
    script = (
        "return [...document.querySelectorAll('#methods table')[0].tBodies].filter(b => !b.hidden)"
        ".map(b => b.rows[0].children[arguments[0]].textContent.trim())"
    )
    return [text.split()[0] if text else "" for text in browser.execute_script(script, index)]


def test_a_head_sorts_rows_up_and_down_and_says_so(browser: Any, site: dict[str, Path]) -> None:
    show(browser, site["index.html"], "light", 1280)
    head = "#methods table th:nth-child(5)"
    browser.find_element("css selector", f"{head} button").click()
    falling = [float(text) for text in column(browser, 4)]
    assert falling == sorted(falling, reverse=True) and len(falling) == 12
    assert browser.find_element("css selector", head).get_attribute("aria-sort") == "descending"
    browser.find_element("css selector", f"{head} button").click()
    assert [float(text) for text in column(browser, 4)] == falling[::-1]
    browser.find_element("css selector", "#methods table th:nth-child(6) button").click()  # − is a minus, + a sign
    prices = [float(text.replace("−", "-")) for text in column(browser, 5)]
    assert prices == sorted(prices, reverse=True) and prices[0] > 0 > prices[-1]
    under = "return [...document.querySelectorAll('#methods table')[0].tBodies].every(b => b.rows[1].classList.contains('under'))"
    assert browser.execute_script(under)


def test_rows_are_found_by_words_and_chosen_by_column(browser: Any, site: dict[str, Path]) -> None:
    show(browser, site["index.html"], "light", 1280)
    form = browser.find_element("css selector", "#methods form.filters")
    form.find_element("css selector", "input").send_keys("METHOD rule-1")
    assert sorted(column(browser, 1)) == ["rule-1", "rule-10", "rule-11"]
    assert form.find_element("css selector", "output").text == "3 of 12 rows"
    data = form.find_elements("css selector", "select")[1]
    data.send_keys("b")
    assert set(column(browser, 2)) == {"b"} and form.find_element("css selector", "output").text == "2 of 12 rows"
    assert browser.get_log("browser") == []


def test_a_command_is_copied_by_a_button(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["studies"], "light", 1200)
    origin = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", origin)
    button = browser.find_element("css selector", ".command .copy")
    code = browser.find_element("css selector", ".command code").text
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    deadline = time.monotonic() + 20
    while button.text != "Copied" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert button.text == "Copied" and button.get_attribute("aria-label").startswith("Copy layerlocal")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (e) => done(String(e)))"
    assert browser.execute_async_script(read) == code


def test_without_scripts_every_word_is_there_and_nothing_is_offered_that_does_nothing(
    browser: Any, site: dict[str, Path]
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, site["index.html"], "light", 1280)
        assert browser.find_elements("css selector", "button, input, select") == []
        assert len(browser.find_elements("css selector", "#methods table tbody")) == 13
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_contents_stay_in_sight(browser: Any, site: dict[str, Path]) -> None:
    show(browser, site["index.html"], "light", 1280)
    browser.execute_script("document.querySelector('#provenance').scrollIntoView()")
    assert abs(browser.execute_script("return document.querySelector('nav').getBoundingClientRect().top")) < 1
