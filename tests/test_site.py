"""The site builds without a warning and fetches nothing, and the notebook in it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import layerlocal
from documents import ROOT, broken_links, links, wide_lines

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


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
