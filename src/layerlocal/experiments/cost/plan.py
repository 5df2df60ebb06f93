"""Which cases a cost audit measures, at which size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from layerlocal.data.shaped import USUAL_NETWORK
from layerlocal.data.text import CONTEXT, VOCABULARY
from layerlocal.experiments.cost.budget import parse_memory, refuse_below_weights
from layerlocal.experiments.cost.case import BASELINE, MODES, CostCase, check_division, parse_mode
from layerlocal.experiments.cost.known import look_at_case
from layerlocal.experiments.cost.present import SIZES
from layerlocal.experiments.cost.requests import Request, methods_of, request_of
from layerlocal.experiments.cost.sizes import DETAILS, Size, network_of
from layerlocal.experiments.settings import start_of
from layerlocal.options import whole_number
from layerlocal.plugins import file_of
from layerlocal.runs.listing import describe, rule_facts, takes_text
from layerlocal.runs.pin import sources_of
from layerlocal.spec import Frozen, NetworkSpec
from layerlocal.types import InputError, unknown_name

__all__ = ["MOST_REPLICAS", "PARTS", "SIZES", "Axis", "Compared", "CostPlan", "make_plan"]

PARTS = ("methods", "scaling", "roofline", "budget", "distribution")
TWINS = (BASELINE, "bp-deepsup")
RULES, TEXT_RULES = ("class-goodness", "ff"), ("class-goodness", "local-heads")
"""Local rules where none is named; ff reads no text."""
MOST_REPLICAS = 10_000
"""Rounds, or fresh processes, at most: more are never asked for to settle a claim."""


class Axis(Frozen):
    """One thing that grows, everything else fixed.

    Args:
        name: the field of `CostCase.but` that grows.
        label: for readers.
        values: from small to large.
        base: the case at every other field.
        more_rules: measured on this axis beside the plan's.
    """

    name: str
    label: str
    values: tuple[int | float, ...]
    base: CostCase
    more_rules: tuple[str, ...] = ()


class Compared(Frozen):
    """Methods of one network that are compared: the base case, and every rule in every mode that means something to it."""

    base: CostCase
    cases: tuple[CostCase, ...]

    @property
    def by_label(self) -> dict[str, CostCase]:
        """Label → case."""
        return {case.label: case for case in self.cases}


class CostPlan(Frozen):
    """What is measured.

    Args:
        size: of `SIZES`.
        parts: of `PARTS`.
        rules: local rules beside the twins.
        modes: that were named; none: the size's own.
        memory: the budget of the part of that name, as given.
        repeats: fresh processes of each method's memory.
        rounds: in which the methods of a network take turns, in the parts methods and distribution.
        settings: of every case, dotted (`CostCase.with_settings`).
        threads: of torch, in every case.
        device: of every case.
        sources: SHA-256 of rules, and of a network, that are files.
        command: noted beside the numbers.
        claims_sha256: of our claims about cost when the audit began.
        groups: of the parts methods and roofline; this and what follows is made of what is above.
        axes: of the part scaling.
        budgets: groups of the part budget.
        distributions: groups of the part distribution.
        notes: what was left out and why.
    """

    size: str = "quick"
    parts: tuple[str, ...] = PARTS
    rules: tuple[str, ...] = RULES
    modes: tuple[str, ...] = ()
    memory: str
    repeats: int
    rounds: int
    settings: dict[str, Any] = Field(default={})
    threads: int = 1
    device: str = "cpu"
    sources: dict[str, str] = Field(default={})
    command: str = ""
    claims_sha256: str = ""
    groups: tuple[Compared, ...] = Field(default=(), exclude=True)
    axes: tuple[Axis, ...] = Field(default=(), exclude=True)
    budgets: tuple[Compared, ...] = Field(default=(), exclude=True)
    distributions: tuple[Compared, ...] = Field(default=(), exclude=True)
    notes: tuple[str, ...] = Field(default=(), exclude=True)

    @property
    def detail(self) -> Size:
        """What the size says: rounds, repeats and bounds."""
        return DETAILS[self.size]

    @property
    def budget_bytes(self) -> int:
        """The budget."""
        return parse_memory(self.memory)

    def turns(self, group: Compared) -> list[Request]:
        """Speed side by side, and counts: the size's rounds a request, so that more rounds are more requests and the first stay."""
        return self._by_rounds(request_of("turns", group.by_label, rounds=self.detail.rounds))

    def alone(self, case: CostCase) -> list[Request]:
        """Memory and energy, each in a process of its own: a request a repeat."""
        return [request_of("alone", {case.label: case}, steps=3, repeat=index) for index in range(self.repeats)]

    def _by_rounds(self, request: Request) -> list[Request]:
        """As many requests as have the rounds together; the first is that of the size."""
        more = -(-self.rounds // request["rounds"]) - 1
        return [request, *(request | {"repeat": index} for index in range(1, more + 1))]

    def roofline(self, group: Compared) -> Request:
        """Ceilings and profiles of the methods as they are."""
        cases = {label: case for label, case in group.by_label.items() if case.mode == "plain"}
        return request_of("roofline", cases, rounds=self.detail.rounds)

    def scaling(self, axis: Axis) -> Request:
        """Every value and rule of an axis, labelled ``"value/rule"``."""
        rules = dict.fromkeys([BASELINE, *self.rules, *axis.more_rules])
        cases = {
            f"{value:g}/{name}": axis.base.but(**{axis.name: value}).of_rule(name, self.sources)
            for value in axis.values
            for name in rules
        }
        return request_of("turns", cases, rounds=3)

    def ranks(self, group: Compared, costs: dict[str, Any] | None = None) -> list[Request]:
        """Every way to spread the group's rules, on one process, or with what was found there as ``costs`` on two; rounds as in `turns`."""
        methods = {
            name: label
            for label, case in group.by_label.items()
            for name in methods_of(label, backprop=case.rule.name == BASELINE)
        }
        more: dict[str, Any] = {"processes": 1} if costs is None else {"processes": 2, "costs": costs}
        detail = self.detail
        request = request_of("ranks", group.by_label, methods=methods, rounds=detail.rounds, steps=detail.steps, **more)
        return self._by_rounds(request)


def make_plan(
    size: str = "quick",
    *,
    rules: Sequence[str] = (),
    modes: Sequence[str] = (),
    parts: Sequence[str] = (),
    memory: str | None = None,
    repeats: int | None = None,
    rounds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> CostPlan:
    """The plan of one audit, looked at before anything is measured, so that a mistake costs seconds.

    Args:
        size: of `SIZES`.
        rules: local rules beside backprop and BP-DeepSup; `RULES`, on text `TEXT_RULES`, where none is named.
        modes: of `MODES`; all where none is named.
        parts: of `PARTS`; all where none is named.
        memory: the budget; the size's own where left out.
        repeats: fresh processes of each method's memory, 1 to `MOST_REPLICAS`; as the size says where left out.
        rounds: in which methods take turns, 1 to `MOST_REPLICAS`; likewise.
        settings: of every case instead of the size's, dotted (`CostCase.with_settings`).
        threads: of torch.
        device: of every case.

    Raises:
        InputError: an unknown name, a mode that means nothing to any named rule, a micro-batch that does not divide the batch, a budget
            below the weights, numbers of repeats or rounds out of their range or without the part that they are of, sizes of images for a
            network that takes text, or of text for one that takes images.
    """
    if size not in DETAILS:
        raise unknown_name("size", size, DETAILS)
    for part in parts:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    for mode in modes:
        parse_mode(mode)
    found = DETAILS[size]
    text = takes_text(_network_name(settings or {}, found.groups[0]))
    names = tuple(dict.fromkeys(rules or (TEXT_RULES if text else RULES)))
    for name in names:
        rule_facts(name)
    plan = CostPlan(
        size=size, parts=tuple(part for part in PARTS if part in parts) or PARTS, rules=names, modes=tuple(modes), memory=memory or found.memory,
        repeats=_replicas("repeats", repeats, found.repeats), rounds=_replicas("rounds", rounds, found.rounds),
        settings=dict(settings or {}), threads=threads, device=device,
        sources=sources_of(names, settings or {}),
    )  # fmt: skip
    parse_memory(plan.memory)
    _refuse_without_part(plan.parts, memory=memory, repeats=repeats, rounds=rounds)
    return _filled(plan, tuple(rules))


def _filled(plan: CostPlan, named: tuple[str, ...]) -> CostPlan:
    """With its cases, each looked at."""
    maker, found, single = _Maker(plan, named), plan.detail, "network.name" in plan.settings
    made: dict[str, Any] = {}
    if {"methods", "roofline"} & set(plan.parts):
        bases = found.groups[:1] if single else found.groups
        made["groups"] = tuple(maker.group(maker.base(base), plan.modes or MODES, TWINS) for base in bases)
    if "scaling" in plan.parts:
        made["axes"] = tuple(_axes(maker))
    if "budget" in plan.parts:
        group = maker.group(maker.base(found.budget), plan.modes or found.budget_modes, TWINS[:1])
        refuse_below_weights(group.base, plan.budget_bytes)
        made["budgets"] = (group,)
    if "distribution" in plan.parts:
        made["distributions"] = tuple(_distributions(maker, found.distribution[:1] if single else found.distribution))
    return plan.model_copy(update=made | {"notes": tuple(dict.fromkeys(maker.notes))})


_PART_OF = {"memory": ("budget",), "repeats": ("methods",), "rounds": ("methods", "distribution")}


def _refuse_without_part(parts: Sequence[str], **given: Any) -> None:
    """An option of a part that is not measured."""
    for name, value in given.items():
        of = _PART_OF[name]
        if value is not None and not set(of) & set(parts):
            words = f"part {of[0]}" if len(of) == 1 else f"parts {' and '.join(of)}"
            raise InputError(f"--{name} is that of the {words}; add --part {of[0]}, or leave it out")


def _replicas(name: str, given: int | None, default: int) -> int:
    return default if given is None else whole_number(name, given, least=1, most=MOST_REPLICAS)


@dataclass
class _Maker:
    """Makes groups, and remembers what was left out.

    Args:
        plan: for settings, threads, device, modes and rules.
        named: rules that the user named.
    """

    plan: CostPlan
    named: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    def base(self, given: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> CostCase:
        """A case from the flat fields of a size, with the plan's settings (or these)."""
        asked = self.plan.settings if settings is None else settings
        chosen = {**asked, **start_of(asked, self.plan.sources)}
        name = _network_name(chosen, given)
        given = _of_input(name, takes_text(name), given, chosen)
        if file_of(name) is not None:  # taken as its function makes it
            chosen = {"network.width": 1.0, **chosen, "network.source_sha256": self.plan.sources.get(name)}
        options = {"depth": depth} if (depth := given.pop("depth", None)) is not None else {}
        network = NetworkSpec(name=given.pop("network"), width=given.pop("width"), fused=True, options=options)
        case = CostCase.parse(
            {"threads": self.plan.threads, "device": self.plan.device, **given, "network": network.model_dump()}
        )
        return case.with_settings(chosen)

    def group(self, base: CostCase, modes: Sequence[str], twins: Sequence[str]) -> Compared:
        """Every rule in every mode that means something to it."""
        cases: list[CostCase] = []
        refused: dict[str, dict[str, str]] = {}
        for name in dict.fromkeys([*twins, *self.plan.rules]):
            plain = base.of_rule(name, self.plan.sources)
            seen = look_at_case(plain)
            for mode in dict.fromkeys(["plain", *modes]):
                case = plain.but(mode=mode)
                reason = seen.refusal(mode) or self._division(case)
                if reason is None:
                    cases.append(case)
                else:
                    refused.setdefault(mode, {})[name] = reason
        for mode, reasons in refused.items():
            if mode in self.plan.modes and self.named and set(self.named) <= set(reasons):
                raise InputError(reasons[self.named[0]])
            self.notes += [f"Left out: {name} with {mode}: {reason}." for name, reason in reasons.items()]
        return Compared(base=base, cases=tuple(cases))

    def _division(self, case: CostCase) -> str | None:
        """Why a batch cannot be cut so; an error where the user asked for it."""
        try:
            check_division(case)
        except InputError as error:
            if case.mode in self.plan.modes:
                raise
            return str(error)
        return None


def _network_name(settings: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Of the settings, else of a size."""
    name = settings.get("network.name", given["network"])
    return name if isinstance(name, str) else str(given["network"])  # what is no name is refused with the case


def _of_input(name: str, text: bool, given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a case, those of images for a network that takes text being those of text instead.

    Raises:
        InputError: a setting of the other kind.
    """
    wrong = next((key for key in (("image_size", "in_channels") if text else ("context",)) if key in settings), None)
    if wrong is not None:
        kinds = ("images", "text") if text else ("text", "images")
        raise InputError(f"{wrong} is of {kinds[0]}, and network {name!r} takes {kinds[1]}; leave it out")
    if not text:
        return dict(given)
    return {key: value for key, value in given.items() if key != "image_size"} | {
        "context": CONTEXT,
        "num_classes": VOCABULARY,
    }


def _distributions(maker: _Maker, bases: Sequence[Mapping[str, Any]]) -> Iterator[Compared]:
    """Backprop and the first block-local rule on one thread a process, so that two processes have twice what one has."""
    if maker.plan.device != "cpu":
        maker.notes.append("Left out: distribution: it is measured on the CPU; run this command without --device.")
        return
    for content in bases:
        base = maker.base(content).but(threads=1)
        for name in maker.plan.rules:
            case = base.of_rule(name, maker.plan.sources)
            seen = look_at_case(case)
            why = seen.whole_batches if seen.locality == "block" else "it is not block-local"
            if why is None:
                yield Compared(base=base, cases=(base, case))
                break
            maker.notes.append(f"Left out: distribution of {name}: {why}.")


def _takes_width(name: str) -> bool:
    """Of a network; all of ours do.

    Raises:
        InputError: no such network.
    """
    if name in [row["name"] for row in describe("networks")["networks"]]:
        return True
    from layerlocal.networks import takes_width

    return takes_width(name)


_OF_AXES = ("recipe.precision", "recipe.optimizer", "network.compile", "network.fused", "network.channels_last")
"""Settings that leave apart what an axis varies or fixes."""


def _axes(maker: _Maker) -> Iterator[Axis]:
    """Depth on equal blocks, the others on one network; of text its context, and neither images nor classes."""
    given, scale = maker.plan.settings, maker.plan.detail.scale
    name = given.get("network.name", USUAL_NETWORK["images"])
    text = takes_text(name)
    own = {key: value for key, value in given.items() if key in _OF_AXES or key.startswith("rule.")}

    def axis(
        what: str, label: str, values: tuple[int | float, ...], network: str, width: float, batch_size: int, *more: str
    ) -> Axis:
        base = maker.base(network_of(network, scale * width, 32, batch_size), own)
        return Axis(name=what, label=label, values=values, base=base, more_rules=more)

    if not text or _has_depth(name):
        yield axis("depth", "depth, blocks", (4, 8, 16, 32, 64), name if text else "plain", 0.25, 8)
    if _takes_width(name):
        yield axis("width", "width", tuple(scale * w for w in (0.125, 0.25, 0.5)), name, 0.25, 8)
    yield axis("batch_size", "batch size", (8, 16, 32, 64), name, 0.25, 8)
    if text:
        yield axis("context", "context, tokens", (32, 64, 128, 256), name, 0.25, 4)
        return
    yield axis("image_size", "resolution, px", (32, 64, 128, 224), name, 0.25, 4)
    yield axis("num_classes", "classes K", (10, 100, 1000), name, 0.125, 8, "ff")


def _has_depth(name: str) -> bool:
    """Whether a network has the option ``depth``."""
    from layerlocal.networks import network_options

    return "depth" in network_options(name)
