"""Numbers on the page on cost are those of results/."""

from __future__ import annotations

import json
import re

from documents import ROOT

COST = ROOT / "docs/cost.md"


def results(name):
    return json.loads((ROOT / f"results/{name}.json").read_text())


def test_the_rows_of_the_page_on_cost_are_rows_of_the_whole_table():
    rows = re.findall(
        r"^\| (`(?:bp|bp-deepsup|local-heads|class-goodness|committee), fused` \|.*)$", COST.read_text(), re.MULTILINE
    )
    whole = (ROOT / "results/trainer.md").read_text()
    assert len(rows) == 5 and all(f"| vgg8 1, 32 px, batch 32 | {row}\n" in whole for row in rows)


def test_the_points_of_the_page_on_cost_are_those_of_the_results():
    found, page = results("trainer"), COST.read_text()
    kept = {(row["method"], row["depth"]): row["peak_saved_bytes"] for row in found["depth"]}
    grown = [kept[method, 64] / kept[method, 4] for method in ("class-goodness, fused", "bp, fused")]
    assert f"`class-goodness` grow {grown[0]:.2f}×, those of `bp` {grown[1]:.1f}×" in page
    above = found["process"]["bytes_above_idle"]
    said = [f"{above[method] / 1e6:.0f} MB" for method in ("bp", "bp, fused", "class-goodness, fused")]
    assert "`bp` {}, fused `bp` {}, fused `class-goodness` {}".format(*said) in page
    ratios = [above["class-goodness, fused"] / above[method] for method in ("bp", "bp, fused")]
    assert "{:.2f}× and {:.2f}×".format(*ratios) in page
    loop = found["loop"]
    interval = f"[{loop['low']:.1f}, {loop['high']:+.1f}]".replace("-", "−")
    assert f"{loop['overhead_percent']:+.1f} % {interval} over the same steps by hand (n = {loop['n']} rounds)" in page


def test_where_the_page_on_cost_says_that_backprop_wins_it_does():
    rows = {row["label"]: row["resident_ratio"] for row in results("cost-quick")["groups"][0]["rows"]}
    whole = f"`class-goodness` on whole batches {rows['class-goodness']:.2f}×"
    said = f"8 parts needs {rows['bp micro-8']:.2f}× of plain BP's process memory, {whole}"
    assert said in COST.read_text() and rows["bp micro-8"] < rows["class-goodness"]
