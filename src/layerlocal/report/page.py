"""Content -> HTML. The templates escape every string; the only markup let through is our own SVG, links and style sheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from layerlocal.report import claims, cost, runs, studies, tuning, views
from layerlocal.report.draw import draw_figure
from layerlocal.report.palette import dark_style
from layerlocal.report.sections import table
from layerlocal.report.svg import FORMATS, Drawing
from layerlocal.runs.store import write_atomic
from layerlocal.summary import Figure, Part, Summary
from layerlocal.types import InputError, unknown_name
from layerlocal.words import NOT_RUN, clean, spoken

__all__ = ["figure_of", "page_figures", "render_page", "whole_content", "write_figures", "write_page"]

_HERE = Path(__file__).parent
_PARTS = ("audit", "studies", "costs", "tunes")
"""Parts of a content that may hold summaries."""


def render_page(content: Mapping[str, Any] | Summary) -> str:
    """One self-contained HTML page of whatever a store holds; what was not run says so and names the command that runs it.

    Args:
        content: a `Summary`, or ``{"title", "command", "created", "summaries": [Summary], "audit": a Summary or None,
            "studies": [summary], "costs": [summary], "tunes": [summary], "claims": [verdict row], "claims_sha256",
            "accuracies": [row], "runs": [row], "warnings": [text]}``; any part may be missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    colours = dark_style("var(--ink)", "var(--paper)", within="svg[role=img] ")
    style = Markup(f"{(_HERE / 'page.css').read_text(encoding='utf-8')}{colours}\n")
    return environment.get_template("page.html").render(style=style, **_view(whole_content(content)))


def write_page(content: Mapping[str, Any] | Summary, path: str | Path) -> Path:
    """Writes the page to ``path`` by an atomic rename, so that a reader never sees half of it."""
    path = Path(path)
    data = render_page(content).encode("utf-8", "replace")
    write_atomic(path, data, mend="`layerlocal report --format md` prints it instead")
    return path


def page_figures(content: Mapping[str, Any] | Summary) -> dict[str, Drawing]:
    """Every figure of the page, in its order, by its name, which is also its id on the page.

    Args:
        content: see `render_page`.
    """
    return {drawing.name: drawing for drawing in _drawings(_view(whole_content(content)))}


def write_figures(
    content: Mapping[str, Any] | Summary, folder: str | Path, forms: Sequence[str] = FORMATS
) -> list[Path]:
    """Writes every figure of the page as ``NAME.FORMAT`` into a folder, each file whole or not at all.

    Args:
        content: see `render_page`.
        folder: made where there is none.
        forms: of ``svg``, ``png``, ``pdf``.

    Raises:
        InputError: no such format, no figure in the content, a folder that cannot be written.
    """
    folder = Path(folder)
    for form in forms:
        if form not in FORMATS:
            raise unknown_name("format of a figure", form, FORMATS)
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


def _drawings(view: Any) -> Iterator[Drawing]:
    """Every drawing in a view, however deep."""
    if isinstance(view, Drawing):
        yield view
    elif isinstance(view, views.Section | views.Picture):
        yield from _drawings(view.__dict__)
    elif isinstance(view, Mapping):
        for inner in view.values():
            yield from _drawings(inner)
    elif isinstance(view, list | tuple):
        for inner in view:
            yield from _drawings(inner)


def figure_of(summary: Summary, name: str) -> Drawing:
    """The first panel of one figure of a summary, for a file of its own.

    Args:
        summary: any.
        name: the figure's.

    Raises:
        InputError: it has no such figure, or nothing in it can be drawn yet.
    """
    found = {figure.name: figure for figure in _figures(summary)}
    if name not in found:
        raise unknown_name(f"figure of {summary.title or summary.name}", name, found)
    drawings = draw_figure(found[name], name, summary.rules)
    if not drawings:
        raise InputError(f"nothing in the figure {name} can be drawn yet")
    return drawings[0]


def whole_content(content: Mapping[str, Any] | Summary) -> dict[str, Any]:
    """The content with every part in it; a summary alone becomes the content of a page about it."""
    if isinstance(content, Summary):
        content = {
            "summaries": [content],
            "title": content.title,
            "command": content.command,
            "created": content.created,
        }
    given = dict(content)
    found = list(given.get("summaries") or [])
    for key in _PARTS:
        value = given.get(key)
        found += [s for s in ([value] if isinstance(value, Summary) else value or []) if isinstance(s, Summary)]
    lists: dict[str, list[Any]] = {
        key: [value for value in given.get(key) or [] if not isinstance(value, Summary)]
        for key in ("studies", "costs", "tunes", "claims", "accuracies", "runs", "warnings")
    }
    return {
        "title": given.get("title") or "layerlocal report",
        "command": given.get("command") or "layerlocal report",
        "created": given.get("created"),
        "summaries": found,
        "claims_sha256": given.get("claims_sha256"),
        **lists,
        "runs": list({str(row.get("run")): row for row in lists["runs"]}.values()),
    }


def _view(content: dict[str, Any]) -> dict[str, Any]:
    names = studies.anchors(content["studies"])
    summaries: list[Summary] = content["summaries"]
    first = not content["claims"] or all(row.get("verdict", NOT_RUN) == NOT_RUN for row in content["claims"])
    places = views.anchors(summaries)
    homes = {(s.get("study"), s.get("size")): name for s, name in zip(content["studies"], names, strict=True)}
    homes |= {(s.name, s.size): place for s, place in zip(summaries, places, strict=True)}
    listed = runs.listed_runs(content["runs"], set(_linked(content)))
    return {
        "title": clean(content["title"]),
        "facts": list(_facts(content)),
        "command": clean(content["command"]),
        "warnings": [clean(text) for text in [*content["warnings"], *_few_seeds(content)]],
        "summaries": [
            {
                "section": views.section(s, place),
                "opening": first and not i and bool(s.parts or len(summaries) == 1),
                "titled": len(summaries) + len(content["studies"]) + len(content["claims"]) > 1,
            }
            for i, (s, place) in enumerate(zip(summaries, places, strict=True))
        ],
        "claims_first": not first,
        "claims": claims.claim_rows(content["claims"], homes),
        "claims_headline": claims.claims_headline(content["claims"]) if content["claims"] else "",
        "claims_sha256": clean(content["claims_sha256"] or ""),
        "studies": [studies.study_view(s, name) for s, name in zip(content["studies"], names, strict=True)],
        "costs": [cost.cost_view(c, f"cost-audit-{i}") for i, c in enumerate(content["costs"])],
        "tunes": [tuning.tune_view(t, f"search-{i}") for i, t in enumerate(content["tunes"])],
        "accuracies": claims.accuracy_table(content["accuracies"]) if content["accuracies"] else None,
        "runs": runs.run_view(listed, len(content["runs"])),
        "run_names": {clean(row.get("run", "?")) for row in listed},
        "environment": _table("Hardware, versions and settings", _environment(content)),
    }


def _linked(content: dict[str, Any]) -> Iterator[str]:
    """The runs that the summaries are made of."""
    for summary in content["summaries"]:
        for row in summary.rows:
            if isinstance(row.get("runs"), Mapping):
                yield from map(str, row["runs"].values())
        yield from (run for figure in _figures(summary) for run in figure.runs)
    for study in content["studies"]:
        for row in study.get("rows") or []:
            if isinstance(row.get("runs"), Mapping):
                yield from map(str, row["runs"].values())


def _figures(part: Part) -> Iterator[Figure]:
    yield from part.figures
    for inner in part.parts:
        yield from _figures(inner)


def _few_seeds(content: dict[str, Any]) -> Iterator[str]:
    """That two seeds make intervals of which little can be said."""
    parts = [
        f"the {s.experiment} {s.name}" if s.name != s.experiment else f"the {s.name}"
        for s in content["summaries"]
        if len(s.seeds) == 2
    ]
    parts += [f"the study {study.get('study')}" for study in content["studies"] if len(study.get("seeds") or []) == 2]
    if parts:
        yield (
            f"Two seeds only: {spoken(parts)}. An interval over two seeds reaches 6.4 times as far as they lie apart, to either side of their "
            "mean; it is cut where accuracies end. Give --seeds 3 or more."
        )


def _facts(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The line under the title."""
    parts = list(content["studies"])
    parts += [{"layerlocal": s.layerlocal, "protocol": s.protocol or "?"} for s in content["summaries"]]
    versions = dict.fromkeys((p["layerlocal"], p.get("protocol", "?")) for p in parts if p.get("layerlocal"))
    if len(content["summaries"]) == 1:
        yield from views.facts(content["summaries"][0].model_copy(update={"created": ""}))
    for word, value in (
        ("claims", len(content["claims"])),
        ("experiments", len(content["summaries"]) if len(content["summaries"]) > 1 else 0),
        ("studies", len(content["studies"])),
        ("runs", len(content["runs"])),
        ("made", content["created"]),
        ("layerlocal", "; ".join(f"{version}, protocol {protocol}" for version, protocol in versions)),
    ):
        if value:
            yield word, f"{value:,}" if isinstance(value, int) else clean(value)


def _environment(content: dict[str, Any]) -> list[list[str]]:
    """Hardware and versions of every part; where parts differ, each value with the parts it is of."""
    parts: list[tuple[str, dict[str, Any]]] = [
        (f"{s.name or s.experiment} {s.size}".strip(), {"environment": s.environment or None})
        for s in content["summaries"]
    ]
    parts += [(str(s.get("study") or "?"), s) for s in content["studies"]]
    parts += [(f"cost {c.get('size') or '?'}", c) for c in content["costs"]]
    known = [(name, part["environment"]) for name, part in parts if isinstance(part.get("environment"), dict)]
    rows = []
    for key in dict.fromkeys(key for _, environment in known for key in environment):
        said: dict[str, list[str]] = {}
        for name, environment in known:
            if key in environment:
                said.setdefault(_as_text(environment[key]), []).append(name)
        values = list(said) if len(said) == 1 else [f"{value} ({', '.join(names)})" for value, names in said.items()]
        rows.append([clean(key), "; ".join(values)])
    return rows


def _as_text(value: Any) -> str:
    """A value in one line; what is nested is written as JSON."""
    return clean(json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value)


def _table(caption: str, rows: list[list[str]]) -> dict[str, Any] | None:
    return table(caption, ["what", "value"], rows, words=2) if rows else None
