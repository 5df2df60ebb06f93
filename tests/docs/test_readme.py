"""The README is true: its Python runs, its commands are commands, and every number is one of the published results. Its links: test_docs.py."""

from __future__ import annotations

import json
import re
import shlex
import sys

import pytest

import layerlocal
import layerlocal.runs.run
from documents import ROOT, blocks, commands, missing_files, prose, refusals, run_python, wide_lines
from layerlocal.stats import estimate
from layerlocal.words import difference

README = ROOT / "README.md"
FIXED = ("fashion_mnist_subset", "teacher_student")
PARTS = ["Install", "Three doors", "What we found", "Rules", "What it is not", "More"]


def text():
    return README.read_text()


def part(name):
    """What stands under a heading."""
    return re.split(r"^## ", text(), flags=re.MULTILINE)[1 + PARTS.index(name)]


def results(name):
    return json.loads((ROOT / "results" / name).read_text())


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])


def test_the_readme_is_a_page_with_its_first_command_within_forty_lines():
    lines = text().splitlines()
    assert lines.index("```bash") < 40 and len([line for line in lines if not line.startswith("|")]) <= 100
    words = [line for line in prose(text()).splitlines() if not line.startswith(("|", "<", " "))]
    assert 400 < len(" ".join(words).split()) <= 800


def test_its_parts_stand_in_order_behind_a_picture_for_light_and_dark_and_four_words():
    assert re.findall(r"^## (.+)$", text(), re.MULTILINE) == PARTS
    opening = text().split("## Install")[0]
    assert "<picture>" in opening and "prefers-color-scheme: dark" in opening
    defined = re.findall(r"^- \*\*(.+?)\*\*:", opening, re.MULTILINE)
    assert [word.lower() for word in defined] == ["local rule", "twin", "extra supervision", "price of locality"]


def test_every_door_opens_in_eight_lines():
    doors = blocks(part("Three doors"), "bash", "python")
    assert len(doors) == 3 and all(len(door.splitlines()) <= 8 for door in doors)


def test_code_that_a_reader_types_fits_a_narrow_page():
    assert wide_lines(text()) == []


def test_the_readme_has_python_and_it_runs(tmp_path, monkeypatch):
    assert blocks(text(), "python")
    monkeypatch.chdir(tmp_path)
    run_python(README, tmp_path)


def test_nothing_in_the_readme_is_still_to_be_filled_in():
    assert text() and not re.search(r"@@|TODO|TBD|FIXME", text())


def test_every_layerlocal_command_of_the_readme_is_one_the_program_takes():
    refused, found = refusals(text())
    assert refused == [] and found >= 6


def test_every_make_target_of_the_readme_is_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for words in commands(text()) if words[0] == "make" for word in words[1:] if "=" not in word}
    assert {"audit", "test"} <= asked <= targets


def test_every_file_the_readme_names_in_a_command_or_a_comment_is_there():
    assert missing_files(README) == []


def test_a_published_command_makes_the_run_that_it_stands_for(monkeypatch, cli):
    """Of every twentieth run in `results/runs.parquet` whose data are in the package."""
    found = []
    monkeypatch.setattr(layerlocal.runs.run, "run_spec", lambda spec, *_, **__: found.append(spec.hash) or sys.exit(3))
    rows = layerlocal.load_runs(ROOT / "results").to_pylist()
    rows = [row for row in rows if row["data"] in FIXED and row["command"].startswith("layerlocal train ")][::20]
    for row in rows:
        cli(*shlex.split(row["command"])[1:])
    assert len(rows) > 10 and found == [row["run"] for row in rows]


def test_the_sizes_of_the_cuda_build_are_those_that_the_installation_says(scripts):
    import install

    assert re.findall(r"[\d.]+ GB", install.LARGE) == ["2.4 GB", "6.3 GB"]
    assert "NVIDIA GPU: 2.4 GB, 6.3 GB" in part("Install") and install.CPU_INDEX in part("Install")


def test_the_picture_shows_the_published_audit_and_is_light(scripts):
    """Where this fails, `python scripts/report_picture.py` makes it anew."""
    import report_picture
    from PIL import Image

    sizes = set()
    for scheme, path in report_picture.PICTURES.items():
        assert f"docs/report-{scheme}.png" in text() and path.stat().st_size < 300_000
        with Image.open(path) as picture:
            assert picture.text["shows"] == report_picture.mark(report_picture.AUDIT)
            sizes.add(picture.size)
    assert len(sizes) == 1


def test_what_make_audit_prints_is_what_it_prints_of_the_published_audit(capsys):
    from pathlib import Path

    from layerlocal.cli.found import print_summary
    from layerlocal.cli.runs import AUDITED
    from layerlocal.summary import Summary

    summary = Summary.model_validate(results("audit-quick.json"))
    print_summary(summary, Path("runs"), as_json=False, columns=AUDITED, page=Path("runs/report.html"))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed[: len(summary.sentences)] == list(summary.sentences)
    [shown] = blocks(part("Install"), "text")
    assert shown.splitlines() == printed[len(summary.sentences) :] and len(shown.splitlines()) == 6
    assert f"{summary.finished} runs" in part("Install")


def protocol(rule):
    rows = results("cpu_protocol.json")["rows"]
    [row] = [row for row in rows if (row["task"], row["rule"]) == ("cifar10", rule)]
    return difference(row["price_of_locality"])


def slope(file, quantity):
    values = results(file)["quantities"]["class-goodness"][quantity]["values"]
    return difference(estimate(list(values.values())))


def speed():
    [row] = [
        row
        for row in results("trainer.json")["speed"]
        if (row["network"], row["method"]) == ("vgg8", "class-goodness, fused")
    ]
    found = row["ratio to bp, fused"]
    return f"{found['median']:.2f}× [{found['low']:.2f}, {found['high']:.2f}]"


FOUND = {
    "Locality has a price": ("cpu_protocol.json", lambda: protocol("class-goodness")),
    "The price can be small": ("cpu_protocol.json", lambda: protocol("committee")),
    "Depth raises it": ("study-depth-medium.json", lambda: slope("study-depth-medium.json", "depth_slope")),
    "Extra losses can pass for local learning": (
        "study-classes-medium.json",
        lambda: slope("study-classes-medium.json", "extra_slope/synthetic"),
    ),
    "Local steps can be faster": ("trainer.json", speed),
}


@pytest.mark.parametrize("finding", FOUND)
def test_a_finding_has_the_number_and_the_link_of_its_results(finding):
    file, number = FOUND[finding]
    [line] = [line for line in part("What we found").splitlines() if line.startswith(f"- **{finding}.**")]
    assert number().replace(", n=", ", n = ") in line and f"(results/{file})" in line


def test_findings_are_five_each_with_one_interval_that_leaves_out_no_effect():
    """No effect: 0 pp, or a ratio of 1."""
    lines = [line for line in part("What we found").splitlines() if line.startswith("- ")]
    assert len(lines) == len(FOUND) == 5
    for line in lines:
        [(ratio, low, high)] = re.findall(r"(×?)(?: pp)? \[([+−]?[\d.]+), ([+−]?[\d.]+)\]", line)
        low, high = (float(end.replace("−", "-")) for end in (low, high))
        assert (low - bool(ratio)) * (high - bool(ratio)) > 0
        assert "n = " in line


def test_the_table_of_rules_is_that_of_the_results(scripts):
    """Where this fails, `python scripts/readme_table.py` writes it anew."""
    import readme_table

    assert readme_table.with_table(text()) == text()
    assert {row[0].split("`")[1] for row in readme_table.rows()} == {*readme_table.local_rules(), "bp"}


def test_the_size_that_the_table_was_measured_at_is_that_of_its_runs():
    specs = results("study-accuracy-quick.json")["specs"].values()
    images = {round(spec["data"]["num_train"] * (1 - spec["data"]["validation"])) for spec in specs}
    assert images == {2250} and "2,250 training images" in part("Rules")
    [(epochs, batch)] = {(spec["recipe"]["epochs"], spec["recipe"]["batch_size"]) for spec in specs}
    assert f"{epochs * (2250 // batch)} steps, n = {len({spec['seed'] for spec in specs})}" in part("Rules")
    networks = {(spec["network"]["name"], spec["network"]["width"]) for spec in specs}
    assert networks == {("cnn4", 0.5), ("cnn4", 0.625)} and "`cnn4` at width 0.5" in part("Rules")
    counted = {row["width"] for row in results("rule_memory.json")["rows"]}
    assert (
        counted == {1.0, 1.25} and "`vgg8`, width 1." in part("Rules") and "widths are 0.625 and 1.25" in part("Rules")
    )


def test_the_number_of_claims_and_clauses_is_right():
    from layerlocal.measure.contract import check_rule

    claims = results("claims.json")["claims"]
    still_open = sum(claim["verdict"] == "inconclusive" for claim in claims)
    sources = {claim["id"].partition("@")[0]: claim["source"] for claim in claims}
    statements, published = set(sources), sum(source != "layerlocal" for source in sources.values())
    counts = (
        f"{len(statements)} statements are here as claims, fixed before the results were read: {published} published"
    )
    assert f"{counts}, {len(statements) - published} of our own" in text()
    assert f"{still_open} are still [undecided]" in text()
    assert f"{len(check_rule('local-heads'))} clauses" in text()
