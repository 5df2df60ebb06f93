"""The documentation is true: every link leads somewhere, every page is reached, and the site builds without a warning."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import layerlocal
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


CODE = [page for page in pages() if page.name != "TEMPLATE.md" and page != ROOT / "README.md"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch", "ignore::FutureWarning")
@pytest.mark.parametrize("page", [page for page in CODE if blocks(page.read_text(), "python")], ids=name)
def test_the_python_of_the_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    """Block after block in one namespace, in a folder of its own beside ``examples``; the comment after a ``print`` is what it prints."""
    for extra, needed in (("sklearn", "sklearn"), ("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("tune", "optuna")):
        if re.search(rf"\bimport {needed}|torch\.onnx|Classifier", page.read_text()):
            pytest.importorskip(needed, reason=f"the extra `{extra}` is not installed")
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


WIDE = ("search-log.md",)


@pytest.mark.parametrize("page", [page for page in pages() if page.name not in WIDE], ids=name)
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


NOTEBOOK = DOCS / "notebook.ipynb"


def said_by(cells):
    """What the cells print, without decimals and signs, which differ by machine; a picture is its kind."""
    texts = []
    for cell in cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            text = "".join(output.get("text", shown.get("text/plain", "")))
            texts.append("picture" if "image/png" in shown else re.sub(r"[-+]?\d+\.\d+", "", text))
    return "".join(texts)


def test_the_notebook_runs_from_top_to_bottom_and_prints_what_it_keeps(tmp_path, monkeypatch):
    """`jupyter execute --inplace docs/notebook.ipynb` makes what it keeps anew."""
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(again, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert said_by(again.cells) == said_by(kept.cells) and "picture" in said_by(kept.cells)


def test_the_notebook_is_small_and_its_links_and_lines_are_those_of_a_page():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert NOTEBOOK.stat().st_size < 150_000
    fenced = {"code": "```python\n{}\n```", "markdown": "{}"}
    text = "\n\n".join(fenced[cell["cell_type"]].format("".join(cell["source"])) for cell in cells)
    assert wide_lines(text) == []
    assert broken_links(NOTEBOOK, text) == []


def test_generated_pages_are_what_the_code_says():
    """Where this fails, `python scripts/generated_pages.py` writes them anew."""
    for path, make in module(ROOT / "scripts/generated_pages.py").PAGES.items():
        assert path.read_text() == make(), f"{name(path)} is old"


def test_every_rule_has_a_card_and_every_card_is_of_a_rule():
    from layerlocal.rules import list_rules

    assert {path.stem for path in DOCS.glob("rules/*.md")} == {*list_rules(), "README", "TEMPLATE"}


def test_the_site_builds_without_network_and_without_a_warning(tmp_path):
    for needed in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip("the extra `docs` is not installed")
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert {path.name for path in (tmp_path / "site").iterdir()} >= {"index.html", "CONTRIBUTING.html", "rules"}
    reference = (tmp_path / "site/api.html").read_text()
    assert [name for name in layerlocal._HOME if f'id="layerlocal.{name}"' not in reference] == []
    outside = {
        (page.name, link)
        for page in (tmp_path / "site").rglob("*.html")
        for link, _ in links(page.read_text())
        if link.startswith("http") and link.endswith((".js", ".css", ".woff2", ".svg", ".png"))
    }
    assert {link for _, link in outside if "github.com/layerlocal" not in link} == set(), "fetched when a page is read"
