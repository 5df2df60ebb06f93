"""What `layerlocal list` shows and plans ask of rules: facts that building every rule and network gave, kept in ``listing.json``, so that
neither a list nor a plan needs torch.

``python -m layerlocal.runs.listing`` looks again and writes the file; a test holds it to what there is.
"""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from layerlocal.types import PARTNER, InputError, unknown_name
from layerlocal.words import byte_count

if TYPE_CHECKING:
    from layerlocal.rules import Rule

__all__ = [
    "RuleFacts",
    "StepFacts",
    "describe",
    "is_baseline",
    "look",
    "partner_of",
    "refuse_baseline",
    "rule_facts",
    "step_facts",
    "takes_text",
]

Rows = list[dict[str, Any]]
Named = TypeVar("Named", bound="str | type[Rule]")
FACTS = Path(__file__).with_name("listing.json")
SECTIONS = ("rules", "networks", "data")


@dataclass(frozen=True)
class RuleFacts:
    """What a plan asks of a rule.

    Attributes:
        locality: ``"block"``, ``"segment"`` or ``"global"``.
        blockwise: whether it has one readout a block, so that twins can be made of it.
        channel_groups: whether it deals channels to classes.
        twins_of: the rule whose twins it shares, if any.
        tried_on: the network that it is tried on where not every one will do, or ``""``.
        options: its keyword options and their defaults.
    """

    locality: str
    blockwise: bool
    channel_groups: bool
    twins_of: str
    tried_on: str
    options: dict[str, Any]


@dataclass(frozen=True)
class StepFacts:
    """What a rule of ours is like in a training step, with its default options in a network of four blocks; in a deeper one it is the same.

    Attributes:
        locality: of the rule in the network.
        compares_samples: whether its loss does.
        whole_batches: why its batch must not be cut (`Rule.needs_whole_batches`).
        checkpointing: why its activities cannot be computed again; ``None``: they can.
    """

    locality: str
    compares_samples: bool
    whole_batches: str | None
    checkpointing: str | None


def step_facts(rule: str) -> StepFacts | None:
    """``None`` for a rule that is not ours."""
    known = _facts()["step_facts"].get(rule)
    return None if known is None else StepFacts(**known)


def rule_facts(rule: str | type[Rule]) -> RuleFacts:
    """Of ours from the file, of others (``FILE.py:CLASS``, or a class) from the class.

    Raises:
        InputError: as `layerlocal.rules.find_rule`.
    """
    known = _facts()["rule_facts"].get(rule) if isinstance(rule, str) else None
    return _facts_of(rule) if known is None else RuleFacts(**known)


def takes_text(network: str) -> bool:
    """Whether a network's input is text: of ours from the file, of others (``FILE.py:FUNCTION``) from the function.

    Raises:
        InputError: as `layerlocal.networks.takes_text`.
    """
    known = {row["name"]: row["input"] for row in _facts()["networks"]}
    if network in known:
        return bool(known[network] == "text")
    from layerlocal.networks import takes_text as of_file

    return of_file(network)


def partner_of(rule: Named) -> Named | str:
    """What a rule's twins are made of: itself, the rule whose twins it shares, or `PARTNER`."""
    facts = rule_facts(rule)
    return facts.twins_of or (rule if facts.blockwise else PARTNER)


def is_baseline(rule: str | type[Rule]) -> bool:
    """Whether a rule is backprop, or a hybrid with it, of every other rule: its credit crosses all blocks, and it has no twins of its own."""
    facts = rule_facts(rule)
    return facts.locality == "global" and not facts.twins_of


def refuse_baseline(rule: str | type[Rule]) -> None:
    """An experiment of local rules has no row for a rule that is a twin of every other.

    Raises:
        InputError: it is one (`is_baseline`).
    """
    if is_baseline(rule):
        name = rule if isinstance(rule, str) else rule.info.name
        raise InputError(f"{name} is a baseline, not a local rule: bp and bp-deepsup stand beside every rule already")


@functools.cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


def _facts_of(name: str | type[Rule]) -> RuleFacts:
    from layerlocal.rules import BlockwiseRule, rule_class, rule_options
    from layerlocal.rules.twins import Twin

    rule = rule_class(name)
    blockwise = issubclass(rule, BlockwiseRule) and not issubclass(rule, Twin)
    info = rule.info
    return RuleFacts(info.locality, blockwise, info.channel_groups, info.twins_of, info.tried_on, rule_options(rule))


def describe(what: str) -> dict[str, Rows]:
    """Rows by section: ``"rules"``, ``"networks"``, ``"data"`` or ``"all"``; each row has a ``name``.

    Raises:
        InputError: another section.
    """
    if what not in (*SECTIONS, "all"):
        raise unknown_name("list", what, [*SECTIONS, "all"])
    return {name: _facts()[name] for name in SECTIONS if what in ("all", name)}


def look() -> dict[str, Any]:
    """All that is in the file, from the rules, networks and data themselves, in seconds."""
    from layerlocal.rules import list_rules

    facts = {name: asdict(_facts_of(name)) for name in list_rules()}
    steps = {name: asdict(_step_facts_of(_small(name))) for name in list_rules()}
    return {"rules": _rules(), "networks": _networks(), "data": _data(), "rule_facts": facts, "step_facts": steps}


def _rules() -> Rows:
    from layerlocal.rules import find_rule, list_rules, rule_options

    rows = []
    for name in list_rules():
        rule = find_rule(name)
        info, made = rule.info, _small(name)
        options = " ".join(f"rule.{key}={_typed(value)}" for key, value in rule_options(rule).items())
        rows.append(
            {
                "name": name,
                "what": info.summary,
                "locality": f"locality {info.locality}",
                "step": f"{made.passes_per_step} forward a step",
                "prediction": f"{'K' if info.passes_per_prediction == 'num_classes' else 1} a prediction",
                "needs": "needs " + (", ".join(_needs(made)) or "no labels"),
                "references": ", ".join(info.references),
                "options": options + (" and the options of that rule" if "rule.of=" in options else ""),
            }
        )
    return rows


def _small(name: str) -> Rule:
    """A rule as it is by default, in a small network of four blocks."""
    from layerlocal.networks import create_network
    from layerlocal.rules import create_rule, find_rule

    of = find_rule(name).info.tried_on or "cnn4"
    network = create_network(of, in_channels=1, image_size=8, width=0.25, depth=4, seed=0)
    return create_rule(name, network, num_classes=2)


def _step_facts_of(rule: Rule) -> StepFacts:
    import torch

    checkpointing = None
    try:
        rule.train().use_checkpointing(torch.zeros(2, *rule.network.sample_shape))
    except InputError as error:
        checkpointing = str(error)
    return StepFacts(rule.locality, rule.compares_samples, rule.needs_whole_batches, checkpointing)


def _typed(value: Any) -> str:
    """As it is typed after ``--set KEY=``."""
    return value if isinstance(value, str) else json.dumps(value)


def _needs(rule: Rule) -> list[str]:
    """What a rule asks for, in words."""
    found = {
        "labels at every block": rule.locks["labels_everywhere"],
        "labels": not rule.locks["labels_everywhere"] and not rule.info.unsupervised,
        "negatives (it makes them)": rule.info.negatives,
        "whole batches (it compares samples)": rule.compares_samples,
        "a multiple of the classes in channels": rule.info.channel_groups,
        f"a network such as {rule.info.tried_on}": bool(rule.info.tried_on),
        "weight transport": rule.locks["weight_transport"],
    }
    return [words for words, needed in found.items() if needed]


def _networks() -> Rows:
    from layerlocal.data.text import CONTEXT, VOCABULARY
    from layerlocal.networks import create_network, list_networks, network_options, takes_text

    rows = []
    for name in list_networks():
        text = takes_text(name)
        sizes: dict[str, Any] = (
            {"vocabulary": VOCABULARY, "context": CONTEXT} if text else {"in_channels": 3, "image_size": 32}
        )
        network = create_network(name, seed=0, **sizes)
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        rows.append(
            {
                "name": name,
                "input": "text" if text else "images",
                "blocks": f"{network.depth} block{'s' * (network.depth > 1)}",
                "size": f"{millions:.2f} M parameters at width 1 on {f'{CONTEXT} bytes' if text else '3×32×32'}",
                "options": " ".join(f"network.{option}" for option in network_options(name)),
            }
        )
    return rows


def _data() -> Rows:
    from layerlocal.data import benchmark_table, list_data

    known = {info.name: info for info in benchmark_table()}
    rows = []
    for name in list_data():
        info = known.get(name)
        if info is None:
            what, licence = _built_in(name)
            rows.append({"name": name, "from": what, "licence": licence})
        else:
            place = f"Hub {info.hub_id}" if info.file is None else f"file {info.file.file} of MedMNIST"
            rows.append({"name": name, "from": place, "licence": f"licence {info.licence}", "note": info.note})
    return rows


def _built_in(name: str) -> tuple[str, str]:
    """What data of the package are, and their licence."""
    from layerlocal.data.text import find_text

    text = find_text(name)
    if text is not None:
        corpus = text(False)
        splits = [split for split in (corpus.train, corpus.test) if split is not None]
        documents, size = sum(map(len, splits)), sum(len(split.text) for split in splits)
        return f"text in the package, {documents} documents, {byte_count(size, decimal=True)}", corpus.provenance[
            "licence"
        ]
    if name == "teacher_student":
        return "Gaussian inputs labelled by a random teacher", ""
    return "real images in the package, the default", "MIT"


if __name__ == "__main__":
    FACTS.write_text(json.dumps(look(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
