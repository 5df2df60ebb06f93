"""Write the table of claims in docs/studies.md from results/claims.json: python scripts/claims_table.py (a test holds the page to it)."""

from __future__ import annotations

import json
import re
from pathlib import Path

from layerlocal.report.claims import claim_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/studies.md"
BEGIN, END = "<!-- claims: python scripts/claims_table.py -->", "<!-- end of claims -->"
COLUMNS = ("claim", "claimed", "measured", "verdict", "what would settle it")


def table(claims: list[dict]) -> str:
    """One row a claim, in the order of the file."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row, view in zip(claims, claim_rows(claims), strict=True):
        measured = f"{_quantity(row)}: {' '.join(view['measured'])}" if row.get("estimate") else "—"
        _, sign, verdict = view["verdict"]
        said = f"{sign} {verdict}" + (f" ({row['size']}, n = {row['n']})" if row.get("estimate") else "")
        cells = (f"**{row['id']}** {row['sentence']}", view["reported"], measured, said, settled_by(row))
        lines.append(f"| {' | '.join(map(_plain, cells))} |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "∣").strip()


def _quantity(row: dict) -> str:
    return (
        row["what"].replace("price_of_locality", "price of locality").replace("extra_supervision", "extra supervision")
    )


def settled_by(row: dict) -> str:
    """The number of seeds, for a verdict that is open; a cost claim's are rounds and processes of a machine."""
    if row["verdict"] == "cannot be judged":
        return "a size at which BP leads"
    ends = row.get("n_needed_range")
    if row["verdict"] != "inconclusive" or not ends:
        return ""
    least, most = (f"{end:,}" if end is not None else "more than 10,000" for end in ends)
    return f"n = {least} to {most}"


def written(text: str) -> str:
    """The page with its table made anew."""
    claims = json.loads((ROOT / "results/claims.json").read_text())["claims"]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{table(claims)}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
