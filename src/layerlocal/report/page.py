"""A content as one HTML page. The templates escape every string; the only markup let through is our own SVG, links and style sheet."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from layerlocal.report import claims, runs
from layerlocal.report.canvas import FORMATS, Drawing, drawable, refuse_undrawable
from layerlocal.report.content import Content, content_of
from layerlocal.report.palette import dark_style
from layerlocal.report.short import in_short
from layerlocal.report.views import Grid, Opening, facts, pairs, sections_of
from layerlocal.runs.store import write_atomic
from layerlocal.summary import Summary
from layerlocal.types import InputError, unknown_name
from layerlocal.words import clean, printable, spoken

__all__ = ["environment", "figure_of", "page_figures", "render_page", "write_figures", "write_page"]

_HERE = Path(__file__).parent


def environment(*folders: Path) -> Any:
    """What renders templates of these folders and of this one: every string is escaped, and loses what no page can hold."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=FileSystemLoader([*folders, _HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    colours = dark_style("var(--ink)", "var(--paper)", within="svg[role=img] ")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    found.globals |= {
        "style": Markup(f"{(_HERE / 'page.css').read_text(encoding='utf-8')}{colours}\n"),
        "script": Markup(script),
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "run_names": (),
    }
    return found


def render_page(content: Content | Summary) -> str:
    """One self-contained HTML page of whatever a store holds; what was not run says so and names the command that runs it."""
    return str(environment().get_template("page.html").render(**_view(content_of(content))))


def write_page(content: Content | Summary, path: str | Path) -> Path:
    """Writes the page to ``path`` by an atomic rename, so that a reader never sees half of it."""
    path = Path(path)
    data = render_page(content).encode("utf-8", "replace")
    write_atomic(path, data, mend="`layerlocal report --format md` prints it instead")
    return path


def page_figures(content: Content | Summary) -> dict[str, Drawing]:
    """Every figure of the page, in its order, by its name, which is also its id on the page."""
    sections = sections_of(content_of(content).summaries)
    return {d.name: d for section in sections for picture in section.all_pictures for d in picture.drawings}


def write_figures(content: Content | Summary, folder: str | Path, forms: Sequence[str] | None = None) -> list[Path]:
    """Writes every figure of the page as ``NAME.FORMAT`` into a folder, each file whole or not at all.

    Args:
        content: what is shown.
        folder: made where there is none.
        forms: of ``svg``, ``png``, ``pdf``; ``None``: all that can be drawn here.

    Raises:
        InputError: no such format, one that needs an extra, no figure in the content, a folder that cannot be written.
    """
    folder = Path(folder)
    forms = drawable() if forms is None else forms
    for form in forms:
        if form not in FORMATS:
            raise unknown_name("format of a figure", form, FORMATS)
        refuse_undrawable(form)
    drawings = page_figures(content)
    if not drawings:
        raise InputError("there is no figure to write: nothing that is finished has one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made a folder ({error.strerror}); give another with --figures") from None
    written = []
    for name, drawing in drawings.items():
        for form in forms:
            written.append(folder / f"{name}.{form}")
            write_atomic(written[-1], drawing.to_file(form), mend="give another folder with --figures")
    return written


def figure_of(summary: Summary, name: str) -> Drawing:
    """The first panel of one figure of a summary, for a file of its own.

    Args:
        summary: any.
        name: the figure's.

    Raises:
        InputError: it has no such figure, or nothing in it can be drawn yet.
    """
    (section,) = sections_of([summary])
    found = {picture.figure.name: picture for picture in section.all_pictures}
    if name not in found:
        raise unknown_name(f"figure of {section.title}", name, found)
    if not found[name].drawings:
        raise InputError(f"nothing in the figure {name} can be drawn yet")
    return found[name].drawings[0]


def _view(content: Content) -> dict[str, Any]:
    """What the templates read."""
    sections = sections_of(content.summaries)
    homes = {(s.part.name, s.part.size): s.anchor for s in sections}
    shown = {*content.linked_runs(), *(run for s in sections for picture in s.all_pictures for run in picture.runs)}
    listed = runs.listed_runs(list(content.runs), shown)
    return {
        "content": content,
        "facts": list(_facts(content)),
        "warnings": [*content.warnings, *_few_seeds(content.summaries)],
        "sections": sections,
        "opening": _opening(sections),
        "titled": len(sections) + len(content.claims) > 1,
        "claims": claims.claim_rows(content.claims, homes),
        "claims_headline": claims.claims_headline(content.claims),
        "accuracies": claims.accuracy_table(content.accuracies) if content.accuracies else None,
        "runs": runs.run_view(listed, len(content.runs)),
        "run_names": {clean(row.get("run", "?")) for row in listed},
        "machines": _machines(content.summaries),
    }


def _opening(sections: Sequence[Opening]) -> Opening | None:
    """The section whose first sentence is the headline of the page: the first one, where it is of an audit or stands alone."""
    first = sections[0] if sections else None
    return first if first and (first.parts or len(sections) == 1) else None


def _few_seeds(summaries: Sequence[Summary]) -> Iterator[str]:
    """That two seeds make intervals of which little can be said."""
    parts = [" ".join(dict.fromkeys(("the", s.experiment, s.name))).rstrip() for s in summaries if len(s.seeds) == 2]
    if parts:
        yield (
            f"Two seeds only: {spoken(parts)}. An interval over two seeds reaches 6.4 times as far as they lie apart, to either side of their "
            "mean; it is cut where accuracies end. Give --seeds 3 or more."
        )


def _facts(content: Content) -> Iterator[tuple[str, str]]:
    """The line under the title."""
    told = (f"{s.layerlocal}, protocol {s.protocol}" if s.protocol else s.layerlocal for s in content.summaries)
    versions = [version for version in dict.fromkeys(told) if version]
    alone = len(content.summaries) == 1
    if alone:
        yield from (fact for fact in facts(in_short(content.summaries[0])) if fact[0] != "made")
    counts = {
        "claims": len(content.claims),
        "experiments": 0 if alone else len(content.summaries),
        "runs": 0 if alone and content.summaries[0].planned else len(content.runs),
    }
    yield from ((word, f"{count:,}") for word, count in counts.items() if count)
    yield from ((word, text) for word, text in (("made", content.created), ("layerlocal", "; ".join(versions))) if text)


def _machines(summaries: Sequence[Summary]) -> Grid | None:
    """Hardware and versions of every summary; where they differ, each value with those it is of."""
    known = [(f"{s.name or s.experiment} {s.size}".strip(), s.environment) for s in summaries if s.environment]
    rows = []
    for key in dict.fromkeys(key for _, environment in known for key in environment):
        said: dict[str, list[str]] = {}
        for name, environment in known:
            if key in environment:
                said.setdefault(_as_text(environment[key]), []).append(name)
        values = list(said) if len(said) == 1 else [f"{value} ({', '.join(names)})" for value, names in said.items()]
        rows.append([key, "; ".join(values)])
    return pairs("Hardware, versions and settings", ["what", "value"], rows) if rows else None


def _as_text(value: Any) -> str:
    """A value in one line of words, whatever is nested in it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(key)} {_as_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", then ".join(_as_text(inner) for inner in value)
    return clean(value)
