"""What of `results/` is there to be looked at without installing anything, made from what lies beside it: a page of the audit, all claims, and
the public table.

python scripts/render_results.py    # from the repository's root; trains nothing; `collect_results.py` and `conclude_again.py` call it too
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from layerlocal.experiments.audit.published import runs_in
from layerlocal.experiments.public import write_public_site
from layerlocal.report import Content, render_claims, write_page
from layerlocal.runs.store import write_atomic
from layerlocal.runs.table import run_row
from layerlocal.summary import Summary

RESULTS = Path(__file__).resolve().parents[1] / "results"
COMMAND = "layerlocal claims --out results --format md"


def claims_table(results: Path) -> str:
    """``claims.md``: what `COMMAND` prints."""
    found = json.loads((results / "claims.json").read_text())
    return render_claims(found["claims"], found["claims_sha256"], COMMAND)


def audit_content(results: Path) -> Content:
    """What the page of the published audit shows: its summary, and its runs."""
    summary = Summary.model_validate_json((results / "audit-quick.json").read_text())
    rows = [run_row(record, options=False) for record in runs_in(summary)]
    return Content(
        title=summary.title, command=summary.command, created=summary.created, summaries=[summary], runs=rows
    )


def main(results: Path = RESULTS) -> None:
    """Write ``audit-quick.html``, the page that `make audit` wrote, ``claims.md`` and the pages of ``site/``."""
    print(write_page(audit_content(results), results / "audit-quick.html"))
    write_atomic(results / "claims.md", claims_table(results).encode())
    print(results / "claims.md")
    shutil.rmtree(results / "site", ignore_errors=True)  # a page of a claim that is gone must not stay
    with contextlib.chdir(results.parent):
        print(write_public_site([Path(results.name)], Path(results.name) / "site")[0])


if __name__ == "__main__":
    main()
