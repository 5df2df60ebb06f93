"""`layerlocal cite`: true to the rules and data, complete, and text that BibTeX reads."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from layerlocal import InputError, __version__, load_runs
from layerlocal.data import list_data
from layerlocal.experiments.studies import resolution
from layerlocal.rules import find_rule, list_rules
from layerlocal.runs import cite as citing

ROOT = Path(__file__).parents[2]
CONTENT = yaml.safe_load(citing.FILE.read_text(encoding="utf-8"))
NAMED = {name: find_rule(name).info.references for name in list_rules()}


@pytest.mark.parametrize("rule", list_rules())
def test_every_reference_that_a_rule_names_has_an_entry(rule):
    assert set(NAMED[rule]) <= CONTENT["papers"].keys(), f"add these papers to {citing.FILE.name}"


def test_every_data_set_has_its_papers_or_says_that_it_has_none():
    assert CONTENT["data"].keys() == {*list_data(), resolution.BASE}
    assert [name for name, papers in CONTENT["data"].items() if not papers] == ["python_library", "teacher_student"]
    assert {paper for papers in CONTENT["data"].values() for paper in papers} <= CONTENT["papers"].keys()


def test_every_entry_is_of_a_rule_or_of_data():
    used = {reference for references in NAMED.values() for reference in references}
    used |= {reference for references in CONTENT["data"].values() for reference in references}
    assert CONTENT["papers"].keys() - used == set()


def test_references_of_arxiv_are_the_eprints_of_their_entries_and_nothing_is_there_twice():
    for reference, entry in CONTENT["papers"].items():
        kind, _, number = reference.partition(":")
        if kind == "arXiv":
            assert entry["eprint"] == number and re.fullmatch(r"\d{4}\.\d{4,5}", number)
            assert entry["year"] >= 2000 + int(number[:2]), "a venue is not earlier than the preprint"
    for field in ("key", "title"):
        values = [entry[field] for entry in CONTENT["papers"].values()]
        assert len(set(values)) == len(values)


def test_a_card_that_gives_a_title_gives_that_of_the_entry():
    for name, references in NAMED.items():
        head = " ".join(
            (ROOT / "docs" / "rules" / f"{name}.md").read_text(encoding="utf-8").split("**Code of")[0].split()
        )
        for title, reference in re.findall(r"\*([^*]+)\*,[^*]*?(arXiv:[\d.]+)", head):
            if reference in references:
                entry = CONTENT["papers"][reference]["title"]
                assert entry.lower().startswith(title.lower()), (name, reference)


def test_a_twin_brings_the_papers_of_its_rule(tmp_path):
    rules, data = citing.used_in(ROOT / "results")
    assert {"committee", "bp", "class-goodness"} <= set(rules) and {"cifar10", "teacher_student"} <= set(data)
    cited = {cited.reference: cited.used_by for cited in citing.cite(rules, data).cited}
    assert (
        "committee" in cited["arXiv:2402.17318"] and "cifar100" in cited["https://www.cs.toronto.edu/~kriz/cifar.html"]
    )


def test_a_store_is_cited_by_its_runs_and_a_rule_file_in_it_is_never_run(tmp_path):
    import pyarrow.parquet as pq

    mine = tmp_path / "mine.py"
    mine.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    table = load_runs(ROOT / "results").slice(0, 2)
    names = {"rule": ["bp", f"{mine}:Mine"], "twin_of": ["ff", None], "data": ["/some/where/cifar10", "./photos"]}
    for name, values in names.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    pq.write_table(table, tmp_path / "runs.parquet")
    found = citing.cite(*citing.used_in(tmp_path))
    assert [cited.used_by for cited in found.cited] == [["ff"], ["ff"], ["cifar10"]]
    assert found.without == ("bp",) and found.unknown == ("mine.py:Mine", "photos")
    assert not (tmp_path / "ran").exists()


def test_a_rule_file_that_is_named_gives_its_own_references(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from layerlocal import RuleInfo\nfrom layerlocal.rules import LocalHeads\n\n\nclass Mine(LocalHeads):\n"
        "    info = RuleInfo(name='mine', locality='block', references=('arXiv:2212.13345', 'arXiv:9999.00001'))\n"
    )
    found = citing.cite([f"{mine}:Mine"], [], run_files=True)
    known, other = found.cited
    assert known.paper.authors == ("Geoffrey Hinton",) and other.paper is None
    assert "arXiv:9999.00001" in citing.render_text(
        found
    ) and "% mine.py:Mine: arXiv:9999.00001" in citing.render_bibtex(found)


def fields_of(bibtex):
    """Key → field → value, by counting braces: what stands in the outermost of a field."""
    found = {}
    for kind, key, body in re.findall(r"^@(\w+)\{([a-z0-9]+),\n(.*?)^\}", bibtex, re.M | re.S):
        fields = {}
        for line in body.splitlines():
            name, value = re.fullmatch(r"  (\w+) *= \{(.*)\},", line).groups()
            depth = 0
            for sign in re.sub(r"\\.", "", value):
                depth += {"{": 1, "}": -1}.get(sign, 0)
                assert depth >= 0, line
            assert depth == 0, line
            fields[name] = value
        found[key] = {"kind": kind} | fields
    return found


def test_every_entry_is_bibtex_in_plain_ascii_with_the_fields_its_kind_asks_for():
    text = citing.render_bibtex(citing.cite(*citing.known_names()))
    assert text.isascii() and text.count("@") == len(CONTENT["papers"]) + 1
    needs = {"article": {"journal"}, "inproceedings": {"booktitle"}, "techreport": {"institution"}, "misc": set()}
    found = fields_of(text)
    assert found.keys() == {entry["key"] for entry in CONTENT["papers"].values()} | {"layerlocal"}
    for key, fields in found.items():
        assert {"author", "title", "year"} | needs[fields["kind"]] <= fields.keys(), key
    assert found["nokland2016direct"]["author"] == r"Arild N{\o}kland"
    assert found["chen2025self"]["author"].split(" and ")[2] == r"J{\'e}r{\'e}mie Laydevant"


def test_the_citation_file_has_what_its_format_asks_for_and_is_of_this_version():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["cff-version"] == "1.2.0" and cff["message"] and cff["title"] and cff["authors"]
    assert all(author.get("name") or author.get("family-names") for author in cff["authors"])
    known = "cff-version message type title abstract authors version date-released license repository-code url keywords"
    allowed = set(known.split())
    assert cff.keys() <= allowed and cff["type"] == "software"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cff["version"] == project["version"] == __version__ and cff["license"] == project["license"]
    assert set(cff["keywords"]) == set(project["keywords"])
    released = dict(re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d{2}-\d{2})", (ROOT / "CHANGELOG.md").read_text(), re.M))
    assert cff["date-released"] == date.fromisoformat(released[__version__])
    own = CONTENT["software"]
    assert (
        cff["title"] == own["title"]
        and cff["repository-code"] == own["url"]
        and cff["date-released"].year == own["year"]
    )


@pytest.mark.parametrize("words", [["--rule", "ff"], ["--all", "--format", "bibtex"], ["--out", str(ROOT / "results")]])
def test_cite_loads_no_torch(words):
    code = (
        "import sys; sys.argv = ['layerlocal', 'cite', *sys.argv[1:]]; from layerlocal.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert found.returncode == 0 and "layerlocal" in found.stdout, found.stderr


def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        citing.used_in(tmp_path)
