"""Photograph the top of a report's page, light and dark, for the README.

    python scripts/report_picture.py                        # the page of results/audit-quick.json
    python scripts/report_picture.py runs/experiments/audit-quick/summary.json      # the page of an audit of your own

Writes docs/report-light.png and docs/report-dark.png: its headline with the table under it, and its first figure. Needs the packages chromium
and chromium-driver and the Python package selenium (extra dev). The files name the runs that they show; a test holds them to results/.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import tempfile
from pathlib import Path

from layerlocal.report import write_page
from layerlocal.summary import Summary

ROOT = Path(__file__).resolve().parents[1]
AUDIT = ROOT / "results" / "audit-quick.json"
PICTURES = {scheme: ROOT / "docs" / f"report-{scheme}.png" for scheme in ("light", "dark")}
WIDTH, SCALE, COLOURS = 1080, 1.4, 128
PARTS = """
const box = (first, last, after) => {
  const top = first.getBoundingClientRect().top + window.scrollY;
  return [top - 12, last.getBoundingClientRect().bottom + window.scrollY + after];
};
const headline = document.querySelector('#audit .headline');
const figures = document.querySelectorAll('#audit-accuracy-beside-the-twins figure .panels');
return [box(headline, document.querySelector('table.verdict'), 12), box(figures[0], figures[0], 0)];"""
"""From the headline to the end of the table, and the first two figures; what lies between is left out."""


def mark(summary: Path) -> str:
    """What a picture says of the numbers that it shows: a hash of the audit's first table, whatever else the file holds."""
    table = json.loads(summary.read_text())["tables"][0]
    return hashlib.sha256(json.dumps(table["rows"], sort_keys=True).encode()).hexdigest()


def browser(folder: str):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/browser",
    ):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path="/usr/bin/chromedriver"))


def photograph(driver, page: Path, scheme: str):
    """The parts of the page, one under the other."""
    from PIL import Image

    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": WIDTH, "height": 900, "deviceScaleFactor": SCALE, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())
    parts = []
    for top, bottom in driver.execute_script(PARTS):
        clip = {"x": 0, "y": round(top), "width": WIDTH, "height": round(bottom - top), "scale": 1}
        found = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        parts.append(Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB"))
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)))
    for number, part in enumerate(parts):
        whole.paste(part, (0, sum(before.height for before in parts[:number])))
    return whole


def save(picture, path: Path, shows: str) -> None:
    """In few colours, with the hash of what it shows in it."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("shows", shows)
    picture.quantize(COLOURS, dither=0).save(path, optimize=True, pnginfo=info)
    print(f"{path.relative_to(ROOT)}: {picture.width}×{picture.height}, {path.stat().st_size / 1000:.0f} kB")


def main(summary: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(Summary.model_validate_json(summary.read_text()), Path(folder) / "report.html")
        driver = browser(folder)
        try:
            for scheme, path in PICTURES.items():
                save(photograph(driver, page, scheme), path, mark(summary))
        finally:
            driver.quit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summary", type=Path, nargs="?", default=AUDIT, help="of an audit; default: the published one")
    main(parser.parse_args().summary)
