"""The documentation is true: its code runs, its links lead somewhere, and every page is reached."""

from __future__ import annotations

import importlib.util
import re

import pytest

from documents import (
    ROOT,
    anchors,
    blocks,
    broken_links,
    links,
    missing_files,
    name,
    pages,
    refusals,
    run_python,
    says,
    wide_lines,
)

DOCS = ROOT / "docs"
SOLITARY = {"rules/TEMPLATE.md"}
"""Pages that the index does not lead to: a form for the next card."""


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


NEEDED = {"sklearn": "sklearn|LayerLocalClassifier", "onnxscript": r"torch\.onnx", "onnxruntime": "onnxruntime"}
"""Modules of the extras, and what tells that a page's code uses them."""
CODE = [page for page in pages() if page.name != "TEMPLATE.md" and page != ROOT / "README.md"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch", "ignore::FutureWarning")
@pytest.mark.parametrize("page", [page for page in CODE if blocks(page.read_text(), "python")], ids=name)
def test_the_python_of_the_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    """Block after block in one namespace, in a folder of its own beside ``examples``; the comment after a ``print`` is what it prints."""
    for needed, sign in NEEDED.items():
        if re.search(sign, "".join(blocks(page.read_text(), "python"))):
            pytest.importorskip(needed, reason=f"{needed}, of an extra, is not installed")
    monkeypatch.chdir(tmp_path)
    assert [pair for pair in run_python(page, tmp_path) if not says(*pair)] == []


def test_what_a_page_says_is_printed_is_told_from_what_is_not():
    assert says("0.73", "validation accuracy 0.71") and says("(1, 3) True", "(1, 3) True")
    assert not says("0.73", "validation accuracy 0.52") and not says("(1, 3) True", "(1, 4) True")
    assert not says("True", "False") and not says("0.73", "12") and not says("two words", "words")


@pytest.mark.parametrize("page", CODE, ids=name)
def test_every_command_of_the_page_is_one_the_program_takes_and_its_files_are_there(page):
    assert refusals(page.read_text())[0] == []
    assert missing_files(page) == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_code_that_a_reader_types_fits_a_narrow_page(page):
    assert wide_lines(page.read_text()) == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_of_the_page_leads_to_a_file_and_a_heading_that_are_there(page):
    assert broken_links(page) == []


def test_a_link_to_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("documents.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# One (`two`, three)\n## Same\n## Same\n```bash\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#one-two-three) [b](there.md#same-1) `[c](gone.md)` [d](https://x.org/gone)\n"
        '[e](gone.md) [f](there.md#no-heading) [g](#here) <img src="gone.svg">\n```python\nheads[0](x)\n```\n'
    )
    assert broken_links(page) == [
        "page.md: gone.md is not there",
        "page.md: there.md has no heading #no-heading",
        "page.md:  has no heading #here",
        "page.md: gone.svg is not there",
    ]


def test_anchors_are_those_of_github():
    """Of headings in this repository, as github.com renders them."""
    text = "## Each at its best (`python benchmarks/tuned.py`, CIFAR-10)\n## A/B & *C*: [d](e.md)\n## Über 4×4\n"
    assert anchors(text) == {"each-at-its-best-python-benchmarkstunedpy-cifar-10", "ab--c-d", "über-44"}


def test_every_page_is_reached_from_the_index():
    """In two steps at the most: the index, then the list of rules."""
    index = [DOCS / "README.md", DOCS / "rules/README.md"]
    reached = {(page.parent / target).resolve() for page in index for target, _ in links(page.read_text()) if target}
    there = {path.resolve() for path in (*DOCS.glob("**/*.md"), *DOCS.glob("*.ipynb"))}
    missing = {path.relative_to(DOCS).as_posix() for path in there - reached}
    assert missing - {"README.md"} <= SOLITARY


def test_generated_pages_are_what_the_code_says():
    """Where this fails, `python scripts/generated_pages.py` writes them anew."""
    for path, make in module(ROOT / "scripts/generated_pages.py").PAGES.items():
        assert path.read_text() == make(), f"{name(path)} is old"


def test_every_rule_has_a_card_and_every_card_is_of_a_rule():
    from layerlocal.rules import list_rules

    assert {path.stem for path in DOCS.glob("rules/*.md")} == {*list_rules(), "README", "TEMPLATE"}
