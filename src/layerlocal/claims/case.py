"""One claim on its way to a verdict, and the sentence that says why it got it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from layerlocal.claims.claim import Claim, in_raw_unit
from layerlocal.claims.measured import Measured, Unmeasured
from layerlocal.stats import estimate, spread
from layerlocal.words import CONTRADICTED, NOT_RUN, SUPPORTED, UNDERTRAINED, exact, p_value, several

__all__ = ["Case", "reason", "undertrained"]


@dataclass
class Case:
    """Numbers are in the raw unit of the quantity.

    Args:
        claim: the statement.
        found: what was measured, or why nothing was.
        p_supported: of the test that would show it.
        p_contradicted: of the test that would show the contrary.
        p_adjusted: after Holm's correction over all claims of its family that were tested.
        verdict: one of `VERDICTS`.
        n_needed: seeds that would settle it if mean and spread stay.
        n_range: the same at both ends of the interval of the spread; no second number: more than 10,000.
        reason: why this verdict, one sentence.
    """

    claim: Claim
    found: Measured | Unmeasured
    p_supported: float | None = None
    p_contradicted: float | None = None
    p_adjusted: float | None = None
    verdict: str = NOT_RUN
    n_needed: int | None = None
    n_range: tuple[int, int | None] | None = None
    reason: str = ""
    low: float = field(default=0.0, init=False)
    high: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Where the smallest effect begins on either side of the reference."""
        reference, smallest = self.claim.reference, self.claim.smallest_effect
        self.low, self.high = in_raw_unit(reference - smallest, self.unit), in_raw_unit(reference + smallest, self.unit)

    @property
    def unit(self) -> str:
        """Of the quantity; empty where it was not measured."""
        return self.found.unit if isinstance(self.found, Measured) else ""

    @property
    def values(self) -> list[float]:
        """One a seed; none where nothing was measured."""
        return self.found.values if isinstance(self.found, Measured) else []

    @property
    def images(self) -> float | None:
        """Standard error that test images add to the mean; ``None`` where that is not known."""
        return self.found.images if isinstance(self.found, Measured) else None

    @property
    def headroom(self) -> float | None:
        """What backprop still gains with twice the steps; ``None`` where that is not known."""
        return self.found.headroom if isinstance(self.found, Measured) else None

    @property
    def is_undertrained(self) -> bool:
        """Whether that is more than the smallest effect that counts, so that another length of training might say something else."""
        smallest = in_raw_unit(self.claim.smallest_effect, self.unit)
        return self.headroom is not None and abs(self.headroom) > smallest

    @cached_property
    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation of two values or more."""
        return spread(self.values)

    @property
    def p(self) -> float | None:
        """Of the verdict being wrong; none of a claim that could not be tested."""
        if self.p_supported is None or self.p_contradicted is None:
            return None
        return min(1.0, 2 * min(self.p_supported, self.p_contradicted))


def reason(case: Case, tested: int) -> str:
    """Why a claim that was tested has its verdict; of an open one what is measured, what counts, and how many seeds would settle it.

    Args:
        case: with its verdict.
        tested: claims of its family that were tested.
    """
    assert isinstance(case.found, Measured) and case.p_adjusted is not None
    of = f" of the family {case.claim.family}" if case.claim.family else ""
    after = f"{p_value(case.p_adjusted)} after Holm's correction for {several(tested, 'claim')}{of}"
    supports, contradicts = _zones(case)
    over = f"The mean over {len(case.values)} {case.found.of}{'' if case.images is None else ' and the test images'},"
    if case.verdict == SUPPORTED:
        return f"{over} {exact(case.spread[0], case.unit)}, is shown to lie {supports}, as claimed ({after})."
    if case.verdict == CONTRADICTED:
        meaning = "" if case.claim.direction == "none" else ", so an effect that counts is ruled out"
        return f"{over} {exact(case.spread[0], case.unit)}, is shown to lie {contradicts}{meaning} ({after})."
    return (
        f"{over} {_measured(case)}, is shown to lie neither {supports}, which would support the claim, nor {contradicts}, which would "
        f"contradict it ({after}). {_outlook(case)}"
    )


def undertrained(case: Case) -> str:
    """Why a claim has no verdict however many seeds there are."""
    assert case.verdict == UNDERTRAINED and case.headroom is not None
    least = exact(in_raw_unit(case.claim.smallest_effect, case.unit), case.unit).removeprefix("+")
    return (
        f"Training was too short to tell: twice the steps move backprop by {exact(case.headroom, case.unit)}, more than the {least} that "
        "count, so that the difference may be one of length. More seeds do not help, longer training may."
    )


def _zones(case: Case) -> tuple[str, str]:
    """Where the mean has to be shown to lie: for the claim, and against it."""
    low, high = exact(case.low, case.unit), exact(case.high, case.unit)
    return {
        "greater": (f"above {high}", f"below {high}"),
        "less": (f"below {low}", f"above {low}"),
        "none": (f"between {low} and {high}", f"outside {low} to {high}"),
    }[case.claim.direction]


def _outlook(case: Case) -> str:
    """How many seeds would settle it: a range, since few values say little of their spread."""
    assert isinstance(case.found, Measured)
    of, (mean, sd) = case.found.of, case.spread
    if sd == 0 or mean in (case.low, case.high):
        return f"It lies exactly on the boundary, so no number of {of} can be named."
    if case.n_range is None:
        return f"More than 10,000 {of} would be needed{', or more test images' if case.images else ''}."
    least, most = case.n_range
    if least == most:
        return f"If the mean stays, {least:,} {of} would settle it."
    end = "more than 10,000" if most is None else f"{most:,}"
    middle = "" if case.n_needed is None else f", {case.n_needed:,} if the spread stays too"
    return f"If the mean stays, {least:,} to {end} {of} would settle it{middle}."


def _measured(case: Case) -> str:
    found = estimate(case.values, images=case.images)
    ends = [exact(end or 0.0, case.unit).removesuffix(f" {case.unit}") for end in (found["low"], found["high"])]
    return f"{exact(found['mean'], case.unit)} [{ends[0]}, {ends[1]}]"
