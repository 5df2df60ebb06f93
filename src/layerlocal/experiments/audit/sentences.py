"""What an audit's numbers say, in plain words, also when they say no.

A *verdict* is a rule's row of the audit's first table: its accuracy, its twins' and the three differences, each over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlocal.experiments.studies.base import estimates, group_rows
from layerlocal.experiments.studies.controls import ORDINARY, cost_sentence
from layerlocal.summary import Row
from layerlocal.words import (
    ABOVE,
    BELOW,
    NOT_APART,
    ONE_SEED,
    RELATIONS,
    difference,
    percent,
    points,
    relation,
    spoken,
)

__all__ = ["class_sentence", "cost_sentences", "headline", "headroom_sentence", "split_sentence"]

Verdict = Mapping[str, Any]


def headline(where: str, verdicts: Sequence[Verdict]) -> str:
    """How the local rules lie beside backprop, and the accuracy of the most accurate one beside its twin's.

    Args:
        where: on which data, as a sentence begins.
        verdicts: of every rule; those in a network of a width of their own have ``own_width``.
    """
    if not verdicts:
        return "No local rule has been measured against backprop yet, so there is no verdict."
    best = _most_accurate(verdicts)
    if len(verdicts) == 1:
        return f"{where}, {best['rule']} {_placed(relation(best['gap']), 1)}: {_beside_twin(best)}."
    counts = {kind: sum(relation(row["gap"]) == kind for row in verdicts) for kind in RELATIONS}
    told = [(kind, count) for kind, count in counts.items() if count]
    if len(told) == 1:
        opening = f"all {len(verdicts)} local rules {_placed(told[0][0], len(verdicts))}"
    else:
        opening = (
            f"of {len(verdicts)} local rules {spoken([f'{count} {_placed(kind, count)}' for kind, count in told])}"
        )
    of = " in the network that most share" if any(row.get("own_width") for row in verdicts) else ""
    return f"{where}, {opening}. The most accurate{of} is {best['rule']}: {_beside_twin(best)}."


def _most_accurate(verdicts: Sequence[Verdict]) -> Verdict:
    """By its accuracy, of those in everybody's network if there are any."""
    shared = [row for row in verdicts if not row.get("own_width")] or verdicts
    return max(shared, key=lambda row: (row["local"]["mean"], row["gap"]["mean"]))


def _beside_twin(row: Verdict) -> str:
    """Its accuracy, its BP twin's and their difference."""
    text = (
        f"{percent(row['local']['mean'])} beside {percent(row['bp']['mean'])} of its BP twin, {difference(row['gap'])}"
    )
    return f"{text}, not told apart" if relation(row["gap"]) == NOT_APART else text


def _placed(kind: str, count: int) -> str:
    verb = "is" if count == 1 else "are"
    return {
        BELOW: f"{verb} below backprop",
        ABOVE: f"{verb} above backprop",
        NOT_APART: f"{verb} not told apart from backprop",
        ONE_SEED: f"{verb} measured with one seed only, so not judged",
    }[kind]


def split_sentence(verdicts: Sequence[Verdict]) -> str:
    """The gap of the rule that the headline names as its two parts; empty where there is none."""
    if not verdicts:
        return ""
    best = _most_accurate(verdicts)
    gap, extra, price = (points(best[key]["mean"]) for key in ("gap", "extra_supervision", "price_of_locality"))
    return (
        f"Of {best['rule']}'s {gap}, extra supervision brings {extra} (BP with the same local losses has it too) and local learning itself "
        f"{price}: the price of locality."
    )


def headroom_sentence(verdicts: Sequence[Verdict]) -> str:
    """How accurate ordinary backprop is in the network of the rule that the headline names, and what it gains with twice the steps; empty
    where it was not trained."""
    best = _most_accurate(verdicts) if verdicts else {}
    if ORDINARY not in best:
        return ""
    accuracy, gain = f"Ordinary BP has {percent(best[ORDINARY]['mean'])} here", best.get("headroom")
    if gain is None:
        return f"{accuracy}; what it gains with twice the steps was not measured."
    if gain["mean"] <= 0:
        return f"{accuracy}, and gains nothing with twice the steps ({difference(gain)})."
    return f"{accuracy}, and with twice the steps gains {difference(gain)}: smaller differences may be of training that is too short."


def cost_sentences(verdicts: Sequence[Verdict]) -> list[str]:
    """Of each rule that is above ordinary backprop, what to ask then."""
    return [cost_sentence(row["rule"], "here") for row in verdicts if relation(row.get("total")) == ABOVE]


def class_sentence(rule: str, arms: Mapping[str, Sequence[Row]]) -> str:
    """How the gap moves with the number of classes, and extra supervision's part at the end; empty where no sweep has a row.

    Args:
        rule: whose sweep it is.
        arms: on what data, in words → rows of the sweep.
    """
    parts = []
    for where, rows in arms.items():
        counts = sorted(group_rows(rows, "classes").items())
        if not counts:
            continue
        ((first,), of_first), ((last,), of_last) = counts[0], counts[-1]
        least, most = (estimates(part, "gap", "extra_supervision") for part in (of_first, of_last))
        if first == last:
            text = f"on {where} the gap is {difference(most['gap'])} at K={last}"
        else:
            text = (
                f"on {where} from {points(least['gap']['mean'])} at K={first} to {difference(most['gap'])} at K={last}"
            )
        parts.append(f"{text} (of which DeepSup − BP {points(most['extra_supervision']['mean'])})")
    return f"The gap of {rule} to BP against the number of classes: {'; '.join(parts)}." if parts else ""
