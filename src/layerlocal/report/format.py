"""Numbers and names as a reader sees them: one place decides digits, signs, units and what "missing" looks like.

An *estimate* is ``{"mean": f, "low": f | None, "high": f | None, "n": int, "values": [f, ...]}``, fractions in 0..1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "MISSING",
    "accuracy",
    "byte_count",
    "clean",
    "count",
    "difference",
    "has_interval",
    "is_number",
    "known",
    "percent",
    "points",
    "ratio",
    "ratio_estimate",
    "shorten",
    "spoken",
]

MISSING = "not run"
MINUS = "−"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def is_number(value: object) -> bool:
    """True for a finite int or float (numpy's too), false for None, NaN, infinities, booleans and text."""
    if value is None or isinstance(value, bool | str | bytes | list | dict | tuple):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False


def known(estimate: Any) -> bool:
    """True if the estimate is there and has a mean."""
    return isinstance(estimate, dict) and is_number(estimate.get("mean"))


def has_interval(estimate: Any) -> bool:
    """True if the estimate has both ends of its interval."""
    return known(estimate) and is_number(estimate.get("low")) and is_number(estimate.get("high"))


def _signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text[1:]
    return text.replace("-", MINUS)


def percent(value: Any) -> str:
    """``0.913`` -> ``91.3 %``."""
    return f"{100 * value:.1f} %".replace("-", MINUS) if is_number(value) else MISSING


def points(value: Any) -> str:
    """``-0.013`` -> ``−1.3 pp``, with a real minus sign."""
    return f"{_signed(100 * value)} pp" if is_number(value) else MISSING


def accuracy(estimate: Any, *, with_n: bool = False) -> str:
    """``91.3 % [90.8, 91.8]``; without an interval the mean alone."""
    if not known(estimate):
        return MISSING
    text = percent(estimate["mean"])
    if has_interval(estimate):
        text += f" [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]".replace("-", MINUS)
    return f"{text}, n={estimate.get('n', '?')}" if with_n else text


def difference(estimate: Any) -> str:
    """``+1.3 pp [−0.2, +2.8], n=3``; with one seed it says that there is no interval."""
    if not known(estimate):
        return MISSING
    text, n = points(estimate["mean"]), estimate.get("n", "?")
    if not has_interval(estimate):
        return f"{text}, n={n}, no interval"
    return f"{text} [{_signed(100 * estimate['low'])}, {_signed(100 * estimate['high'])}], n={n}"


def ratio(value: Any) -> str:
    """``1.3`` -> ``1.30×``."""
    return f"{value:.2f}×" if is_number(value) else MISSING


def ratio_estimate(estimate: Any) -> str:
    """``1.30× [1.27, 1.33], n=7`` from a median with a low and a high."""
    if not isinstance(estimate, dict):
        return ratio(estimate)
    if not is_number(estimate.get("median")):
        return MISSING
    text = ratio(estimate["median"])
    if is_number(estimate.get("low")) and is_number(estimate.get("high")):
        text += f" [{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return f"{text}, n={estimate['n']}" if "n" in estimate else text


def byte_count(value: Any) -> str:
    """``1572864`` -> ``1.5 MiB``."""
    if not is_number(value):
        return MISSING
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def count(value: Any, unit: str = "") -> str:
    """``1234567`` -> ``1.23 M`` (with ``unit`` after the prefix); below 10,000 the number itself."""
    if not is_number(value):
        return MISSING
    if abs(value) < 10_000:
        text = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.1f}"
        return f"{text} {unit}".rstrip()
    for scale, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def clean(text: object) -> str:
    """Text that XML can hold and one line can show: control characters and lone surrogates become a space."""
    return _UNPRINTABLE.sub(" ", str(text)).strip()


def shorten(text: object, length: int = 20) -> str:
    """Clean text, at most ``length`` characters, the cut shown by an ellipsis (the full name stands in the table)."""
    line = clean(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def spoken(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
