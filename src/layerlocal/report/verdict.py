"""What the numbers say, in plain words, also when they say no: the headline, and one row a rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from layerlocal.words import (
    ABOVE,
    BELOW,
    MISSING,
    NOT_APART,
    ONE_SEED,
    RELATIONS,
    accuracy,
    against,
    difference,
    known,
    percent,
    points,
    ratio,
    relation,
    spoken,
)

__all__ = ["class_sentence", "cost_network", "headline", "locality_of", "rows", "split_sentence"]

TWINS = ("bp", "bp-deepsup")


def headline(summary: dict[str, Any]) -> str:
    """How the local rules lie beside backprop, and the accuracy of the most accurate one beside its twin's."""
    rules = _measured_rules(summary)
    if not rules:
        return "No local rule has been measured against backprop yet, so there is no verdict."
    data = summary.get("data") or {}
    where = f"On {data['name']}" if data.get("name") else "On this data"
    where += f" ({data['num_classes']} classes)" if data.get("num_classes") else ""
    best = _most_accurate(rules)
    if len(rules) == 1:
        return f"{where}, {best['rule']} {_placed(relation(best['gap']), 1)}: {_beside_twin(best)}."
    groups = {k: [r for r in rules if relation(r["gap"]) == k] for k in RELATIONS}
    told = [(k, len(g)) for k, g in groups.items() if g]
    if len(told) == 1:
        opening = f"all {len(rules)} local rules {_placed(told[0][0], len(rules))}"
    else:
        opening = f"of {len(rules)} local rules {spoken([f'{n} {_placed(k, n)}' for k, n in told])}"
    of = " in the network that most share" if any(r.get("own_width") for r in rules) else ""
    return f"{where}, {opening}. The most accurate{of} is {best['rule']}: {_beside_twin(best)}."


def _measured_rules(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in (summary.get("accuracy") or {}).get("rules") or [] if known(r.get("gap"))]


def _most_accurate(rules: list[dict[str, Any]]) -> dict[str, Any]:
    """By its fused accuracy, of those in everybody's network if there are any; rules of which none is known by their gap."""
    return max(
        [r for r in rules if not r.get("own_width")] or rules,
        key=lambda r: (r["fused"]["mean"] if known(r.get("fused")) else -1.0, r["gap"]["mean"]),
    )


def _beside_twin(rule: dict[str, Any]) -> str:
    """Its accuracy, its BP twin's and their difference."""
    twin: Any = ((rule.get("twins") or {}).get("bp") or {}).get("fused")
    if not (known(rule.get("fused")) and known(twin)):
        return difference(rule["gap"])
    text = f"{percent(rule['fused']['mean'])} beside {percent(twin['mean'])} of its BP twin, {difference(rule['gap'])}"
    return f"{text}, not told apart" if relation(rule["gap"]) == NOT_APART else text


def _placed(kind: str, count: int) -> str:
    verb = "is" if count == 1 else "are"
    return {
        BELOW: f"{verb} below backprop",
        ABOVE: f"{verb} above backprop",
        NOT_APART: f"{verb} not told apart from backprop",
        ONE_SEED: f"{verb} measured with one seed only, so not judged",
    }[kind]


def split_sentence(summary: dict[str, Any]) -> str | None:
    """The gap of the rule that the headline names as its two parts, in words."""
    rules = _measured_rules(summary)
    best: dict[str, Any] = _most_accurate(rules) if rules else {}
    extra, price = best.get("extra_supervision"), best.get("price_of_locality")
    if not (isinstance(extra, dict) and isinstance(price, dict) and known(extra) and known(price)):
        return None
    return (
        f"Of {best['rule']}'s {points(best['gap']['mean'])}, extra supervision brings {points(extra['mean'])} (BP with "
        f"the same local losses has it too) and local learning itself {points(price['mean'])}: the price of locality."
    )


def cost_network(summary: dict[str, Any]) -> tuple[str, str]:
    """The network on which speed and memory were measured, in short and in full, where it is not that of the accuracies; else nothing."""
    full = str((summary.get("cost") or {}).get("network") or "")
    same = str((summary.get("accuracy") or {}).get("network") or "")
    return ("", "") if not full or (same and full.startswith(same)) else (full.partition(",")[0], full)


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
        if entry.get("failed"):
            return "not measured"
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


def _alone(estimate: Any) -> tuple[str, str]:
    """``("85.6 %", "[84.1, 87.0]")``: the two lines of a cell."""
    if not known(estimate):
        return MISSING, ""
    mean = percent(estimate["mean"])
    return mean, accuracy(estimate).removeprefix(mean).strip()


def _marks(rule: dict[str, Any], usual: Any) -> Iterator[str]:
    """In what a row is unlike the others."""
    if rule.get("reads") and rule["reads"] != usual:
        yield f"reads {rule['reads']}"
    if rule.get("own_width"):
        yield f"in a network of width {rule['own_width']:g}, as its twins"


def rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a local rule for the first screen."""
    usual = (summary.get("accuracy") or {}).get("usual_reading")
    return [
        {
            "rule": rule.get("rule", "?"),
            "marks": list(_marks(rule, usual)),
            "accuracy": _alone(rule.get("fused")),
            "bp": _alone(((rule.get("twins") or {}).get("bp") or {}).get("fused")),
            "kind": relation(rule.get("gap")),
            "words": against(rule.get("gap")),
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
