"""Write the pages that are made from the code: python scripts/generated_pages.py (a test holds them to it)."""

from __future__ import annotations

from pathlib import Path

from layerlocal.listing import describe

DOCS = Path(__file__).resolve().parents[1] / "docs"
OURS, TWINS = ("committee", "panel"), ("bp", "bp-deepsup")
KINDS = {
    "Local: no gradient leaves its block": lambda row: row["locality"] == "locality block",
    "Between local and global": lambda row: row["locality"] != "locality block" and row["name"] not in TWINS,
    "Backprop, as the twin of any rule": lambda row: row["name"] in TWINS,
}
RULES = """# Rules, one card each

A card says what a block learns, the equations, what differs from the paper, what it costs and what was measured.
`layerlocal list rules` prints this list with all options.

"""


def rules_page() -> str:
    """docs/rules/README.md, one line a rule."""
    rows = describe("rules")["rules"]
    parts = []
    for title, belongs in KINDS.items():
        lines = [_rule_line(row) for row in rows if belongs(row)]
        parts.append(
            "\n".join([f"## {title}", "", "| rule | what it does | it needs | papers |", "|---|---|---|---|", *lines])
        )
    return RULES + "\n\n".join(parts) + "\n"


def _rule_line(row) -> str:
    name, needs = row["name"], row["needs"].removeprefix("needs ")
    ours = " (ours)" if name in OURS else ""
    return f"| [`{name}`]({name}.md){ours} | {row['what']} | {needs} | {_papers(row['references'])} |"


def _papers(references: str) -> str:
    return ", ".join(_paper(reference) for reference in references.split(", ") if reference)


def _paper(reference: str) -> str:
    kind, _, where = reference.partition(":")
    return f"[{where}](https://arxiv.org/abs/{where})" if kind == "arXiv" else f"[OpenReview]({reference})"


PAGES = {DOCS / "rules/README.md": rules_page}

if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make(), encoding="utf-8")
