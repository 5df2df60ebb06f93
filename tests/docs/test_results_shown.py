"""What of `results/` is there to be looked at shows what lies beside it, and its README names every file."""

from __future__ import annotations

import fnmatch
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from layerlocal.experiments.public import write_public_site
from layerlocal.report import render_claims, render_page
from layerlocal.report.claims import claims_headline
from pages import text_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
AGAIN = "run `python scripts/render_results.py`"


def words_of(page):
    """The words that a reader sees, without drawings and style."""
    bare = re.sub(r"<(style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", bare)).split()


def test_the_page_of_the_audit_says_what_its_summary_says(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    from render_results import audit_content

    page, content = RESULTS / "audit-quick.html", audit_content(RESULTS)
    assert words_of(page.read_text(encoding="utf-8")) == words_of(render_page(content)), AGAIN
    assert page.stat().st_size < 1_000_000
    text = " ".join(words_of(page.read_text(encoding="utf-8")))
    assert all(sentence in text for sentence in content.summaries[0].sentences)
    for row in content.summaries[0].tables[0].rows:
        assert row["rule"] in text and f"{100 * row['local']['mean']:.1f}" in text


def test_the_page_of_the_audit_asks_no_network_and_runs_no_script_but_ours():
    page = (RESULTS / "audit-quick.html").read_text(encoding="utf-8")
    own = (ROOT / "src/layerlocal/report/page.js").read_text(encoding="utf-8")
    assert f"<script>{own}</script>" in page and page.count("<script") == 1
    assert "default-src 'none'" in page and not re.search(
        r"<script[^>]+src|<img[^>]+src=.http|<link[^>]+href=.http", page
    )


def test_the_table_of_claims_is_what_the_command_in_it_prints():
    text = (RESULTS / "claims.md").read_text(encoding="utf-8")
    command = re.findall(r"^layerlocal (.+)$", text, re.MULTILINE)[-1].split()
    found = subprocess.run(
        [sys.executable, "-m", "layerlocal", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == text, AGAIN


def test_the_table_has_every_claim_once_with_its_verdict_and_an_open_one_says_what_would_settle_it():
    text = (RESULTS / "claims.md").read_text(encoding="utf-8")
    claims = json.loads((RESULTS / "claims.json").read_text())["claims"]
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(claims)
    for line, claim in zip(rows, claims, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert cells[0].startswith(f"{claim['id']}: ") and cells[4].partition("; ")[0].endswith(claim["verdict"])
        assert cells[5] == str(claim["n"]) or claim["estimate"] is None
        settled = claim["verdict"] in ("supported", "contradicted")
        assert (cells[7] == "–") == settled, claim["id"]


def claim(**more):
    row = {
        "id": "X1",
        "sentence": "a | b *c* <d>",
        "source": "me",
        "study": "depth",
        "verdict": "not run",
        "command": "layerlocal study depth",
    }
    return row | more


def test_a_claim_that_is_not_run_keeps_its_row_and_its_command_and_nothing_in_it_is_markup():
    text = render_claims([claim()], "ab" * 32, "layerlocal claims --format md")
    [row] = [line for line in text.splitlines() if line.startswith("| X1")]
    assert r"a \| b \*c\* \<d\>" in row and "layerlocal study depth" in row and "○ not run" in row
    assert claims_headline([claim()]) in text and "ab" * 32 in text


@pytest.mark.parametrize("path", sorted(RESULTS.iterdir()), ids=lambda path: path.name)
def test_the_readme_of_results_names_every_file(path):
    named = re.findall(r"`([\w.*-]+\.(?:\w+|\*)|\w+(?=/))/?`", (RESULTS / "README.md").read_text())
    patterns = [name.replace("NAME-SIZE", "*-*") for name in named]
    assert path.name in ("README.md", "report.html") or any(fnmatch.fnmatch(path.name, text) for text in patterns)


def test_the_readme_of_results_is_short_and_names_nothing_that_is_not_there():
    text = (RESULTS / "README.md").read_text()
    assert len(text.splitlines()) <= 40
    for script in re.findall(r"`((?:benchmarks|scripts)/\w+\.py)`", text):
        assert (ROOT / script).is_file()
    for name in re.findall(r"\]\(([^)]+)\)", text):
        assert (RESULTS / name).is_file()


def test_the_public_table_is_what_its_command_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    written = write_public_site([Path("results")], tmp_path)
    kept = sorted(path.relative_to(RESULTS / "site") for path in (RESULTS / "site").rglob("*.*"))
    assert sorted(path.relative_to(tmp_path) for path in written) == kept
    for name in kept:
        shown = (RESULTS / "site" / name).read_text(encoding="utf-8")
        made = (tmp_path / name).read_text(encoding="utf-8").replace(str(tmp_path), "results/site")
        assert text_of(shown) == text_of(made), f"{name}: run scripts/render_results.py"
        assert str(ROOT) not in shown
