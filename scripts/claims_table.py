"""Write the list of claims in docs/studies.md from results/claims.json: python scripts/claims_table.py (a test holds the page to it).

The whole table, with what is claimed and measured, is results/claims.md (`render_results.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

from layerlocal.report.claims import claim_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/studies.md"
BEGIN, END = "<!-- claims: python scripts/claims_table.py -->", "<!-- end of claims -->"


def table(claims: list[dict]) -> str:
    """One row a statement, in the order of the file: what it says, and the verdict for each rule that it is judged for."""
    rules = list(dict.fromkeys(claim["rule"] for claim in claims))
    rows: dict[str, dict[str, str]] = {}
    for claim, view in zip(claims, claim_rows(claims), strict=True):
        row = rows.setdefault(claim["id"].partition("@")[0], {"says": view["sentence"].replace("|", "∣")})
        row[claim["rule"]] = " ".join(view["verdict"][1:])
    head = ["claim", "what it says", *(f"`{rule}`" for rule in rules)]
    lines = [[name, row["says"], *(row.get(rule, "–") for rule in rules)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def written(text: str) -> str:
    """The page with its list made anew."""
    claims = json.loads((ROOT / "results/claims.json").read_text())["claims"]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{table(claims)}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
