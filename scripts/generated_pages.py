"""Write the pages that are made from the code: python scripts/generated_pages.py (a test holds them to it)."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import layerlocal
from layerlocal.runs.listing import describe

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
    if kind == "arXiv":
        return f"[{where}](https://arxiv.org/abs/{where})"
    return f"[{'OpenReview' if 'openreview' in where else where.strip('/')}]({reference})"


TASKS = {
    "Data": ["data"],
    "Networks": ["networks", "networks.weights"],
    "Rules": ["rules"],
    "Training": ["training.fit", "training.estimator", "training.evaluate", "training.loggers"],
    "Experiments": ["experiments.api", "summary", "experiments.twins"],
    "Certificates and measurements": ["measure.contract", "measure", "measure.certify"],
    "Runs": ["spec", "runs.run", "runs.many", "runs.store", "runs.table"],
    "Words that all share": ["types"],
}
"""Modules of the public names by task; a module that is in none has a task of its own, by its name."""
API = """# Python API

Every public name: `from layerlocal import fit`. Arguments, shapes, units and errors are in the docstrings: `help(layerlocal.fit)` shows
them, and on the site they stand under each table. Names of other modules may change without notice.
"""


def api_page() -> str:
    """docs/api.md: a table a task, and a comment a name, which the site makes its reference."""
    homes_of = public_names()
    named = {home for homes in TASKS.values() for home in homes}
    others = {home.capitalize(): [home] for home in homes_of.values() if home not in named}
    parts = [API]
    for task, homes in {**TASKS, **others}.items():
        names = sorted((name for name, home in homes_of.items() if home in homes), key=str.lower)
        rows = [f"| [`{name}`]({_source(name)}) | {_first_line(name)} |" for name in names]
        references = [f"<!-- ::: layerlocal.{name} -->" for name in names]
        parts.append("\n".join([f"## {task}", "", "| name | what it is |", "|---|---|", *rows, "", *references, ""]))
    return "\n".join(parts)


def public_names() -> dict[str, str]:
    """Every name of ``layerlocal/__init__.pyi`` and the module that it is taken from."""
    stub = ast.parse(Path(layerlocal.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def _home(name: str):
    """The module in which a public name is written."""
    found = getattr(layerlocal, name)
    where = getattr(found, "__module__", "")
    return importlib.import_module(where if where.startswith("layerlocal") else f"layerlocal.{public_names()[name]}")


def _source(name: str) -> str:
    file = Path(_home(name).__file__)
    return f"../src/layerlocal/{file.relative_to(Path(layerlocal.__file__).parent).as_posix()}"


def _first_line(name: str) -> str:
    """What its docstring says first; of a constant the string under it."""
    found = getattr(layerlocal, name)
    doc = inspect.getdoc(found) if inspect.isclass(found) or inspect.isfunction(found) else _said_below(name)
    return doc.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _said_below(name: str) -> str:
    body = ast.parse(inspect.getsource(_home(name))).body
    [at] = [i for i, node in enumerate(body) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name]
    return ast.literal_eval(body[at + 1].value)


PAGES = {DOCS / "rules/README.md": rules_page, DOCS / "api.md": api_page}

if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make(), encoding="utf-8")
