"""What to cite: layerlocal itself and the papers behind rules and data, out of ``references.yaml``. For known rules it loads no torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from layerlocal import __version__
from layerlocal.runs.listing import describe
from layerlocal.types import InputError, unknown_name
from layerlocal.words import spoken

__all__ = [
    "Citations",
    "Cited",
    "Paper",
    "cite",
    "known_names",
    "refuse_unknown",
    "render_bibtex",
    "render_text",
    "used_in",
]

FILE = Path(__file__).with_name("references.yaml")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One entry of a bibliography.

    Args:
        key: of BibTeX.
        kind: of BibTeX: ``"article"``, ``"inproceedings"``, ``"techreport"`` or ``"misc"``.
        authors: in their order, as ``"First Last"``; what stands in braces is no person's name.
        title: as printed.
        year: of what is cited: the venue's where there is one.
        venue: journal, proceedings or institution.
        series, volume, pages: as BibTeX has them.
        eprint: of arXiv, without ``arXiv:``.
        doi: without an address in front.
        url: where there is neither.
    """

    key: str
    kind: str
    authors: tuple[str, ...]
    title: str
    year: int
    venue: str = ""
    series: str = ""
    volume: int | None = None
    pages: str = ""
    eprint: str = ""
    doi: str = ""
    url: str = ""


@dataclass
class Cited:
    """A reference, and whose it is.

    Args:
        reference: as a rule names it, ``arXiv:2212.13345`` for example.
        paper: its entry; ``None`` of a reference that a rule of the user's own names and we have no entry of.
        used_by: the rules and the data.
    """

    reference: str
    paper: Paper | None
    used_by: list[str]


@dataclass(frozen=True)
class Citations:
    """What `cite` found.

    Args:
        software: layerlocal itself.
        cited: every paper once: those of the rules, by the rules' names, then those of the data.
        without: rules and data that have no paper.
        unknown: rule files and data of the user's own: nothing is known of their papers.
    """

    software: Paper
    cited: tuple[Cited, ...]
    without: tuple[str, ...]
    unknown: tuple[str, ...]


def cite(rules: Iterable[str], data: Iterable[str], *, run_files: bool = False) -> Citations:
    """The papers of rules and data.

    Args:
        rules: names, or ``FILE.py:CLASS``.
        data: names of data sets; of a folder the last part of its path is taken as the name.
        run_files: import the rule files among ``rules`` to see what they name. Never for a store that came from somebody else.

    Raises:
        InputError: with ``run_files``, a rule that there is not, or a file that is no rule's.
    """
    software, papers, of_data = _entries()
    of_rules = _rule_references()
    cited: dict[str, Cited] = {}
    without, unknown = [], []
    found: list[tuple[str, Sequence[str] | None]] = [
        (name, of_rules[name] if name in of_rules else _own_references(name) if run_files else None)
        for name in sorted(set(rules))
    ]
    found += [(name, of_data.get(_last_part(name))) for name in sorted(set(data))]
    for name, references in found:
        called = _last_part(name)
        if references is None:
            unknown.append(called)
        elif not references:
            without.append(called)
        for reference in references or ():
            cited.setdefault(reference, Cited(reference, papers.get(reference), [])).used_by.append(called)
    return Citations(software, tuple(cited.values()), tuple(without), tuple(unknown))


def used_in(out: Path) -> tuple[list[str], list[str]]:
    """The rules, the partners of twins too, and the data of the finished runs of a store or of published results.

    Raises:
        InputError: no finished run there.
    """
    from layerlocal.runs.table import load_runs

    if not out.exists():
        raise InputError(
            f"there is no store at {out}; name another with --out, or what to cite with --rule NAME, --data NAME or --all"
        )
    table = load_runs(out)
    names = [set(table.column(column).to_pylist()) - {None, ""} for column in ("rule", "twin_of", "data")]
    return sorted(names[0] | names[1]), sorted(names[2])


def known_names() -> tuple[list[str], list[str]]:
    """Every rule and every data set that has an entry or is known to have none."""
    return sorted(_rule_references()), sorted(_entries()[2])


def refuse_unknown(rules: Iterable[str], data: Iterable[str]) -> None:
    """Names that were typed and that there are not.

    Raises:
        InputError: one of them, with the nearest that there is.
    """
    known_rules, known_data = known_names()
    for name in rules:
        if name not in known_rules and ".py" not in name:
            raise unknown_name("rule", name, [*known_rules, "FILE.py:CLASS"])
    for name in data:
        if name not in known_data:
            raise unknown_name("data set to cite", name, known_data)


@cache
def _entries() -> tuple[Paper, dict[str, Paper], dict[str, list[str]]]:
    """Layerlocal itself, papers by reference, references by data set."""
    import yaml

    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    papers = {reference: _paper(entry) for reference, entry in content["papers"].items()}
    return _paper(content["software"]), papers, content["data"]


def _paper(entry: dict[str, Any]) -> Paper:
    return Paper(**{**entry, "authors": tuple(entry["authors"])})


@cache
def _rule_references() -> dict[str, list[str]]:
    """Of every rule of ours, without building any."""
    rows = describe("rules")["rules"]
    return {row["name"]: [word for word in row["references"].split(", ") if word] for row in rows}


def _own_references(name: str) -> tuple[str, ...]:
    from layerlocal.rules import find_rule

    return tuple(find_rule(name).info.references)


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name


# --- as text ----------------------------------------------------------------------------------------------------------


def render_text(found: Citations) -> str:
    """One paragraph a paper: who uses it, then the reference; what has none is named at the end."""
    own = found.software
    parts = [f"layerlocal\n    {_sentence(own, version=__version__)}"]
    parts += [f"{', '.join(cited.used_by)}\n    {_reference(cited)}" for cited in found.cited]
    if found.without:
        parts.append(f"No paper: {', '.join(found.without)}.")
    if found.unknown:
        parts.append(f"Not known here, so cite their authors yourself: {', '.join(found.unknown)}.")
    return "\n\n".join(parts) + "\n"


def _reference(cited: Cited) -> str:
    return f"{cited.reference} (as the rule names it)" if cited.paper is None else _sentence(cited.paper)


def _sentence(paper: Paper, *, version: str = "") -> str:
    names = spoken([name.strip("{}") for name in paper.authors])
    volume = "" if paper.volume is None else str(paper.volume)
    pages = paper.pages.replace("--", "–")
    where = ", ".join(text for text in (paper.venue, paper.series, volume, pages) if text)
    parts = (f"{names} ({paper.year})", paper.title, version and f"Version {version}", where, _address(paper))
    return ". ".join(text for text in parts if text)


def _address(paper: Paper) -> str:
    if paper.doi:
        return f"https://doi.org/{paper.doi}"
    return f"arXiv:{paper.eprint}" if paper.eprint else paper.url


# --- as BibTeX --------------------------------------------------------------------------------------------------------

VENUE = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution", "misc": "howpublished"}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c", "\u030c": "v"}
LETTERS = {
    "ø": r"{\o}", "Ø": r"{\O}", "å": r"{\aa}", "ß": r"{\ss}", "æ": r"{\ae}", "ł": r"{\l}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#",
}  # fmt: skip
"""Letters and signs that BibTeX's own styles want in LaTeX's words."""


def render_bibtex(found: Citations) -> str:
    """Entries for a ``.bib`` file; a line ``% ...`` before each says whose it is. Letters are in plain ASCII."""
    parts = [_entry(found.software, "layerlocal itself", note=f"version {__version__}")]
    for cited in found.cited:
        whose = ", ".join(cited.used_by)
        parts.append(
            f"% {whose}: {cited.reference}, of which there is no entry here\n"
            if cited.paper is None
            else _entry(cited.paper, whose)
        )
    if found.unknown:
        parts.append(f"% not known here, so cite their authors yourself: {', '.join(found.unknown)}\n")
    return "\n".join(parts)


def _entry(paper: Paper, whose: str, *, note: str = "") -> str:
    fields = {
        "author": " and ".join(map(_latex, paper.authors)),
        "title": f"{{{_latex(paper.title)}}}",
        VENUE[paper.kind]: _latex(paper.venue),
        "series": paper.series,
        "volume": "" if paper.volume is None else str(paper.volume),
        "pages": paper.pages,
        "year": str(paper.year),
        "eprint": paper.eprint,
        "archiveprefix": "arXiv" if paper.eprint else "",
        "doi": paper.doi,
        "url": paper.url,
        "note": note,
    }
    width = max(len(name) for name, value in fields.items() if value)
    lines = [f"  {name:<{width}} = {{{value}}}," for name, value in fields.items() if value]
    return f"% {whose}\n@{paper.kind}{{{paper.key},\n" + "\n".join(lines) + "\n}\n"


def _latex(text: str) -> str:
    return "".join(LETTERS.get(sign) or _accented(sign) for sign in text)


def _accented(sign: str) -> str:
    """``é`` → ``{\\'e}``; a sign without an accent, or with one that is not known, as it is."""
    letter, *accents = list(unicodedata.normalize("NFD", sign))
    if len(accents) != 1 or accents[0] not in ACCENTS:
        return sign
    mark = ACCENTS[accents[0]]
    return f"{{\\{mark}{{{letter}}}}}" if mark.isalpha() else f"{{\\{mark}{letter}}}"
