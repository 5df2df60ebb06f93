"""Holding claims against what studies measured: supported, contradicted, inconclusive or not run.

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

Over all claims of one report that could be tested, Holm's step-down keeps the chance of one or more wrong verdicts at alpha or less.
A claim that could not be tested (not run, one seed, too few for a bootstrap) takes no part in it.

A verdict row is plain JSON:

    {"id", "source", "sentence", "reported": {"value", "unit", "text"}, "study", "quantity", "what", "rule", "size", "unit", "direction",
     "reference", "smallest_effect", "test", "estimate": Estimate or None (95 % Student-t, in the raw unit: fractions for "pp" and "%"),
     "verdict": "supported" | "contradicted" | "inconclusive" | "not run", "p", "p_adjusted", "alpha", "n", "n_needed", "reason",
     "protocol_differences", "note", "command", "claims_sha256"}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from layerlocal.claims.claim import Claim, ClaimSet, claims_hash, in_raw_unit, shown_factor
from layerlocal.claims.measured import Measured, Summaries, find_measured, index_summaries, study_command
from layerlocal.stats import bootstrap_p, estimate, holm, one_sided_p, samples_needed, spread
from layerlocal.types import InputError

__all__ = ["BOOTSTRAP_SEEDS", "judge"]

BOOTSTRAP_SEEDS = 6
"""Fewer seeds than this give too few different resamples."""
POWER = 0.8
"""Of the test that `n_needed` plans for."""
_ONE = {"seeds": "seed", "rounds": "round", "processes": "process"}


@dataclass
class _Case:
    """One claim on its way to a verdict; numbers in the raw unit of the quantity."""

    claim: Claim
    found: Measured | str
    p_supported: float | None = None
    p_contradicted: float | None = None
    p_adjusted: float | None = None
    verdict: str = "not run"
    n_needed: int | None = None
    reason: str = ""
    low: float = field(default=0.0, init=False)
    high: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Where the smallest effect begins on either side of the reference."""
        unit = self.found.unit if isinstance(self.found, Measured) else ""
        reference, smallest = self.claim.reference, self.claim.smallest_effect
        self.low, self.high = in_raw_unit(reference - smallest, unit), in_raw_unit(reference + smallest, unit)

    @property
    def values(self) -> list[float]:
        return [] if isinstance(self.found, str) else self.found.values

    @cached_property
    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation of two values or more."""
        return spread(self.values)

    @property
    def p(self) -> float | None:
        if self.p_supported is None or self.p_contradicted is None:
            return None
        return min(1.0, 2 * min(self.p_supported, self.p_contradicted))


def judge(claims: ClaimSet, summaries: Summaries, *, alpha: float | None = None) -> list[dict[str, Any]]:
    """One verdict row for each claim, in the claims' order; see the top of this file for what a verdict means.

    Args:
        claims: from `load_claims`, read before the summaries were.
        summaries: by (study, size) or listed; of a study with several sizes the largest that has the quantity counts.
        alpha: family-wise level instead of the claims' own; changes their hash.

    Raises:
        InputError: a level outside (0, 0.5], an unknown size, two summaries of one study and size, a value that is not finite.
    """
    level = claims.alpha if alpha is None else alpha
    if not 0 < level <= 0.5:
        raise InputError(f"alpha must be above 0 and at most 0.5, got {level}")
    indexed = index_summaries(summaries)
    cases = [
        _Case(claim, find_measured(indexed, claim.study, claim.rule, claim.quantity))
        for claim in claims.claims
    ]  # fmt: skip
    for case in cases:
        _test(case)
    _decide(cases, level)
    sha256 = claims_hash(claims.claims, level)
    return [_row(case, level, sha256) for case in cases]


def _test(case: _Case) -> None:
    """Both p values, or the reason why there are none."""
    n = len(case.values)
    if isinstance(case.found, str):
        case.reason = f"{case.found[0].upper()}{case.found[1:]}."
        return
    case.verdict = "inconclusive"
    if n < 2:
        one = _ONE.get(case.found.of, case.found.of)
        case.reason = f"One {one}, no interval: {_shown(case.values[0], case.found.unit)} alone tells nothing."
        return
    if case.claim.test == "bootstrap" and n < BOOTSTRAP_SEEDS:
        case.reason = f"A bootstrap needs {BOOTSTRAP_SEEDS} {case.found.of} or more, and {n} have been run."
        return
    test: Callable[..., float] = bootstrap_p if case.claim.test == "bootstrap" else one_sided_p
    above, below = partial(test, case.values, side="greater"), partial(test, case.values, side="less")
    if case.claim.direction == "greater":
        case.p_supported, case.p_contradicted = above(case.high), below(case.high)
    elif case.claim.direction == "less":
        case.p_supported, case.p_contradicted = below(case.low), above(case.low)
    else:
        case.p_supported = max(above(case.low), below(case.high))
        case.p_contradicted = min(above(case.high), below(case.low))


def _decide(cases: Sequence[_Case], alpha: float) -> None:
    """Holm over every claim that was tested, then the verdicts and, where there is none, how many seeds would settle it."""
    tested = [case for case in cases if case.p is not None]
    for case, adjusted in zip(tested, holm([case.p for case in tested if case.p is not None]), strict=True):
        case.p_adjusted = adjusted
        if adjusted <= alpha:
            assert case.p_supported is not None and case.p_contradicted is not None
            case.verdict = "supported" if case.p_supported < case.p_contradicted else "contradicted"
    settled = sum(case.verdict != "inconclusive" for case in tested)
    for case in cases:
        if case.verdict == "inconclusive" and len(case.values) > 1:
            rivals = len(tested) - settled + (case.p is None)
            case.n_needed = _seeds_needed(case, alpha / rivals)
        if case.p_adjusted is not None:
            case.reason = _reason(case, len(tested))


def _seeds_needed(case: _Case, level: float) -> int | None:
    """Seeds at which this mean and standard deviation settle the claim with 80 % power (t test, two-sided level ``level``).

    The level is the one Holm would hold this claim to with every other verdict as it is: alpha over the number of open claims.
    """
    mean, sd = case.spread
    if sd == 0 and case.p is not None:
        return None
    if case.claim.direction == "none":
        inside = [mean - case.low, case.high - mean]
        distances = inside if min(inside) > 0 else [-min(inside)]
    else:
        distances = [abs(mean - (case.high if case.claim.direction == "greater" else case.low))]
    needed = samples_needed(distances, sd, alpha=level / 2, power=POWER)
    least = BOOTSTRAP_SEEDS if case.claim.test == "bootstrap" else 2
    return None if needed is None else max(needed, len(case.values) + 1, least)


def _reason(case: _Case, tested: int) -> str:
    """One plain sentence why this verdict."""
    assert isinstance(case.found, Measured) and case.p_adjusted is not None
    unit, (mean, sd) = case.found.unit, case.spread
    low, high = _shown(case.low, unit), _shown(case.high, unit)
    zone = {
        "greater": (f"above {high}", f"below {high}"),
        "less": (f"below {low}", f"above {low}"),
        "none": (f"between {low} and {high}", f"outside {low} to {high}"),
    }[case.claim.direction]
    after = f"p = {_p(case.p_adjusted)} after Holm's correction for {tested} claim{'s' * (tested != 1)}"
    of = case.found.of
    start = f"The mean over {len(case.values)} {of}, {_shown(mean, unit)},"
    if case.verdict == "supported":
        return f"{start} is shown to lie {zone[0]}, as claimed ({after})."
    if case.verdict == "contradicted":
        meaning = "" if case.claim.direction == "none" else ", so an effect that counts is ruled out"
        return f"{start} is shown to lie {zone[1]}{meaning} ({after})."
    if case.n_needed is not None:
        outlook = f"about {case.n_needed:,} {of} would settle it if mean and spread stay"
    elif sd == 0 or mean in (case.low, case.high):
        outlook = f"it lies exactly on the boundary, so no number of {of} can be named"
    else:
        outlook = f"more than 10,000 {of} would be needed"
    return f"{start} is shown to lie neither {zone[0]} nor {zone[1]} ({after}); {outlook}."


def _row(case: _Case, alpha: float, sha256: str) -> dict[str, Any]:
    claim, found = case.claim, case.found if isinstance(case.found, Measured) else None
    return {
        **claim.model_dump(mode="json"),
        "what": found.what if found else "",
        "size": found.size if found else None,
        "unit": found.unit if found else "",
        "estimate": estimate(found.values) if found else None,
        "verdict": case.verdict,
        "p": case.p,
        "p_adjusted": case.p_adjusted,
        "alpha": alpha,
        "n": len(case.values),
        "n_needed": case.n_needed,
        "reason": case.reason,
        "command": found.command if found else study_command(claim.study, claim.rule),
        "claims_sha256": sha256,
    }


def _shown(value: float, unit: str) -> str:
    """A value in the unit it is shown in: 0.007 of ``"pp"`` → ``+0.7 pp``."""
    factor = shown_factor(unit)
    text = f"{factor * value:{'+' if unit.startswith('pp') else ''}.3g}"
    return f"{text.replace('-', '−') if float(text) else '0'} {unit}".strip()


def _p(value: float) -> str:
    return "less than 0.001" if value < 0.001 else f"{value:.2g}"
