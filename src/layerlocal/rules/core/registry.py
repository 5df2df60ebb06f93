"""Rules by name, and rules of a user's own from ``FILE.py:CLASS``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from layerlocal.networks import Network
from layerlocal.networks.blocks import within_memory
from layerlocal.options import check_options, options_of, seed_number
from layerlocal.plugins import is_own, load_file, split_name
from layerlocal.rules.core.rule import Rule, RuleInfo, refuse_no_task
from layerlocal.types import InputError, describe_error, first_line, is_fault, unknown_name

__all__ = [
    "accepted_options",
    "create_rule",
    "find_rule",
    "list_rules",
    "register_rule",
    "rule_class",
    "rule_options",
    "tried_on",
]

_RULES: dict[str, type[Rule]] = {}
RuleClass = TypeVar("RuleClass", bound=type[Rule])
TAKEN = ("num_classes", "seed")
"""What `create_rule` gives every rule."""


def register_rule(rule: RuleClass) -> RuleClass:
    """Class decorator: make a rule known by its ``info.name``. The same class made again, as in a notebook, takes the place of the first.

    Raises:
        InputError: what is no class of a rule, one without ``info``, or a name that another rule has.
    """
    if isinstance(rule, str):
        raise InputError(f"a rule is registered by its class, not by the name {rule!r}")
    rule_class(rule)
    other = _RULES.get(rule.info.name)
    if other is not None and (_source(other), other.__qualname__) != (_source(rule), rule.__qualname__):
        raise InputError(
            f"{rule.__name__} cannot be registered as {rule.info.name!r}, the name of {other.__module__}.{other.__name__}; give its info "
            "another name"
        )
    _RULES[rule.info.name] = rule
    return rule


def _source(rule: type[Rule]) -> str:
    """The file that a class comes from, or else its module."""
    return str(getattr(sys.modules.get(rule.__module__), "__file__", None) or rule.__module__)


def list_rules() -> list[str]:
    """Names that `create_rule` knows."""
    return sorted(_RULES)


def find_rule(name: str) -> type[Rule]:
    """The class of a rule: a known name, or ``path/to/file.py:Class`` for a rule of your own.

    Raises:
        InputError: unknown name, missing file, a file that does not import, or a class in it that is not a `Rule`.
    """
    if not isinstance(name, str):
        raise InputError(f"a rule is found by its name or as FILE.py:CLASS, got {name!r}")
    if name in _RULES:
        return _RULES[name]
    own = split_name(name)
    if own is None:
        raise unknown_name("rule", name, [*_RULES, "FILE.py:CLASS"])
    return _load_class(*own)


def _load_class(path: Path, class_name: str) -> type[Rule]:
    module = load_file(path, "rule")
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Rule)):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, Rule) and value.__module__ == module.__name__
        ]
        missing = (
            f"has no Rule class {class_name!r}"
            if class_name
            else "is a file: give FILE.py:CLASS, the rule's class after a colon"
        )
        raise InputError(f"{path} {missing}; it has: {', '.join(classes) or 'none'}")
    if not isinstance(getattr(found, "info", None), RuleInfo):
        raise InputError(f"{class_name} in {path} declares no info; add info = RuleInfo(name=..., locality=...)")
    return found


def rule_class(name: str | type[Rule]) -> type[Rule]:
    """`find_rule`, or the class itself.

    Raises:
        InputError: what is neither a name nor the class of a rule that declares an ``info``.
    """
    rule = find_rule(name) if isinstance(name, str) else name
    if not (inspect.isclass(rule) and issubclass(rule, Rule)):
        raise InputError(f"a rule is a name, FILE.py:CLASS or a class made from Rule, got {name!r}")
    if not isinstance(getattr(rule, "info", None), RuleInfo):
        raise InputError(f"{rule.__name__} declares no info; add info = RuleInfo(name=..., locality=...)")
    return rule


def create_rule(
    name: str | type[Rule], network: Network, *, num_classes: int, seed: int | None = None, **options: Any
) -> Rule:
    """Build a rule by name, by ``FILE.py:CLASS`` or from its class.

    Args:
        name: one of `list_rules()`, a plug-in, or a class.
        network: what is trained; used, not copied.
        num_classes: K ≥ 2.
        seed: of the heads' initial weights; ``None``: torch's global generator.
        **options: the rule's own keyword options. A twin (``bp``, ``bp-deepsup``, ``segmented``) or hybrid (``bp-every``, ``feedback``,
            ``lookahead``) takes ``of="<rule>"`` and that rule's options.

    Raises:
        InputError: unknown name or option, or a value out of its range.

    Example:
        >>> from layerlocal import create_network
        >>> network = create_network("mlp", in_channels=8, image_size=1, depth=2)
        >>> create_rule("class-goodness", network, num_classes=3, temperature_max=2.0).readout_blocks
        ['block0', 'block1']
    """
    rule = rule_class(name)
    num_classes, seed = refuse_no_task(network, num_classes), None if seed is None else seed_number(seed)
    what, options = f"rule {rule.info.name!r}", accepted_options(rule, options, seed)
    try:
        with within_memory(what):
            return rule(network, num_classes=num_classes, **options)
    except TypeError as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items() if key != "seed") or "none given"
        raise InputError(f"{what} refused its options ({given}): {first_line(error)}") from error
    except BaseException as error:
        if isinstance(error, InputError) or not is_own(rule.__module__) or not is_fault(error):
            raise
        raise InputError(f"{_name_of(rule)} cannot be made: it {describe_error(error)}") from error


def accepted_options(rule: type[Rule], options: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """The options of a rule, once they are seen to be its own and of the declared types, and the seed where it takes one.

    Raises:
        InputError: an unknown option, or one of another type.
    """
    parameters = inspect.signature(rule).parameters.values()
    collects = any(p.kind is p.VAR_KEYWORD for p in parameters)
    others = _partner_options(rule, options, collects)
    check_options(f"rule {rule.info.name!r}", options_of(rule, TAKEN), options, others)
    takes_seed = collects or any(p.name == "seed" for p in parameters)
    return {**options, "seed": seed} if takes_seed else dict(options)


def _name_of(rule: type[Rule]) -> str:
    return f"{rule.__name__} of {inspect.getfile(rule).rpartition('/')[2]}"


def rule_options(rule: str | type[Rule]) -> dict[str, Any]:
    """The keyword options of a rule and their defaults, without ``network``, ``num_classes`` and ``seed``.

    Args:
        rule: a name of `list_rules()`, ``FILE.py:CLASS`` or a class. A twin or hybrid also takes the options of the rule named by ``of``.

    Raises:
        InputError: no such rule.

    Example:
        >>> rule_options("bp-every")
        {'every': 2, 'of': 'local-heads'}
    """
    return {name: parameter.default for name, parameter in options_of(rule_class(rule), TAKEN).items()}


def tried_on(rule: type[Rule], options: Mapping[str, Any]) -> str:
    """The network by name that a rule with these options is tried on where not every one will do (`RuleInfo.tried_on`), or ``""``.

    A twin or hybrid is tried on what the rule named by ``of`` is tried on.
    """
    partner = options.get("of", rule_options(rule).get("of"))
    return rule.info.tried_on or ("" if partner is None else rule_class(partner).info.tried_on)


def _partner_options(rule: type[Rule], options: dict[str, Any], collects: bool) -> Collection[str] | None:
    """Of the rule that a twin or hybrid is made of; none of another rule, or any (``None``) where it collects ``**options``."""
    own = rule_options(rule)
    if "of" not in own:
        return None if collects else ()
    partner = options.get("of", own["of"])
    if isinstance(partner, str):
        partner = find_rule(partner)
    return rule_options(partner) if inspect.isclass(partner) and issubclass(partner, Rule) else ()
