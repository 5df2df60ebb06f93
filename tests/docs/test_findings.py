"""The two pages of findings: every number is one of the file that its row rests on, as sure as the row says, and there is no other."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache

import pytest

from documents import FENCED, ROOT
from layerlocal.stats import estimate, holm
from layerlocal.words import difference

PAGE = ROOT / "docs/findings.md"
SIDES = {"supported": "supports", "contradicted": "contradicts"}


@cache
def results(name):
    return json.loads((ROOT / f"results/{name}.json").read_text())


def claims():
    """Those that were judged of `class-goodness`, by name."""
    return {
        claim["id"]: claim for claim in results("claims")["claims"] if re.fullmatch(r"[PO]\d+(-[\w-]+)?", claim["id"])
    }


def part(heading):
    [found] = re.findall(rf"^## {heading}.*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found


def rows(heading):
    """The rows of a part's table: (what, numbers, how sure, rests on)."""
    lines = [line for line in part(heading).splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def points(value):
    return difference(value, bare=True)


def times(value):
    return "{:.2f}× [{:.2f}, {:.2f}]".format(value.get("median", value.get("mean")), value["low"], value["high"])


def study(name, quantity):
    """A quantity's estimate over the seeds (of cost: processes or rounds) of `class-goodness`."""
    return estimate(list(results(name)["quantities"]["class-goodness"][quantity]["values"].values()))


def of_claim(claim):
    """(file, estimate) of what a claim was judged on, from the study's file; the same as in `claims.json`."""
    file = "cost-quick" if claim["study"] == "cost" else f"study-{claim['study']}-{claim['size']}"
    value = study(file, claim["quantity"])
    assert value["values"] == pytest.approx(claim["estimate"]["values"])
    return file, value


def protocol(rule):
    [row] = [row for row in results("cpu_protocol")["rows"] if (row["task"], row["rule"]) == ("cifar10", rule)]
    return row["price_of_locality"]


def readout(grid):
    [row] = [row for row in results("readout_grid")["rows"] if row["grid"] == grid]
    return row["gap"]


def speed():
    """Of fused `class-goodness` on the wide vgg8 over fused backprop: median and quartiles."""
    [row] = [
        row
        for row in results("trainer")["speed"]
        if (row["network"], row["width"], row["method"]) == ("vgg8", 1.0, "class-goodness, fused")
    ]
    return row["ratio to bp, fused"]


LEADS = {
    "**Locality has a price on CIFAR-10**": ("cpu_protocol", lambda: [protocol("class-goodness")]),
    "**The price can be small.**": ("cpu_protocol", lambda: [protocol("committee")]),
    "**Depth raises the price.**": ("study-depth-medium", lambda: [study("study-depth-medium", "depth_slope")]),
    "**How blocks are read can turn the sign of the gap.**": ("readout_grid", lambda: [readout(1), readout(4)]),
    "**One answer from all blocks (fusion) helps.**": (
        "study-ablation-quick",
        lambda: [
            study("study-ablation-quick", f"{quantity}/cifar10") for quantity in ("effect/fusion", "fusion_of_deepsup")
        ],
    ),
    "**Dynamic temperature, as we define it, costs accuracy** on CIFAR-100": (
        "study-ablation-quick",
        lambda: [study("study-ablation-quick", "effect/temperature/cifar100")],
    ),
    "**A step can be faster**": ("trainer", lambda: [speed()]),
}
"""How a row of what is seen and belongs to no claim begins → its file and its numbers."""
NO_EFFECT = {"pp": 0.0, "×": 1.0}


SHOWN = {"cpu_protocol": "CPU protocol", "readout_grid": "readouts"}


def link(file):
    """To a file, by its study and size."""
    return f"[{SHOWN.get(file, file.removeprefix('study-').replace('-', ', '))}](../results/{file}.json)"


def expected(what, sure):
    """(file, estimates, "pp" or "×") of a row: of the claims that it names, or of `LEADS`."""
    named = re.findall(r"[PO]\d+(?:-[\w-]+)?", sure)
    if named:
        found = [of_claim(claims()[name]) for name in named]
        [file], [unit] = {file for file, _ in found}, {claims()[name]["unit"] for name in named}
        return file, [value for _, value in found], unit
    [key] = [key for key in LEADS if what.startswith(key)]
    file, values = LEADS[key]
    return file, values(), "×" if file == "trainer" else "pp"


def held(row):
    """Whether numbers, file and n of a row are those of results/; gives them back."""
    what, numbers, sure, rests = row
    file, values, unit = expected(what, sure)
    assert numbers == "; ".join((points if unit == "pp" else times)(value) for value in values)
    n = {value["n"] for value in values}
    if unit == "pp":
        assert n == {3} and rests == link(file)  # "over n = 3 seeds, unless given"
    else:
        repeated = "rounds" if file == "trainer" else claims()[sure.split()[-1]]["quantity"]
        repeated = {"memory": "processes"}.get(repeated.split("_")[0], "rounds")
        assert rests.removesuffix(", quartiles") == f"{link(file)}, {n.pop()} {repeated}"
    return values, unit


def seen(value, unit):
    return (value["low"] - NO_EFFECT[unit]) * (value["high"] - NO_EFFECT[unit]) > 0


@pytest.mark.parametrize("row", rows("Decided"), ids=lambda row: row[2])
def test_what_is_decided_has_the_numbers_and_the_verdict_of_its_claims(row):
    values, unit = held(row)
    assert all(seen(value, unit) for value in values)
    how, side, names = re.fullmatch(r"((?:barely )?decided(?:, BP unfinished)?): (\w+) (.+)", row[2]).groups()
    for name in names.split(", "):
        assert SIDES[claims()[name]["verdict"]] == side
    assert ("unfinished" in how) == (names == "P11")


def test_all_that_is_decided_is_there_and_barely_is_what_one_family_of_all_claims_left_open():
    there = [name for row in rows("Decided") for name in re.findall(r"[PO]\d+(?:-[\w-]+)?", row[2])]
    assert sorted(there) == sorted(name for name, claim in claims().items() if claim["verdict"] in SIDES)
    judged = {name: claim["p"] for name, claim in claims().items() if claim["p"] is not None}
    together = dict(zip(judged, holm(list(judged.values())), strict=True))
    barely = [name for row in rows("Decided") if row[2].startswith("barely") for name in [row[2].split()[-1]]]
    assert sorted(barely) == sorted(name for name in there if together[name] > 0.05)


@pytest.mark.parametrize("row", rows("Seen but not decided"), ids=lambda row: row[0])
def test_a_lead_leaves_out_no_effect_and_decides_no_claim(row):
    values, unit = held(row)
    assert all(seen(value, unit) for value in values)
    found = re.fullmatch(r"a lead(?: (for|against) ([PO]\d+-\w+))?", row[2])
    if found[2]:
        claim = claims()[found[2]]
        assert claim["verdict"] == "inconclusive" and claim["direction"] in ("less", "greater")
        assert (values[0]["mean"] < 0) == ((claim["direction"] == "less") == (found[1] == "for"))


def test_the_two_readouts_have_gaps_of_opposite_signs():
    assert readout(1)["high"] < 0 < readout(4)["low"]


@pytest.mark.parametrize("row", rows("Not known yet"), ids=lambda row: row[0])
def test_what_is_open_includes_no_effect_or_is_not_measured(row):
    _, numbers, sure, rests = row
    if numbers == "none":
        trained = [claim for claim in results("claims")["claims"] if claim["id"].startswith("T")]
        assert sure == f"open: T1 to T{len(trained)}" and {claim["verdict"] for claim in trained} == {"not run"}
        verdicts = {claim["verdict"] for claim in results("claims")["claims"] if claim["id"].endswith("@dtg-ff")}
        assert verdicts == {"not run"} and "studies.md#under-way" in rests
    elif sure.startswith("cannot be judged"):
        values = [row["bp"] - row["local"] for row in results("study-hybrid-quick")["rows"]]
        assert (numbers, rests) == (points(estimate(values)), link("study-hybrid-quick"))
        assert {claims()[name]["verdict"] for name in ("P10-some", "P10-not-all")} == {"cannot be judged"}
        assert sure == "cannot be judged: P10"
    else:
        values, unit = held(row)
        assert not any(seen(value, unit) for value in values)
        assert sure.startswith("open: ") and claims()[sure.split()[-1]]["verdict"] == "inconclusive"


def steps(spec):
    images, recipe = round(spec["data"]["num_train"] * (1 - spec["data"]["validation"])), spec["recipe"]
    return images, recipe["steps"] or recipe["epochs"] * (images // recipe["batch_size"])


def of_size(size, synthetic):
    """How often runs of a size have these (images, steps)."""
    files = (ROOT / "results").glob(f"study-*-{size}.json")
    specs = [spec for path in files for spec in results(path.stem)["specs"].values()]
    return Counter(steps(spec) for spec in specs if (spec["data"]["source"] == "teacher_student") == synthetic)


def facts():
    """What the page says outside the numbers of its rows: a text of it → whether `results/` say so."""
    verdicts = Counter(claim["verdict"] for claim in claims().values())
    quick = of_size("quick", False).most_common(1)[0][0]
    times_longer = [
        of_size("medium", synthetic).most_common(1)[0][0][1] / of_size("quick", synthetic).most_common(1)[0][0][1]
        for synthetic in (False, True)
    ]
    [bp] = [
        row["bp"]["mean"]
        for row in results("study-accuracy-quick")["tables"][0]["rows"]
        if (row["rule"], row["data"]) == ("class-goodness", "cifar10")
    ]
    machines = [
        content["environment"]
        for path in (ROOT / "results").glob("*.json")
        if isinstance(content := results(path.stem), dict) and "environment" in content
    ]
    swept = results("study-classes-medium")["rows"]
    kinds = {name: claim["what"] for name, claim in claims().items()}
    return {
        f"on {machines[0]['cores']} CPU cores, never on a GPU": {(one["cores"], one["device"]) for one in machines}
        == {(2, "cpu")},
        f"mostly {quick[0]:,} images and {quick[1]} steps": of_size("quick", False)[quick]
        > of_size("quick", False).total() / 2,
        "about four times the steps": all(3.9 < one < 4.1 for one in times_longer),
        f"its twin has {100 * bp:.1f} % on CIFAR-10": True,
        "Ordinary BP and headroom were not measured yet": all(claim["headroom"] is None for claim in claims().values()),
        f"Ten of {len(claims())} claims": verdicts["supported"] + verdicts["contradicted"] == 10,
        f"{verdicts['inconclusive']} of the {len(claims())} claims are inconclusive, two cannot be judged": verdicts[
            "cannot be judged"
        ]
        == 2,
        f"with every doubling of classes; the gap at {max(row['num_classes'] for row in swept if row['arm'] == 'synthetic')} classes.": True,
        "from {} to {} blocks".format(
            *(f({row["depth"] for row in results("study-depth-medium")["rows"]}) for f in (min, max))
        ): True,
        "8 micro-batches": "bp micro-8" in kinds["P7-memory"] and "bp micro-8" in kinds["P7-speed"],
        "on 2 processes": kinds["P12-distributed"].partition(":")[0].endswith("on 2 processes"),
        "Gap on Fashion-MNIST: as one cell; as 4×4 cells": True,
        "Brackets are 95 % intervals over n = 3 seeds, unless given. × is rule ÷ BP": True,
    }


def test_what_the_page_says_of_its_networks_and_claims_is_so():
    assert [said for said, true in facts().items() if not true or said not in PAGE.read_text()] == []


def test_the_page_has_no_number_that_is_not_held():
    """All that is held, names and links taken away, no digit is left."""
    text = PAGE.read_text()
    for said in facts():
        text = text.replace(said, "")
    for heading in ("Decided", "Seen but not decided", "Not known yet"):
        for _, numbers, _, rests in rows(heading):
            text = text.replace(f"| {numbers} |", "| |").replace(f"| {rests} |", "| |")
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", FENCED.sub("", text))
    text = re.sub(r"CIFAR-100?\b|arXiv:2606\.06539|\b[POT]\d+(-[\w-]+)?\b|\b([Bb]elow|Above) 0\b", "", text)
    assert re.findall(r".{0,20}\d.{0,20}", text) == []


def test_the_page_is_two_pages_that_name_the_paper_s_method_and_what_is_under_way():
    text = re.sub(r"\]\([^)]*\)|[|]|-{3,}", " ", PAGE.read_text())
    assert len(re.findall(r"\S*[a-zA-Z]\S*", text)) <= 880 and len(PAGE.read_text().splitlines()) <= 100
    assert "It is **not** that paper's method, DTG-FF." in text and "(studies.md#under-way-" in PAGE.read_text()
    assert "(findings-appendix.md)" in PAGE.read_text()
