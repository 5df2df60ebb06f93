"""The pages of the public table, made of what stores hold: an index, a page for each rule, one for each claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from layerlocal.report.certificate import tiny_matrix
from layerlocal.report.claims import claim_rows, claims_headline
from layerlocal.report.content import Content
from layerlocal.report.page import environment
from layerlocal.report.site.field import Cost, Entry, costs_of, entries_of, headline_words, link_of, price_figure
from layerlocal.report.views import Picture, free, slug
from layerlocal.runs.store import write_atomic
from layerlocal.summary import Axis, Figure, Guide, Point, Series
from layerlocal.types import InputError
from layerlocal.words import clean, has_interval, hundredths, known, several

__all__ = ["Site", "render_site", "write_site"]

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Site:
    """Everything that the public table shows.

    Args:
        content: of the stores together: summaries, claims with verdicts, accuracies (`layerlocal.claims.compare_accuracies` and
            `measured_accuracies`), runs, warnings.
        rules: what is known of each (`layerlocal.runs.listing.describe`).
        certificates: rule → the figure of its certificate, where a run of it is at hand.
        foreign: code of others that was certified (`layerlocal.claims.load_foreign`).
        stores: names of the folders.
    """

    content: Content
    rules: Sequence[Row] = ()
    certificates: Mapping[str, Figure] = field(default_factory=dict)
    foreign: Sequence[Row] = ()
    stores: Sequence[str] = ()

    @cached_property
    def entries(self) -> list[Entry]:
        """The rows of the table."""
        return entries_of(self.content.accuracies)

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """A view a claim (`layerlocal.report.claims.claim_rows`) and the name of its page."""
        names = _names([clean(row.get("id")) for row in self.content.claims])
        return [{**view, "page": name} for view, name in zip(claim_rows(self.content.claims), names, strict=True)]

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Rule → what it costs."""
        return costs_of(self.content.summaries)

    @cached_property
    def pages_of_rules(self) -> dict[str, str]:
        """Rule → the name of its page, for every rule that is known or was measured."""
        measured = [row.get("rule") for row in (*self.content.accuracies, *self.content.claims)]
        rules = list(
            dict.fromkeys(clean(name) for name in (*(row.get("name") for row in self.rules), *measured) if name)
        )
        return dict(zip(rules, _names(rules), strict=True))

    @cached_property
    def tiny(self) -> dict[str, Any]:
        """Rule → its certificate as a small picture for a cell."""
        return {rule: tiny_matrix(figure) for rule, figure in self.certificates.items()}

    @cached_property
    def locality(self) -> dict[str, tuple[str, str]]:
        """Rule → ``("✓ block", "12 runs")``: what its own runs were measured to be."""
        found: dict[str, list[Row]] = {}
        for row in self.content.runs:
            if not row.get("twin_of") and row.get("certified") is not None:
                found.setdefault(clean(row.get("rule")), []).append(row)
        return {rule: _certified(rows) for rule, rows in found.items()}


def _certified(rows: Sequence[Row]) -> tuple[str, str]:
    wrong = [row for row in rows if not row["certified"]]
    shown = (wrong or rows)[0]
    mark = "✗" if wrong else "✓"
    return f"{mark} {clean(shown.get('locality') or '')}", several(len(wrong or rows), "run")


def _names(texts: Sequence[str]) -> list[str]:
    """Names of files, no two alike whatever the case, made of letters that every system takes."""
    taken = set[str]()
    return [free([slug(text) or "page"], taken) for text in texts]


def render_site(site: Site) -> dict[str, str]:
    """Path of each file in the folder → its text: ``index.html``, ``rules/NAME.html``, ``claims/ID.html``, and the style and script of all."""
    jinja = environment(Path(__file__).parent)
    common = {"site": site, "content": site.content}

    def page(template: str, up: str = "", **view: Any) -> str:
        return jinja.get_template(template).render(up=up, **common, **view)

    pages = {"index.html": page("index.html", **_index(site))}
    for rule, name in site.pages_of_rules.items():
        pages[f"rules/{name}.html"] = page("rule.html", "../", **_rule(site, rule))
    for view, row in zip(site.claims, site.content.claims, strict=True):
        pages[f"claims/{view['page']}.html"] = page("claim.html", "../", **_claim(site, view, row))
    return pages | {"page.css": str(jinja.globals["style"]), "page.js": str(jinja.globals["script"])}


def write_site(site: Site, folder: str | Path) -> list[Path]:
    """Writes every page, their style and their script into a folder, each whole or not at all; other files in it are left alone.

    Raises:
        InputError: the folder cannot be made or written.
    """
    written = []
    for name, text in render_site(site).items():
        path = Path(folder) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent} cannot be made a folder ({error.strerror}); give another with --to"
            ) from None
        write_atomic(path, text.encode("utf-8", "replace"), mend="give another folder with --to")
        written.append(path)
    return written


# --- views ------------------------------------------------------------------------------------------------------------


def _index(site: Site) -> dict[str, Any]:
    figure = price_figure(site.content.accuracies)
    words = headline_words(site.content.accuracies)
    return {
        "entries": site.entries,
        "costs": site.costs,
        "headline": claims_headline(site.content.claims) if site.content.judged else words[0],
        "sentences": words if site.content.judged else words[1:],
        "picture": _picture(figure) if figure is not None else None,
        "foreign": site.foreign,
    }


def _rule(site: Site, rule: str) -> dict[str, Any]:
    known_facts = next((row for row in site.rules if row.get("name") == rule), {})
    rows = [row for row in site.content.accuracies if row.get("rule") == rule]
    figure, certificate = _three_terms(rows), site.certificates.get(rule)
    references = [text for text in clean(known_facts.get("references") or "").replace(",", " ").split() if text]
    return {
        "rule": rule,
        "what": clean(known_facts.get("what") or ""),
        "facts": [
            (key, clean(known_facts[key]))
            for key in ("locality", "step", "prediction", "needs")
            if known_facts.get(key)
        ],
        "options": clean(known_facts.get("options") or ""),
        "references": [(text, link_of(text)) for text in references],
        "entries": [entry for entry in site.entries if entry.rule == rule],
        "cost": site.costs.get(rule),
        "picture": _picture(figure) if figure is not None else None,
        "certificate": _picture(certificate) if certificate is not None else None,
        "claims": [view for view, row in zip(site.claims, site.content.claims, strict=True) if row.get("rule") == rule],
    }


def _claim(site: Site, view: Mapping[str, Any], row: Row) -> dict[str, Any]:
    statement = clean(row.get("id")).partition("@")[0]
    figure = _seeds(row)
    return {
        "claim": view,
        "href": link_of(view["source"]),
        "rule": clean(row.get("rule") or ""),
        "picture": _picture(figure) if figure is not None else None,
        "others": [other for other in site.claims if other is not view and other["id"].partition("@")[0] == statement],
    }


def _picture(figure: Figure) -> Picture:
    return Picture(figure, f"figure-{figure.name}", figure.rules)


_TERMS = {
    "extra_supervision": "extra supervision: DeepSup − BP",
    "price_of_locality": "price of locality: local − DeepSup",
    "objective": "price of the objective: BP of the rule's loss − ordinary BP",
}


def _three_terms(rows: Sequence[Row]) -> Figure | None:
    """What a rule's gap to backprop is made of, beside the names of the data sets."""
    by_data = {clean(row.get("data")): row for row in rows}
    series = [
        Series(
            name=words, points=tuple(Point(x=row[key], y=data) for data, row in by_data.items() if known(row.get(key)))
        )
        for key, words in _TERMS.items()
    ]
    drawn = tuple(one for one in series if one.points)
    if not drawn:
        return None
    return Figure(
        name="terms",
        kind="points",
        title="What the gap to backprop is made of",
        caption="Paired by seed; bars are 95 % intervals, small dots the single seeds.",
        x=Axis(label="difference in test accuracy", unit="pp", better="more"),
        y=Axis(scale="category"),
        series=drawn,
        guides=(Guide(axis="x", at=0.0),),
    )


def _seeds(row: Row) -> Figure | None:
    """A claim's measured mean with its interval and single values, beside the bound that it was held against."""
    estimate, unit = row.get("estimate"), clean(row.get("unit") or "")
    if not known(estimate) or not has_interval(estimate):
        return None
    effect, reference = float(row.get("smallest_effect") or 0.0), float(row.get("reference") or 0.0)
    signs = {"greater": (1,), "less": (-1,), "none": (1, -1)}.get(str(row.get("direction")), ())
    bounds = dict.fromkeys((reference + sign * effect) / hundredths(unit) for sign in signs)
    return Figure(
        name="claim",
        kind="points",
        title="What was measured, and the bound",
        caption="The mark is the mean, the bar its 95 % interval, small dots are the single values. The line is where the verdict turns.",
        x=Axis(label=clean(row.get("what") or "measured"), unit=unit, better=""),
        y=Axis(scale="category"),
        series=(Series(name="measured", points=(Point(x=estimate, y=clean(row.get("rule") or "measured")),)),),
        guides=tuple(Guide(axis="x", at=bound, label="smallest effect that counts") for bound in bounds),
    )
