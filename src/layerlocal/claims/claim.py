"""Published statements as data: a claim says what was reported, which measured quantity tests it, and what effect is too small to count.

A file is YAML with a list ``claims`` and, if wanted, ``alpha``; the fields of a claim are those of `Claim`:

    alpha: 0.05
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
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from layerlocal.claims.files import invalid, list_entries, own_file, parse_entry, read_yaml
from layerlocal.names import first_name
from layerlocal.types import InputError, unknown_name
from layerlocal.words import hundredths

__all__ = ["ALPHA", "Claim", "ClaimSet", "Reported", "claims_hash", "in_raw_unit", "load_claims"]

ALPHA = 0.05
"""Family-wise level where a file does not give its own."""
OWN = ("paper.yaml", "ours.yaml", "cost.yaml")


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
        id: unique, e.g. ``"P2"``; ``"P1-cifar10"`` is one part of P1.
        source: where it was published, e.g. ``"arXiv:2606.06539"``.
        sentence: the statement in our words.
        reported: what the source gives for it.
        study: the study that measures the quantity.
        quantity: its name in the study's summary.
        rule: whose quantity.
        direction: ``"greater"`` or ``"less"`` than the reference, or ``"none"``: no difference from it (equivalence).
        smallest_effect: ≥ 0, in the unit the quantity is shown in: smaller effects do not count.
        reference: what θ is held against, in the same unit.
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
    rule: str = "class-goodness"
    direction: Literal["greater", "less", "none"]
    smallest_effect: float = Field(ge=0)
    reference: float = 0.0
    test: Literal["t", "bootstrap"] = "t"
    protocol_differences: str = ""
    note: str = ""


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
        """The ids that are asked for; ``"P1"`` also stands for its parts ``"P1-..."``. What is shown is chosen by it, never what is judged.

        Raises:
            InputError: an id that is not known.
        """
        wanted = list(names)
        known = {claim.id for claim in self.claims} | {claim.id.partition("-")[0] for claim in self.claims}
        for name in wanted:
            if name not in known:
                raise unknown_name("claim", name, known)
        ids = (claim.id for claim in self.claims)
        return frozenset(name for name in ids if name in wanted or name.partition("-")[0] in wanted)

    def of_rule(self, rule: str) -> Self:
        """The same claims, every one, about another rule. Other claims, other hash."""
        return self.model_copy(update={"claims": tuple(c.model_copy(update={"rule": rule}) for c in self.claims)})

    def sha256_about(self, studies: Collection[str]) -> str:
        """`claims_hash` of the claims that one of these studies speaks to: kept with a study that is begun."""
        return claims_hash([claim for claim in self.claims if claim.study in studies], self.alpha)


def claims_hash(claims: Iterable[Claim], alpha: float = ALPHA) -> str:
    """SHA-256 over everything the claims say, and the level; independent of their order and of how the file is laid out."""
    content = [
        claim.model_dump(mode="json") | {"rule": first_name(claim.rule)}
        for claim in sorted(claims, key=lambda claim: claim.id)
    ]
    text = json.dumps({"alpha": alpha, "claims": content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def in_raw_unit(shown: float, unit: str) -> float:
    """A number as a reader sees it, in the unit of the values: 0.7 pp → exactly the float 0.007."""
    return float(Decimal(str(shown)) / hundredths(unit))


def load_claims(
    paths: Sequence[str | Path] | str | Path | None = None,
    *,
    known_studies: Collection[str] | None = None,
) -> ClaimSet:
    """Every claim of one or more files, checked: they are judged together, so there is no reading of a part.

    Args:
        paths: YAML files; our own (the paper's claims and ours) where left out.
        known_studies: names a claim's study must be among; not checked where left out.

    Raises:
        InputError: one sentence: which file, which claim, which field and how to mend it.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    claims: dict[str, Claim] = {}
    levels: dict[float, str] = {}
    for path in [own_file(name) for name in OWN] if paths is None else [Path(path) for path in paths]:
        content = read_yaml(path, "claims", optional=("alpha",))
        if "alpha" in content:
            levels[_level(content["alpha"], path.name)] = path.name
        for entry in list_entries(content, "claims", path.name):
            claim = parse_entry(Claim, entry, path.name)
            if claim.id != claim.id.strip() or "," in claim.id:
                raise invalid(
                    path.name, "id", "has a comma or a blank at an end, so that --claim could not name it", claim.id
                )
            if claim.id in claims:
                raise InputError(f"{path.name}: two claims have the id {claim.id!r}; give each its own")
            if known_studies is not None and claim.study not in known_studies:
                raise InputError(
                    f"{path.name}: claim {claim.id!r}: {unknown_name('study', claim.study, known_studies)}"
                )
            claims[claim.id] = claim
    if len(levels) > 1:
        told = " and ".join(f"{level:g} ({name})" for level, name in levels.items())
        raise InputError(f"the files give different levels alpha, {told}; give one, or judge them one by one")
    return ClaimSet(claims=tuple(claims.values()), alpha=next(iter(levels), ALPHA))


def _level(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 0.5:
        raise invalid(name, "alpha", "must be a number above 0 and at most 0.5, such as 0.05", value)
    return float(value)
