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
from documents import FENCED, ROOT, broken_links, name, pages, wide_lines

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
    """`python scripts/run_notebook.py` makes what it keeps anew."""
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for needed in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip("the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("built") / "site"
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def page_of(site, source):
    """The page of the site that a Markdown file has become."""
    uri = {ROOT / "README.md": "overview.md"}.get(source)
    uri = uri or source.relative_to(ROOT / "docs" if source.is_relative_to(ROOT / "docs") else ROOT).as_posix()
    return site / re.sub(r"(README)?\.md$", lambda match: "index.html" if match[1] else ".html", uri)


SHOWN = [
    page
    for page in pages()
    if page.name not in ("TEMPLATE.md", "search-log.md")
    and (page.is_relative_to(ROOT / "docs") or page.parent in (ROOT, ROOT / "results"))
]


def test_the_site_builds_without_network_and_without_a_warning(site):
    assert {path.name for path in site.iterdir()} >= {"index.html", "CONTRIBUTING.html", "notebook.html", "rules"}
    assert (site / "assets/results/audit-quick.html").read_bytes() == (ROOT / "results/audit-quick.html").read_bytes()


def test_a_page_of_the_site_fetches_nothing_from_elsewhere(site):
    fetched = r'<(?:script|img|source|iframe)\b[^>]*\b(?:src|srcset)="(https?:[^"]+)"|<link [^>]*href="(https?:[^"]+)"'
    assert [found for page in site.rglob("*.html") for found in re.findall(fetched, page.read_text())] == []


def test_the_reference_has_every_public_name(site):
    reference = (site / "api.html").read_text()
    assert [
        name for name in dir(layerlocal) if name != "__version__" and f'id="layerlocal.{name}"' not in reference
    ] == []


@pytest.mark.parametrize("source", SHOWN, ids=name)
def test_the_page_on_the_site_has_the_tables_lists_and_pictures_that_it_has_on_github(source, site):
    text, shown = FENCED.sub("", source.read_text()), page_of(site, source).read_text()
    article = shown[shown.index("<article") : shown.index("</article>")]
    tables = re.findall(r"^\|[-:| ]+\|$", text, re.MULTILINE)
    if source.name != "api.md":  # the reference has tables of its own
        assert article.count("<table") == len(tables)
        assert article.count("<li") >= len(re.findall(r"^ *[-*] ", text, re.MULTILINE))
    assert article.count("<img") == len(re.findall(r"!\[[^]]*\]\(|<img ", text))
    pictures = re.findall(r'<(?:img|source)[^>]*\b(?:src|srcset)="([^"#]+)', article)
    assert [link for link in pictures if not (page_of(site, source).parent / link).is_file()] == []


def test_links_to_the_repository_lead_to_files_that_are_in_it(site):
    found = {
        link
        for page in site.rglob("*.html")
        for link in re.findall(r'"https://github\.com/layerlocal/layerlocal/blob/main/([^"#]+)', page.read_text())
    }
    assert "results/audit-quick.json" in found
    assert sorted(link for link in found if not (ROOT / link).exists()) == []


def test_markdown_is_laid_out_as_the_site_needs_it():
    """An empty line before a list and a table, four blanks a level, code in a list with it; what is code keeps its text."""
    hooks = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts/site_hooks.py")
    module = importlib.util.module_from_spec(hooks)
    hooks.loader.exec_module(module)
    github = (
        "Text:\n- a\n  - b\n  ```bash\n  # c\n    d\n  ```\nMore\n\nText\n| x |\n|---|\n```\n- no list\n| no |\n```"
    )
    site = "Text:\n\n- a\n    - b\n    ```bash\n    # c\n      d\n    ```\nMore\n\nText\n\n| x |\n|---|\n```\n- no list\n| no |\n```"
    assert "\n".join(line for line, _ in module._lines(github)) == site


def test_the_first_page_has_a_button_and_a_picture_and_the_menu_stands_from_1120_pixels_on(site):
    first = (site / "index.html").read_text()
    assert re.search(r'class="md-button md-button--primary" href="start.html"', first) and "report-light.png" in first
    styles = "".join(file.read_text() for file in (site / "assets/stylesheets").glob("*.css"))
    assert "min-width:70em" in styles and "76.2" not in styles


def test_the_drawing_of_the_gradient_is_stacked_for_phones_with_the_same_words():
    wide, narrow = ((ROOT / f"docs/{file}.svg").read_text() for file in ("gradient", "gradient-narrow"))
    words = [re.findall(r">([^<>]+)</text>", text) for text in (wide, narrow)]
    short = [word.removesuffix(": nothing passes back here") for word in words[0]]
    assert sorted(short) == sorted(words[1]) and 'viewBox="0 0 274 ' in narrow
    assert "gradient-narrow.svg" in (ROOT / "docs/start.md").read_text()
