"""Tables, figures and sentences that several studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlocal.stats import Estimate
from layerlocal.studies.base import METHODS, Row, estimates, group_rows, plotted

__all__ = ["axis", "difference_figure", "difference_table", "gap_sentence", "points", "series_by"]

COLUMNS = (
    ("local", "local", "percent"),
    ("bp", "BP", "percent"),
    ("bp-deepsup", "BP-DeepSup", "percent"),
    ("gap", "gap: local − BP", "points"),
    ("extra_supervision", "extra supervision: DeepSup − BP", "points"),
    ("price_of_locality", "price of locality: local − DeepSup", "points"),
)
NAMES = {
    "gap": "gap: local − BP",
    "extra_supervision": "extra supervision: DeepSup − BP",
    "price_of_locality": "price of locality: local − DeepSup",
}


def axis(label: str, unit: str = "", scale: str = "linear") -> dict[str, str]:
    """An axis of a figure."""
    return {"label": label, "unit": unit, "scale": scale}


def points(value: Mapping[str, Any]) -> str:
    """``-1.3 pp [-2.0, -0.6], n=3`` in words for a sentence."""
    text = f"{100 * value['mean']:+.1f} pp"
    if value["low"] is not None:
        text += f" [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"
    return f"{text}, n={value['n']}".replace("-", "−")


def judged(value: Mapping[str, Any]) -> str:
    """What an interval says against 0."""
    if value["low"] is None:
        return "one seed, not judged"
    if value["high"] < 0:
        return "below"
    return "above" if value["low"] > 0 else "not told apart"


def gap_sentence(where: str, found: Mapping[str, Estimate]) -> str:
    """The gap and the price of locality in one sentence."""
    words = {"below": "below BP", "above": "above BP", "not told apart": "not told apart from BP"}
    gap = found["gap"]
    text = f"{where}: {words.get(judged(gap), judged(gap))} ({points(gap)})"
    price = found.get("price_of_locality")
    return f"{text}; price of locality {points(price)}." if price else f"{text}."


def difference_table(caption: str, rows: Sequence[Row], axes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A row for each value of the axes: three accuracies and three differences, over seeds."""
    body = []
    for values, part in group_rows(rows, *(key for key, _ in axes)).items():
        body.append(
            {key: value for (key, _), value in zip(axes, values, strict=True)}
            | estimates(part, *(key for key, *_ in COLUMNS))
        )
    columns = [{"key": key, "label": label, "kind": "text"} for key, label in axes]
    columns += [
        {"key": key, "label": label, "kind": kind} for key, label, kind in COLUMNS if any(key in row for row in body)
    ]
    return {"caption": caption, "columns": columns, "rows": body}


def series_by(
    rows: Sequence[Row], x: str, keys: Sequence[str] = tuple(NAMES), *, panel: str | None = None
) -> list[dict[str, Any]]:
    """A series for each rule and column."""
    several = len({row["rule"] for row in rows}) > 1
    found = []
    for (rule,), part in group_rows(rows, "rule").items():
        for key in keys:
            name = f"{rule}: {NAMES.get(key, key)}" if several else NAMES.get(key, key)
            found.append({"name": name, "panel": panel, "points": list(plotted(part, x, key))})
    return [series for series in found if series["points"]]


def difference_figure(
    name: str,
    caption: str,
    rows: Sequence[Row],
    *,
    x: str,
    label: str,
    scale: str,
    panels: Mapping[str, Sequence[Row]] | None = None,
) -> dict[str, Any]:
    """Gap, extra supervision and price of locality against one axis, in panels where given."""
    series = [s for panel, part in (panels or {"": rows}).items() for s in series_by(part, x, panel=panel or None)]
    return {
        "name": name,
        "kind": "points" if scale == "category" else "lines",
        "caption": f"{caption}. Paired by seed, 95 % intervals.",
        "x": axis(label, scale=scale),
        "y": axis("difference in test accuracy", "pp"),
        "series": series,
    }


def method_names(rows: Sequence[Row]) -> list[str]:
    """Every method of the rows, the usual three first."""
    found = dict.fromkeys(name for row in rows for name in row["runs"])
    return [*(name for name in METHODS if name in found), *(name for name in found if name not in METHODS)]
