"""Every number, interval, list, verdict and comparison as text: one place decides digits, signs, units, words and what "missing" looks like.

Nothing else in the package writes a difference, a byte count, a p or a list of names. An *estimate* (`layerlocal.stats.Estimate`) is
``{"mean": f, "low": f | None, "high": f | None, "n": int, "values": [f, ...]}``, fractions in 0..1; what lacks a mean is shown as not run.
No rounding hides a sign: +0.0004 is ``+0.04 pp``, not ``0.0 pp``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "ABOVE",
    "BELOW",
    "CONTRADICTED",
    "INCONCLUSIVE",
    "MISSING",
    "NOTHING",
    "NOT_APART",
    "NOT_RUN",
    "ONE_SEED",
    "RELATIONS",
    "SUPPORTED",
    "UNDERTRAINED",
    "UNJUDGED",
    "VERDICTS",
    "accuracy",
    "against",
    "bits",
    "byte_count",
    "cell",
    "centred",
    "clean",
    "clipped",
    "count",
    "difference",
    "duration",
    "exact",
    "has_interval",
    "hundredths",
    "in_two",
    "interval_over",
    "is_number",
    "known",
    "mean_of",
    "measured",
    "p_value",
    "percent",
    "plain",
    "points",
    "printable",
    "probability",
    "rate",
    "ratio",
    "ratio_estimate",
    "relation",
    "several",
    "shorten",
    "signed",
    "spoken",
]

NOTHING = "–"
MINUS = "−"
ROUNDING = 1e-9
"""Up to this, points are rounding and have no sign."""
SUPPORTED = "supported"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
"""Measured, and the seeds there are show neither."""
UNDERTRAINED = "undertrained"
"""Backprop still gains more from twice the steps than the smallest effect that counts."""
UNJUDGED = "cannot be judged"
"""Run, but what came out leaves the claim without a meaning: no gap, so no share of it that comes back."""
NOT_RUN = MISSING = "not run"
VERDICTS = {SUPPORTED: "✓", CONTRADICTED: "✗", INCONCLUSIVE: "?", UNDERTRAINED: "△", UNJUDGED: "∅", NOT_RUN: "○"}
"""What becomes of a claim, each with the sign by which it is told apart without colour, in the order in which they are counted."""
ABOVE, BELOW, NOT_APART, ONE_SEED = "above", "below", "not told apart", "one seed"
RELATIONS = (BELOW, ABOVE, NOT_APART, ONE_SEED, NOT_RUN)
"""What an interval says against 0."""
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]+"
)
"""What XML cannot hold, and marks that would turn the direction of the text around them."""


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


def clipped(estimate: Any, least: float = 0.0, most: float = 1.0) -> Any:
    """An estimate whose interval ends where values end: accuracies lie in [0, 1], their differences in [−1, 1]. Few seeds reach beyond."""
    if not has_interval(estimate):
        return estimate
    ends = {key: min(most, max(least, estimate[key])) for key in ("low", "high")}
    return {**estimate, **ends} if least <= estimate["mean"] <= most else estimate


def relation(estimate: Any) -> str:
    """``below``, ``above`` or ``not told apart`` (from 0); ``one seed`` without an interval, ``not run`` without a mean."""
    if not known(estimate):
        return NOT_RUN
    if not has_interval(estimate):
        return ONE_SEED
    if estimate["high"] < 0:
        return BELOW
    return ABOVE if estimate["low"] > 0 else NOT_APART


def against(estimate: Any, other: str = "BP") -> str:
    """The relation in a sentence's words: ``below BP``, ``above BP``, ``not told apart from BP``, ``one seed, not judged``."""
    found = relation(estimate)
    return {
        BELOW: f"below {other}",
        ABOVE: f"above {other}",
        NOT_APART: f"not told apart from {other}",
        ONE_SEED: "one seed, not judged",
        NOT_RUN: f"not run against {other}",
    }[found]


def signed(value: float, digits: int = 1) -> str:
    """``-1.3`` -> ``−1.3``; as many digits more as it takes to see the sign (``+0.04``), and ``0.0`` within rounding of 0."""
    if abs(value) < ROUNDING:
        return f"{0:.{digits}f}"
    while float(f"{value:.{digits}f}") == 0:
        digits += 1
    return f"{value:+.{digits}f}".replace("-", MINUS)


def percent(value: Any, digits: int = 1) -> str:
    """``0.913`` -> ``91.3 %``."""
    return f"{100 * value:.{digits}f} %".replace("-", MINUS) if is_number(value) else MISSING


def bits(nats: Any) -> str:
    """Nats as bits: ``1.0`` -> ``1.443 bits``."""
    return f"{nats / math.log(2):.3f} bits" if is_number(nats) else MISSING


def points(value: Any) -> str:
    """``-0.013`` -> ``−1.3 pp``, with a real minus sign."""
    return f"{signed(100 * value)} pp" if is_number(value) else MISSING


def accuracy(estimate: Any, *, with_n: bool = False) -> str:
    """``91.3 % [90.8, 91.8]``; without an interval the mean alone."""
    if not known(estimate):
        return MISSING
    estimate = clipped(estimate)
    text = percent(estimate["mean"])
    if has_interval(estimate):
        text += f" [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]".replace("-", MINUS)
    return f"{text}, n={estimate.get('n', '?')}" if with_n else text


def difference(estimate: Any, *, bare: bool = False, bounded: bool = True) -> str:
    """``+1.3 pp [−0.2, +2.8], n=3``; ``n=3 + images`` where the interval is over test images too. With one seed it says that there is none.

    Args:
        estimate: in fractions.
        bare: ``+1.3 [−0.2, +2.8]``, for a table that has the unit and n in its head.
        bounded: whether it is of two accuracies, which no interval leads out of [−1, 1]; a slope is not.
    """
    if not known(estimate):
        return MISSING
    estimate = clipped(estimate, -1.0) if bounded else estimate
    text = signed(100 * estimate["mean"]) if bare else points(estimate["mean"])
    if has_interval(estimate):
        text += f" [{signed(100 * estimate['low'])}, {signed(100 * estimate['high'])}]"
    elif not bare:
        return f"{text}, n={estimate.get('n', '?')}, no interval"
    return text if bare else f"{text}, n={estimate.get('n', '?')}{_over(estimate)}"


def interval_over(estimate: Any) -> str:
    """What an interval is over: ``seeds``, ``seeds and images``, ``seeds of all cells`` or these ``and images``; ``""`` without one."""
    return str(estimate.get("over", "seeds")) if has_interval(estimate) else ""


def _over(estimate: Any) -> str:
    over = interval_over(estimate)
    return " + images" * over.endswith("images") + ", pooled" * ("cells" in over)


def ratio(value: Any) -> str:
    """``1.3`` -> ``1.30×``."""
    return f"{value:.2f}×" if is_number(value) else MISSING


def ratio_estimate(estimate: Any, *, with_n: bool = True) -> str:
    """``1.30× [1.27, 1.33], n=7`` from a median with a low and a high."""
    if not isinstance(estimate, dict):
        return ratio(estimate)
    if not is_number(estimate.get("median")):
        return MISSING
    text = ratio(estimate["median"])
    if is_number(estimate.get("low")) and is_number(estimate.get("high")):
        text += f" [{estimate['low']:.2f}, {estimate['high']:.2f}]"
    return f"{text}, n={estimate['n']}" if with_n and "n" in estimate else text


def byte_count(value: Any, *, decimal: bool = False) -> str:
    """``1572864`` -> ``1.5 MiB``; ``decimal``: ``300000000`` -> ``300 MB``, for sizes that a user gives so."""
    if not is_number(value):
        return MISSING
    size, unit, base = float(value), "B", 1000 if decimal else 1024
    for larger in ("KB", "MB", "GB", "TB") if decimal else ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < base:
            break
        size, unit = size / base, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}" if decimal else f"{size:.1f} {unit}"


def duration(seconds: Any) -> str:
    """Minutes and seconds, hours where there are any, days where there are three: ``1:05``, ``2:00:00``, ``3 days``."""
    if not is_number(seconds):
        return NOTHING
    if seconds >= 3 * 86400:
        return f"{round(seconds / 86400)} days"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def rate(value: Any) -> str:
    """A speed: ``3.25``, ``81.4``, ``12,345``; whole from 100 on."""
    return NOTHING if not is_number(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def several(number: int, word: str) -> str:
    """``1 seed``, ``3 seeds``, ``1,000 runs``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


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


def centred(value: Any) -> Any:
    """An interval around a median as one around a mean; anything else as it is."""
    return {"mean": value["median"], **value} if isinstance(value, dict) and "median" in value else value


def mean_of(value: Any) -> float | None:
    """The number, or an estimate's mean or median; ``None`` where there is none."""
    value = value.get("mean", value.get("median")) if isinstance(value, dict) else value
    return float(value) if is_number(value) else None


def plain(value: Any, digits: int = 4) -> str:
    """``1234.5`` -> ``1234``, ``−0.5``; an estimate with its interval. At most ``digits`` digits that count, but whole numbers in full."""
    if isinstance(value, dict):
        if not known(value):
            return NOTHING
        ends = f" [{plain(value['low'], digits)}, {plain(value['high'], digits)}]" if has_interval(value) else ""
        return plain(value["mean"], digits) + ends
    if not is_number(value):
        return NOTHING
    whole = float(value).is_integer() and abs(value) < 1e15
    return (f"{int(value)}" if whole else f"{value:.{digits}g}").replace("-", MINUS)


def measured(value: Any, unit: str = "") -> str:
    """A number or an estimate in a claim's or an axis's unit: ``pp ...`` and ``%`` are fractions shown times 100; ``share`` has 2 digits,
    ``bits``, a difference of losses, a sign and 3.
    """
    if mean_of(value) is None:
        return NOTHING
    if unit.startswith("pp"):
        return _in_points(value, clean(unit))
    if unit == "%":
        return accuracy(value) if isinstance(value, dict) else percent(value)
    if unit == "bits":
        return _in_bits(value)
    text = _share(value) if unit == "share" else plain(value)
    return text if unit in ("", "share") else f"{text} {clean(unit)}"


def _in_points(value: Any, unit: str) -> str:
    """A difference; one that is *per* something is small, and has two digits."""
    digits = 1 if unit == "pp" else 2
    text = f"{signed(100 * (mean_of(value) or 0.0), digits)} {unit}"
    if has_interval(value):
        text += f" [{signed(100 * value['low'], digits)}, {signed(100 * value['high'], digits)}]"
    return text


def _in_bits(value: Any, unit: str = " bits") -> str:
    """A difference of losses: ``+0.175 bits [−0.429, +0.778]``; of a table, which has it in its caption, without the unit."""
    text = f"{signed(mean_of(value) or 0.0, 3)}{unit}"
    return f"{text} [{signed(value['low'], 3)}, {signed(value['high'], 3)}]" if has_interval(value) else text


def _share(value: Any) -> str:
    if isinstance(value, dict):
        ends = f" [{_share(value['low'])}, {_share(value['high'])}]" if has_interval(value) else ""
        return _share(value["mean"]) + ends
    return f"{value:.2f}".replace("-", MINUS)


def in_two(value: Any, unit: str) -> tuple[str, str]:
    """``("−1.3 pp", "[−1.9, −0.7]")``: the two lines of a cell; a mean without an interval says so."""
    if mean_of(value) is None:
        return NOTHING, ""
    mean = measured(mean_of(value), unit)
    if not has_interval(value):
        return mean, "no interval"
    low, high = (measured(value[key], unit).removesuffix(f" {clean(unit)}") for key in ("low", "high"))
    return mean, f"[{low}, {high}]"


def probability(value: Any) -> str:
    """``0.0123`` -> ``0.012``, ``0.00001`` -> ``< 0.001``."""
    if not is_number(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def p_value(value: float) -> str:
    """``p = 0.012`` or ``p < 0.001``, for a sentence."""
    text = probability(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def hundredths(unit: str) -> int:
    """100 for a unit whose values are kept as fractions and shown in hundredths (``"pp..."``, ``"%..."``), else 1."""
    return 100 if unit.startswith(("pp", "%")) else 1


def exact(value: float, unit: str) -> str:
    """Three digits that count, in the unit it is shown in, for what is held against a bound: 0.007 of ``"pp"`` -> ``+0.7 pp``."""
    text = f"{hundredths(unit) * value:{'+' if unit.startswith('pp') else ''}.3g}"
    return f"{text.replace('-', MINUS) if float(text) else '0'} {unit}".strip()


def cell(value: Any, kind: str) -> str:
    """A value of a table as text.

    Args:
        value: a number, a word, an interval, or nothing.
        kind: how it is written (`layerlocal.summary.Column`).
    """
    if value is None or value == "" or (isinstance(value, float) and not is_number(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    mean = mean_of(value)
    if mean is None or kind == "command":
        return NOTHING if isinstance(value, dict) else clean(value)
    if isinstance(value, dict):
        write = _INTERVALS.get(kind, plain)
        return write(value if kind == "ratio" else centred(value))
    return _NUMBERS[kind](value) if kind in _NUMBERS else clean(value) if kind == "text" else plain(value)


_NUMBERS: dict[str, Callable[[Any], str]] = {
    "percent": percent, "points": points, "ratio": ratio, "bytes": byte_count, "count": count, "probability": probability,
    "bits": lambda value: _in_bits(value, ""),
}  # fmt: skip
_INTERVALS: dict[str, Callable[[Any], str]] = {
    "percent": lambda value: accuracy(value, with_n=True),
    "points": difference,
    "ratio": lambda value: ratio_estimate({"median": mean_of(value), **value}),
    "bytes": lambda value: byte_count(mean_of(value)),
    "count": lambda value: count(mean_of(value)),
    "bits": lambda value: f"{_in_bits(value, '')}, n={value.get('n', '?')}",
}


def clean(text: object) -> str:
    """Text that XML can hold and one line can show: control and direction marks and lone surrogates become a space."""
    return printable(str(text)).strip()


def printable(text: str) -> str:
    """Text without what XML cannot hold and without marks that turn the direction of the text around them, its ends as they were."""
    return _UNPRINTABLE.sub(" ", text)


def shorten(text: object, length: int = 20) -> str:
    """Clean text, at most ``length`` characters, the cut shown by an ellipsis (the full name stands in the table)."""
    line = clean(text)
    return line if len(line) <= length else line[: length - 1] + "…"


def spoken(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; ``none`` of nothing."""
    if len(names) < 2:
        return names[0] if names else "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"
