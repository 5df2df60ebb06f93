"""What the numbers say, in plain words, also when they say no: the headline, and one row a rule."""

from __future__ import annotations

from typing import Any

from layerlocal.report.format import (
    MISSING,
    difference,
    has_interval,
    known,
    points,
    ratio,
    spoken,
)

__all__ = ["class_sentence", "headline", "judge", "locality_of", "rows", "split_sentence"]

TWINS = ("bp", "bp-deepsup")


def judge(estimate: Any) -> str:
    """``below``, ``above``, ``unclear`` (the interval holds zero), ``one seed`` (no interval) or ``missing``."""
    if not known(estimate):
        return "missing"
    if not has_interval(estimate):
        return "one seed"
    if estimate["high"] < 0:
        return "below"
    return "above" if estimate["low"] > 0 else "unclear"


_WORDS = {
    "below": "below BP",
    "above": "above BP",
    "unclear": "no clear difference to BP: the interval holds zero",
    "one seed": "one seed, so no interval and no verdict",
    "missing": "not measured against BP",
}


def headline(summary: dict[str, Any]) -> str:
    """One sentence on accuracy over every local rule, with the closest rule's numbers."""
    rules = [r for r in (summary.get("accuracy") or {}).get("rules") or [] if known(r.get("gap"))]
    if not rules:
        return "No local rule has been measured against backprop yet, so there is no verdict."
    data = summary.get("data") or {}
    where = f"On {data['name']}" if data.get("name") else "On this data"
    where += f" ({data['num_classes']} classes)" if data.get("num_classes") else ""
    best = max(rules, key=lambda r: r["gap"]["mean"])
    if len(rules) == 1:
        return f"{where}, {best['rule']} is {_placed(judge(best['gap']))}: {difference(best['gap'])}."
    groups = {k: [r for r in rules if judge(r["gap"]) == k] for k in _WORDS}
    tally = [f"{len(g)} {'is' if len(g) == 1 else 'are'} {_placed(k)}" for k, g in groups.items() if g]
    tally = tally[:1] + [t.replace("backprop", "it") for t in tally[1:]]
    whole = next((k for k, g in groups.items() if len(g) == len(rules)), None)
    opening = (
        f"all {len(rules)} local rules are {_placed(whole)}"
        if whole
        else f"of {len(rules)} local rules {spoken(tally)}"
    )
    return f"{where}, {opening}. Best placed is {best['rule']}: {difference(best['gap'])}."


def _placed(kind: str) -> str:
    return {
        "below": "below backprop",
        "above": "above backprop",
        "unclear": "not told apart from backprop",
        "one seed": "measured with one seed only, so not judged",
    }[kind]


def split_sentence(summary: dict[str, Any]) -> str | None:
    """The best placed rule's gap as its two parts, in words."""
    rules = [r for r in (summary.get("accuracy") or {}).get("rules") or [] if known(r.get("gap"))]
    best: dict[str, Any] = max(rules, key=lambda r: r["gap"]["mean"], default={})
    extra, price = best.get("extra_supervision"), best.get("price_of_locality")
    if not (isinstance(extra, dict) and isinstance(price, dict) and known(extra) and known(price)):
        return None
    return (
        f"Of {best['rule']}'s {points(best['gap']['mean'])}, extra supervision brings {points(extra['mean'])} (BP with "
        f"the same local losses has it too) and local learning itself {points(price['mean'])}: the price of locality."
    )


def locality_of(summary: dict[str, Any], rule: Any) -> tuple[str, str]:
    """(``ok`` | ``bad`` | ``none``, words) over every certificate of one rule."""
    entries = [e for e in summary.get("locality") or [] if e.get("rule") == rule]
    if not entries:
        return "none", MISSING
    bad = [e for e in entries if not e.get("certified")]
    shown = (bad or entries)[0]
    declared, measured = shown.get("declared", "?"), shown.get("measured", "?")
    if bad:
        return "bad", f"✗ declared {declared}, measured {measured}"
    return "ok", f"✓ {measured}" if declared == measured else f"✓ declared {declared}, measured {measured}"


def _cost(summary: dict[str, Any], rule: Any, key: str) -> str:
    """The rule's ratio to BP; with several readouts each is given."""
    entries = [r for r in (summary.get("cost") or {}).get("rules") or [] if r.get("rule") == rule]
    texts = []
    for entry in entries:
        value = entry.get(key)
        text = ratio(value.get("median") if isinstance(value, dict) else value)
        texts.append(f"{text} ({entry.get('readout')})" if len(entries) > 1 else text)
    return ", ".join(texts) or MISSING


def _in_two(estimate: Any) -> tuple[str, str]:
    """``("−1.3 pp", "[−1.9, −0.7], n=3")``: the two lines of a cell."""
    if not known(estimate):
        return MISSING, ""
    mean = points(estimate["mean"])
    return mean, difference(estimate).removeprefix(mean).lstrip(", ")


def rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a local rule for the first screen."""
    return [
        {
            "rule": rule.get("rule", "?"),
            "kind": judge(rule.get("gap")),
            "words": _WORDS[judge(rule.get("gap"))],
            "gap": _in_two(rule.get("gap")),
            "extra": _in_two(rule.get("extra_supervision")),
            "price": _in_two(rule.get("price_of_locality")),
            "speed": _cost(summary, rule.get("rule"), "speed_ratio"),
            "saved": _cost(summary, rule.get("rule"), "saved_ratio"),
            "locality": locality_of(summary, rule.get("rule")),
        }
        for rule in (summary.get("accuracy") or {}).get("rules") or []
    ]


def class_sentence(summary: dict[str, Any]) -> str | None:
    """How the gap moves with the number of classes, synthetic and real, and extra supervision's part at the end."""
    classes = summary.get("classes") or {}
    parts = []
    for key, where in (("synthetic", "teacher-student data"), ("real", "real classes")):
        measured = sorted((r for r in classes.get(key) or [] if known(r.get("gap"))), key=lambda r: r["num_classes"])
        if not measured:
            continue
        first, last = measured[0], measured[-1]
        if first is last:
            text = f"on {where} the gap is {difference(last['gap'])} at K={last['num_classes']}"
        else:
            text = (
                f"on {where} from {points(first['gap']['mean'])} at K={first['num_classes']} "
                f"to {difference(last['gap'])} at K={last['num_classes']}"
            )
        extra = last.get("extra_supervision")
        parts.append(f"{text} (of which DeepSup − BP {points(extra['mean'])})" if known(extra) else text)
    if not parts:
        return None
    return (
        f"The gap of {classes.get('rule', 'the local rule')} to BP against the number of classes: {'; '.join(parts)}."
    )
