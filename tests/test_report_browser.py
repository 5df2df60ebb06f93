"""The page in a real browser: nothing on the console, every figure visible, light and dark, desk and phone, paper."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerlocal.report import write_page
from test_report_planted import locality_entry, planted_summary

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
VIEWS = [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)]
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
    small, large = planted_summary(), planted_summary(rules=8, depth=16, runs=30)
    large["locality"].append(locality_entry("leaky-with-a-long-name.py:Rule", depth=16, leak=True))
    large["failed"] = [{"label": "ff seed 3", "reason": "NaN in the loss of block2 at step 17 " * 9}]
    large["environment"]["very-long"] = "x" * 300
    both = {"small": small, "large": large}
    return {name: write_page(summary, folder / f"{name}.html") for name, summary in both.items()}


def show(browser: Any, path: Path, scheme: str, width: int) -> None:
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


def brightness(colour: str) -> float:
    return sum(float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_every_figure_is_visible_and_nothing_overflows(
    browser: Any, pages: dict[str, Path], name: str, scheme: str, width: int
) -> None:
    show(browser, pages[name], scheme, width)
    assert browser.get_log("browser") == []
    figures = browser.execute_script(FIGURES)
    assert len(figures) == (15 if name == "small" else 26)
    for figure, wide, high, left, right, visible, colour in figures:
        assert visible and wide > 250 and high > 40, figure
        assert left >= 0 and right <= width, figure
        assert (brightness(colour) > 180) == (scheme == "dark"), figure
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    assert (brightness(paper) < 60) == (scheme == "dark")
    assert browser.execute_script(CUT) == []


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
