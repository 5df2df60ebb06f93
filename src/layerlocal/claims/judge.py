"""Holding claims against what studies measured: supported, contradicted, inconclusive, undertrained, without a verdict or not run.

Let θ be a quantity's mean over seeds, r the claim's reference (0 unless it says otherwise) and d ≥ 0 the smallest effect that counts.

| direction | supported if this is rejected | contradicted if this is rejected |
|---|---|---|
| greater | H0: θ ≤ r + d | H0: θ ≥ r + d, so the effect, if any, is smaller than what counts |
| less | H0: θ ≥ r − d | H0: θ ≤ r − d |
| none | H0: abs(θ − r) ≥ d, by two one-sided tests (TOST) | H0: abs(θ − r) ≤ d, by the nearer of the two one-sided tests |

A claim's p is ``min(1, 2 · min(p_supported, p_contradicted))``. It is a valid p for "the verdict is wrong", wherever θ is: for
``greater`` and ``less`` it is the two-sided test at the boundary. For ``none``, with each one-sided test at level α/2: where
abs(θ − r) < d only the two outer tests can err, together at most α; where θ = r + d, equivalence and "below r − d" both need the mean to
lie below ``r + d − t·se`` (at most α/2 together) and "above r + d" adds α/2; beyond, errors only become rarer.

Over all claims of one family that could be tested, Holm's step-down keeps the chance of one or more wrong verdicts at alpha or less. A
family is written down with its claims, before any run. A claim that could not be tested (not run, no meaning here, one seed, too few for a
bootstrap) takes no part in it. Whole families are judged, whichever of their claims are shown.

Where backprop with twice the steps moves the quantity by more than d (`Quantity.headroom`), the verdict is undertrained, whatever p says; the
claim stays in the correction, so that training never makes the others' test easier. A quantity without headroom is judged as it is.

A verdict row is plain JSON:

    {"id", "source", "sentence", "reported": {"value", "unit", "text"}, "study" and "size" it was measured by, "quantity", "what", "rule",
     "family", "unit", "direction", "reference", "smallest_effect", "test",
     "estimate": Estimate or None (95 %, in the raw unit: fractions for "pp" and "%"),
     "verdict": one of `layerlocal.words.VERDICTS`, "p", "p_adjusted", "alpha", "n", "n_needed",
     "n_needed_range": [fewest, most] or None (most None: more than 10,000),
     "headroom" in the raw unit or None, "trained": what and how long, in words,
     "reason", "protocol_differences", "note", "command", "claims_sha256"}

``n_needed`` is the number of seeds (of the cost audit: rounds or processes) that would settle an open claim if mean and spread stay; its range
is that at both ends of the 95 % interval of the spread, of which three seeds say little. The command of an open claim runs that number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from layerlocal.claims.case import Case, reason, undertrained
from layerlocal.claims.claim import Claim, ClaimSet, claims_hash
from layerlocal.claims.measured import (
    REPLICAS,
    Measured,
    find_best_trained,
    for_rule,
    index_summaries,
    study_command,
    with_more,
)
from layerlocal.stats import bootstrap_p, estimate, holm, one_sided_p, samples_needed, sd_interval
from layerlocal.summary import Summary
from layerlocal.types import InputError
from layerlocal.words import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNDERTRAINED, UNJUDGED, exact

__all__ = ["BOOTSTRAP_SEEDS", "judge", "least_seeds"]

BOOTSTRAP_SEEDS = 6
"""Fewer seeds than this give too few different resamples."""
FEW = 3
"""Seeds, rounds or processes that the command of a claim with a single seed asks for."""
POWER = 0.8
"""Of the test that `n_needed` plans for."""
_ONE = {"seeds": "seed", "rounds": "round", "processes": "process"}


def judge(
    claims: ClaimSet, summaries: Iterable[Summary], *, alpha: float | None = None, show: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """One verdict row for each claim, in the claims' order; see the top of this file for what a verdict means.

    Args:
        claims: from `load_claims`, read before the summaries were; those of a family are judged together.
        summaries: of studies and cost audits; of all that have the quantity the best trained one counts (`find_best_trained`).
        alpha: family-wise level instead of the claims' own; changes their hash.
        show: ids of the claims whose rows are given (`ClaimSet.ids_of`); all where left out. It changes no verdict.

    Raises:
        InputError: a level outside (0, 0.5], an unknown size, two summaries of one study and size, a value that is not finite.
    """
    level = claims.alpha if alpha is None else alpha
    if not 0 < level <= 0.5:
        raise InputError(f"alpha must be above 0 and at most 0.5, got {level}")
    indexed = index_summaries(summaries)
    cases = [
        Case(claim, find_best_trained(indexed, claim.study, claim.rule, claim.quantity, trained=claim.trained))
        for claim in claims.claims
    ]  # fmt: skip
    for case in cases:
        _test(case)
    for family in dict.fromkeys(claim.family for claim in claims.claims):
        _decide([case for case in cases if case.claim.family == family], level)
    sha256 = claims_hash(claims.claims, level)
    return [_row(case, level, sha256) for case in cases if show is None or case.claim.id in show]


def least_seeds(claim: Claim) -> int:
    """Fewer have no test, so that whatever they come out at decides nothing."""
    return BOOTSTRAP_SEEDS if claim.test == "bootstrap" else 2


def _test(case: Case) -> None:
    """Both p values, or the reason why there are none."""
    n = len(case.values)
    if not isinstance(case.found, Measured):
        case.verdict = UNJUDGED if case.found.unjudged else case.verdict
        case.reason = case.found.sentence
        return
    case.verdict = INCONCLUSIVE
    if n < 2:
        one = _ONE.get(case.found.of, case.found.of)
        case.reason = f"One {one}, no interval: {exact(case.values[0], case.found.unit)} alone tells nothing."
        return
    if n < least_seeds(case.claim):
        case.reason = f"A bootstrap needs {BOOTSTRAP_SEEDS} {case.found.of} or more, and {n} have been run."
        return
    plain: Callable[..., float] = bootstrap_p if case.claim.test == "bootstrap" else one_sided_p
    test = partial(plain, images=case.images or 0.0)
    above, below = partial(test, case.values, side="greater"), partial(test, case.values, side="less")
    if case.claim.direction == "greater":
        case.p_supported, case.p_contradicted = above(case.high), below(case.high)
    elif case.claim.direction == "less":
        case.p_supported, case.p_contradicted = below(case.low), above(case.low)
    else:
        case.p_supported = max(above(case.low), below(case.high))
        case.p_contradicted = min(above(case.high), below(case.low))


def _decide(family: Sequence[Case], alpha: float) -> None:
    """Holm over the claims of a family that were tested, then the verdicts and, where there is none, how many seeds would settle it."""
    tested = [case for case in family if case.p is not None]
    for case, adjusted in zip(tested, holm([case.p for case in tested if case.p is not None]), strict=True):
        case.p_adjusted = adjusted
        if adjusted <= alpha:
            assert case.p_supported is not None and case.p_contradicted is not None
            case.verdict = SUPPORTED if case.p_supported < case.p_contradicted else CONTRADICTED
    settled = sum(case.verdict != INCONCLUSIVE for case in tested)
    for case in family:
        if case.is_undertrained:
            case.verdict = UNDERTRAINED
            case.reason = undertrained(case)
            continue
        if case.verdict == INCONCLUSIVE and len(case.values) > 1:
            rivals = len(tested) - settled + (case.p is None)
            _plan(case, alpha / rivals)
        if case.p_adjusted is not None:
            case.reason = reason(case, len(tested))


def _plan(case: Case, level: float) -> None:
    """Seeds that settle an open claim: at its standard deviation, and at both ends of the interval of that.

    The level is the one Holm would hold this claim to with every other verdict as it is: alpha over the number of open claims.
    """
    sd = case.spread[1]
    if sd == 0 and not case.images and case.p is not None:
        return
    case.n_needed = _seeds_needed(case, sd, level)
    least, most = (_seeds_needed(case, end, level) for end in sd_interval(sd, len(case.values)))
    case.n_range = None if least is None else (least, most)


def _seeds_needed(case: Case, sd: float, level: float) -> int | None:
    """Seeds at which this mean and a standard deviation settle the claim with 80 % power (t test, two-sided level ``level``)."""
    mean = case.spread[0]
    if case.claim.direction == "none":
        inside = [mean - case.low, case.high - mean]
        distances = inside if min(inside) > 0 else [-min(inside)]
    else:
        distances = [abs(mean - (case.high if case.claim.direction == "greater" else case.low))]
    needed = samples_needed(distances, sd, alpha=level / 2, power=POWER, images=case.images or 0.0)
    return None if needed is None else max(needed, len(case.values) + 1, least_seeds(case.claim))


def _row(case: Case, alpha: float, sha256: str) -> dict[str, Any]:
    claim, found = case.claim, case.found if isinstance(case.found, Measured) else None
    return {
        **claim.model_dump(mode="json"),  # its study is the one to run
        "study": case.found.study or claim.study,
        "what": found.what if found else "",
        "size": case.found.size,
        "unit": case.unit,
        "estimate": estimate(found.values, images=found.images) if found else None,
        "verdict": case.verdict,
        "p": case.p,
        "p_adjusted": case.p_adjusted,
        "alpha": alpha,
        "n": len(case.values),
        "n_needed": case.n_needed,
        "n_needed_range": None if case.n_range is None else list(case.n_range),
        "headroom": case.headroom,
        "trained": found.protocol if found else "",
        "reason": case.reason,
        "command": _command(case),
        "claims_sha256": sha256,
    }


def _command(case: Case) -> str:
    """What measures it; of an open claim, with as many seeds, rounds or processes as would settle it."""
    claim, found = case.claim, case.found
    if not found.command:
        return study_command(claim.study, claim.rule, trained=claim.trained)
    number = case.n_needed if len(case.values) > 1 else FEW
    if case.verdict != INCONCLUSIVE or number is None or not isinstance(found, Measured) or found.of not in REPLICAS:
        return found.command
    return with_more(for_rule(found.command, claim.rule), number, found.of)
