"""Draw docs/report-annotated.png: a real report's page with numbered marks, which docs/report.md explains.

    python scripts/report_annotated.py

The page is that of results/audit-quick.json; the file says which numbers it shows, and a test holds it to them. Needs what
`report_picture.py` needs: chromium, chromium-driver, selenium.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

from report_picture import AUDIT, ROOT, browser, mark, save

from layerlocal.report import write_page
from layerlocal.summary import Summary

PICTURE = ROOT / "docs" / "report-annotated.png"
WIDTH, SCALE = 1080, 1.4
MARKS = [
    ("#audit .headline", "left"),
    *((f"table.verdict th:nth-child({column})", "above") for column in (2, 3, 5, 6, 7, 8, 10)),
    ("table.verdict tbody tr:nth-child(2) .words", "beside"),
    ("#audit-accuracy-beside-the-twins figure:nth-of-type(1) svg", "corner"),
    ("#audit-accuracy-beside-the-twins figure:nth-of-type(2) svg", "corner"),
    ("#audit-locality-certificates figure:nth-of-type(1) svg", "corner"),
    ("#audit-locality-certificates figure:nth-of-type(2) svg", "corner"),
]
"""What gets a number, in order, and where the number stands at it."""
DRAW = """
const [marks] = arguments;
document.querySelectorAll('#audit-locality-certificates > details').forEach(fold => { fold.open = true; });
document.querySelector('nav').style.position = 'static';
document.querySelector('table.verdict').style.marginTop = '28px';
document.querySelector('main, body').style.paddingLeft = '32px';
marks.forEach(([selector, side], index) => {
  const found = document.querySelector(selector);
  if (!found) throw new Error('nothing is ' + selector);
  const r = found.getBoundingClientRect(), dot = document.createElement('div');
  const left = {left: r.left - 26, above: r.left, beside: r.right + 8, corner: r.right - 30}[side];
  const top = r.top + window.scrollY + {left: 8, above: -26, beside: -2, corner: 8}[side];
  dot.textContent = index + 1;
  dot.style.cssText = 'position:absolute;z-index:9;width:22px;height:22px;border-radius:11px;text-align:center;color:#fff;' +
    'background:#b3005e;font:700 13px/22px Helvetica,Arial,sans-serif;left:' + left + 'px;top:' + top + 'px';
  document.body.append(dot);
});
const box = (first, last) => {
  const top = first.getBoundingClientRect().top + window.scrollY;
  return [top - 12, last.getBoundingClientRect().bottom + window.scrollY + 12];
};
const figures = (part) => document.querySelectorAll('#audit-' + part + ' figure');
const [gap, steps] = figures('accuracy-beside-the-twins'), [local, twin] = figures('locality-certificates');
return [box(document.querySelector('#audit .headline'), document.querySelector('table.verdict')), box(gap, gap.querySelector('.panels')),
        box(local, twin)];"""
"""Puts the numbers onto the page and says where its three parts are: verdict, first figure, two certificates."""


def photograph(driver, page: Path):
    """The three parts, one under the other."""
    from PIL import Image

    size = {"width": WIDTH, "height": 900, "deviceScaleFactor": SCALE, "mobile": False}
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())
    parts = []
    for top, bottom in driver.execute_script(DRAW, MARKS):
        clip = {"x": 0, "y": round(top), "width": WIDTH, "height": round(bottom - top), "scale": 1}
        found = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        parts.append(Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB"))
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)))
    for number, part in enumerate(parts):
        whole.paste(part, (0, sum(before.height for before in parts[:number])))
    return whole


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(Summary.model_validate_json(AUDIT.read_text()), Path(folder) / "report.html")
        driver = browser(folder)
        try:
            save(photograph(driver, page), PICTURE, mark(AUDIT))
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
