"""Published statements as data: a claim says what was reported, which measured quantity tests it, and what effect is too small to count.

A file is YAML with a list ``claims`` and, if wanted, above it ``alpha``, ``family`` and ``rules`` (`layerlocal.claims.loading`); the fields of a
claim are those of `Claim`:

    alpha: 0.05
    family: paper
    rules: [class-goodness, dtg-ff]
    claims:
      - id: P2
        source: arXiv:2606.06539
        sentence: On real images the gap widens with the number of classes.
        reported: {value: -1.06, unit: pp per doubling of K, text: 2.40 → 5.93 pp from 10 to 100 classes}
        study: classes
        quantity: price_slope/subsets_total
        direction: less
        smallest_effect: 0.25

Claims are read, and their hash taken, before any measured number is looked at: `judge` takes a `ClaimSet`, not files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from layerlocal.names import first_name
from layerlocal.types import unknown_name
from layerlocal.words import hundredths

__all__ = ["ALPHA", "Claim", "ClaimSet", "Reported", "claims_hash", "in_raw_unit"]

ALPHA = 0.05
"""Family-wise level where a file does not give its own."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Reported(_Frozen):
    """What the source gives: one number if there is one, and its words.

    Args:
        value: in ``unit``; null where no single number was given.
        unit: e.g. ``"pp"``.
        text: as a reader should see it, e.g. ``"2.40 → 5.93 pp"``.
    """

    value: float | None
    unit: str
    text: str


class Claim(_Frozen):
    """One testable statement about the mean θ of one quantity over seeds.

    Args:
        id: unique, e.g. ``"P2"``; ``"P1-cifar10"`` is one part of P1, ``"P2@ff"`` the same statement about another rule.
        source: where it was published, e.g. ``"arXiv:2606.06539"``.
        sentence: the statement in our words.
        reported: what the source gives for it.
        study: the study to run for it; any other that measured the quantity counts as well (`layerlocal.claims.measured`).
        quantity: its name in the study's summary.
        rule: whose quantity.
        family: the claims that are corrected together; another rule's are a family of their own, ``"paper@ff"``.
        direction: ``"greater"`` or ``"less"`` than the reference, or ``"none"``: no difference from it (equivalence).
        smallest_effect: ≥ 0, in the unit the quantity is shown in: smaller effects do not count.
        reference: what θ is held against, in the same unit.
        trained: whether it is about networks that are trained: a study that measured no headroom does not count.
        test: ``"t"``, or ``"bootstrap"`` where seeds may be far from normal (needs `judge.BOOTSTRAP_SEEDS` of them).
        protocol_differences: how our measurement differs from the source's.
        note: why this quantity and this smallest effect, written before any result.
    """

    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    sentence: str = Field(min_length=1)
    reported: Reported
    study: str = Field(min_length=1)
    quantity: str = Field(min_length=1)
    rule: str = Field(default="class-goodness", min_length=1)
    family: str = ""
    direction: Literal["greater", "less", "none"]
    smallest_effect: float = Field(ge=0)
    reference: float = 0.0
    trained: bool = False
    test: Literal["t", "bootstrap"] = "t"
    protocol_differences: str = ""
    note: str = ""

    @property
    def statement(self) -> str:
        """What is claimed, of whichever rule: the id without one."""
        return self.id.partition("@")[0]

    def about(self, rule: str) -> Self:
        """The same statement about another rule, in a family of that rule's own."""
        if rule == self.rule:
            return self
        family = f"{self.family.partition('@')[0]}@{rule}"
        return self.model_copy(update={"id": f"{self.statement}@{rule}", "rule": rule, "family": family})

    def is_asked_for(self, name: str) -> bool:
        """By its id or statement, by what that is part of (``"P1"`` of ``"P1-cifar10"``), or by one of these and its rule (``"P1@ff"``)."""
        statement, at, rule = name.partition("@")
        return statement in (self.statement, self.statement.partition("-")[0]) and (not at or rule == self.rule)


class ClaimSet(BaseModel):
    """Claims fixed before results are read.

    Args:
        claims: in the order of their files.
        alpha: family-wise level, in (0, 0.5].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    claims: tuple[Claim, ...]
    alpha: float = Field(default=ALPHA, gt=0, le=0.5)

    @property
    def sha256(self) -> str:
        """`claims_hash` of these claims at this level; it stands in every verdict."""
        return claims_hash(self.claims, self.alpha)

    def ids_of(self, names: Iterable[str]) -> frozenset[str]:
        """The ids that are asked for (`Claim.is_asked_for`). What is shown is chosen by it, never what is judged.

        Raises:
            InputError: an id that is not known.
        """
        wanted = list(names)
        for name in wanted:
            if not any(claim.is_asked_for(name) for claim in self.claims):
                parts = {claim.statement.partition("-")[0] for claim in self.claims}
                raise unknown_name("claim", name, {claim.id for claim in self.claims} | parts)
        return frozenset(claim.id for claim in self.claims if any(map(claim.is_asked_for, wanted)))

    def of_rule(self, rule: str) -> Self:
        """Every statement once, about this rule: as its file has it of the rule, otherwise as of the file's first. Other claims, other hash."""
        own = {claim.statement: claim for claim in self.claims if claim.rule == rule}
        return self.model_copy(
            update={"claims": tuple(own.get(claim.statement, claim.about(rule)) for claim in self._first)}
        )

    @property
    def _first(self) -> list[Claim]:
        """Every statement once, of the first rule of its file."""
        return [claim for claim in self.claims if claim.id == claim.statement]

    def sha256_about(self, studies: Collection[str]) -> str:
        """`claims_hash` of the claims that one of these studies speaks to: kept with a study that is begun."""
        return claims_hash([claim for claim in self.claims if claim.study in studies], self.alpha)

    def stood(self, sha256: str, studies: Collection[str]) -> bool:
        """Whether a hash that was kept with a study is `sha256_about` of these claims; ``""``: none was kept.

        A family that came later says nothing of those before it. Version 0.1.0 knew one rule a statement and one family in all: its hash says
        of these claims that the statements were the same.
        """
        asked = [claim for claim in self.claims if claim.study in studies]
        families = list(dict.fromkeys(claim.family.partition("@")[0] for claim in asked))
        found = {""}
        for number in range(1, len(families) + 1):
            then = [claim for claim in asked if claim.family.partition("@")[0] in families[:number]]
            bare = [claim.model_copy(update={"family": ""}) for claim in then if claim.id == claim.statement]
            found |= {claims_hash(then, self.alpha), claims_hash(bare, self.alpha)}
        return sha256 in found


def claims_hash(claims: Iterable[Claim], alpha: float = ALPHA) -> str:
    """SHA-256 over everything the claims say, and the level; independent of their order and of how the file is laid out.

    Families count where there are several: of claims that are all corrected together the family's name says nothing.
    """
    ordered = sorted(claims, key=lambda claim: claim.id)
    left_out = None if len({claim.family for claim in ordered}) > 1 else {"family"}
    content = [claim.model_dump(mode="json", exclude=left_out) | {"rule": first_name(claim.rule)} for claim in ordered]
    content = [{key: value for key, value in one.items() if (key, value) != ("trained", False)} for one in content]
    text = json.dumps({"alpha": alpha, "claims": content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def in_raw_unit(shown: float, unit: str) -> float:
    """A number as a reader sees it, in the unit of the values: 0.7 pp → exactly the float 0.007."""
    return float(Decimal(str(shown)) / hundredths(unit))
