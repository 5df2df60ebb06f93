"""Numbers in the prose of docs/ are those of results/."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from documents import ROOT
from layerlocal.stats import estimate
from layerlocal.summary import Summary
from layerlocal.words import difference

FINDINGS, START, STUDIES = (ROOT / f"docs/{page}.md" for page in ("findings", "start", "studies"))


def results(name):
    return json.loads((ROOT / f"results/{name}.json").read_text())


def study(name, quantity):
    """A quantity's estimate over the seeds of a study of `class-goodness`."""
    values = results(f"study-{name}")["quantities"]["class-goodness"][quantity]["values"]
    return estimate(list(values.values()))


def protocol(rule):
    [row] = [row for row in results("cpu_protocol")["rows"] if (row["task"], row["rule"]) == ("cifar10", rule)]
    return row["price_of_locality"]


def one_cell():
    [row] = [row for row in results("readout_grid")["rows"] if row["grid"] == 1]
    return row["gap"]


def speed():
    """Of fused `class-goodness` on the wide vgg8 over fused backprop: median [quartiles]."""
    [row] = [
        row
        for row in results("trainer")["speed"]
        if (row["network"], row["width"], row["method"]) == ("vgg8", 1.0, "class-goodness, fused")
    ]
    return row["ratio to bp, fused"]


TEN = [
    (lambda: study("classes-medium", "gap_slope/synthetic"), "study-classes-medium"),
    (lambda: study("classes-medium", "extra_slope/synthetic"), "study-classes-medium"),
    (lambda: study("classes-medium", "dimension_effect"), "study-classes-medium"),
    (lambda: study("depth-medium", "depth_slope"), "study-depth-medium"),
    (lambda: protocol("class-goodness"), "cpu_protocol"),
    (lambda: protocol("committee"), "cpu_protocol"),
    (one_cell, "readout_grid"),
    (lambda: study("ablation-quick", "effect/fusion/cifar10"), "study-ablation-quick"),
    (lambda: study("ablation-quick", "effect/temperature/cifar100"), "study-ablation-quick"),
]


@pytest.mark.parametrize("number", range(1, len(TEN) + 1))
def test_each_of_the_first_findings_is_a_number_of_its_file_that_its_seeds_tell_from_zero(number):
    found, file = TEN[number - 1]
    line = re.search(rf"^{number}\. .*?(?=^\d+\. |\n\n)", FINDINGS.read_text(), re.MULTILINE | re.DOTALL)[0]
    value = found()
    mean, interval = difference(value, bare=True).split(" ", 1)
    assert f"{mean} pp {interval}" in line and f"(../results/{file}.json)" in line
    assert value["n"] == 3 and value["low"] * value["high"] > 0


def test_the_last_finding_is_the_speed_of_the_results():
    ratio = speed()
    said = f"{ratio['median']:.2f}× [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    assert f"10. **A local step can be faster.** `class-goodness` trains at {said}" in FINDINGS.read_text()


def swept(summary, arm, key):
    """Number of classes → a column of the audit's class sweep by seed."""
    rows = [row for row in summary.rows if row["arm"] == arm]
    return {k: [row[key] for row in rows if row["classes"] == k] for k in dict.fromkeys(row["classes"] for row in rows)}


def test_the_audit_of_the_findings_and_of_the_first_page_is_that_of_the_results(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    from readme_figure import lines

    summary, page = Summary.model_validate(results("audit-quick")), FINDINGS.read_text()
    assert "\n".join(lines(summary)) in page
    environment = summary.environment
    assert f"commit `{environment['commit']}`, {environment['processor']} ({environment['instructions']})" in page
    for kind in ("synthetic", "real"):
        at = (f"{100 * np.mean(gaps):+.1f} at K={k}" for k, gaps in swept(summary, kind, "gap").items())
        assert ", ".join(at) in page
    for row in lines(summary):
        rule, *_, gap, extra, price = (cell.strip() for cell in row.strip("|").split("|"))
        assert rule == "`local-heads`" or f"| {rule} | {gap} | {extra} | {price} |" in START.read_text()


def test_what_the_findings_say_of_class_sweeps_is_what_their_seeds_carry():
    """Slope of the gap per doubling of K in each seed (NumPy's line) and its Student interval (t = 4.3027 at 2 degrees of freedom)."""
    summary = Summary.model_validate(results("audit-quick"))
    for kind, key in (("synthetic", "gap"), ("synthetic", "extra_supervision"), ("real", "gap")):
        found = swept(summary, kind, key)
        doublings, values = np.log2(list(found)), 100 * np.array(list(found.values()))  # (K,), (K, seeds)
        slopes = np.polyfit(doublings, values, 1)[0]
        half = 4.3027 * slopes.std(ddof=1) / np.sqrt(3)
        ends = [
            f"{value:+.1f}".replace("-", "−") for value in (slopes.mean(), slopes.mean() - half, slopes.mean() + half)
        ]
        assert f"{ends[0]} [{ends[1]}, {ends[2]}] per doubling" in FINDINGS.read_text()


def test_the_readouts_of_the_findings_are_those_of_the_results():
    for row in results("readout_grid")["rows"]:
        cells = [f"{100 * row[key]['mean']:.1f} %" for key in ("local", "bp", "bp-deepsup")]
        cells += [difference(row[key], bare=True) for key in ("gap", "price_of_locality")]
        assert f"| {row['grid']}×{row['grid']} | {' | '.join(cells)} |" in FINDINGS.read_text()


COST = ROOT / "docs/cost.md"


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
