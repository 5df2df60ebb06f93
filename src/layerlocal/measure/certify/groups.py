"""The groups of a step: read from what the user gave, and what is no division of a network refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from layerlocal.types import InputError, shown

__all__ = ["Group", "in_a_line", "read_groups", "refuse_left_out", "shared_groups"]

MOST = 256
"""Groups: each is perturbed, over two calls of the step."""


def in_a_line(value: object) -> str:
    """A value as `shown` has it, without line ends: that of a module has many."""
    return " ".join(shown(value).split())


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that belong together, by name.

    Args:
        name: as the user called it, or ``group0``, ``group1``, ... in forward order.
        parameters: of its modules, each once.
        modules: that were given; none of a list of parameters.
    """

    name: str
    parameters: list[nn.Parameter]
    modules: tuple[nn.Module, ...]


def read_groups(groups: Any) -> list[Group]:
    """What the user gave as groups, in forward order.

    Args:
        groups: modules, or lists of modules and parameters; a mapping gives each a name.

    Raises:
        InputError: fewer than two, more than 256, one that has no parameters, two that overlap.
    """
    found = [_read(name, list(_parts(name, value))) for name, value in _named(groups)]
    if len(found) < 2:
        raise InputError(
            f"groups must be two or more, in forward order, got {len(found)}; divide the network where its gradient should stop"
        )
    if len(found) > MOST:
        raise InputError(f"groups must be {MOST} at most, got {len(found)}; put neighbours together")
    for i, group in enumerate(found):
        for earlier in found[:i]:
            _refuse_overlap(earlier, group)
    return found


def _named(groups: Any) -> list[tuple[str, Any]]:
    if isinstance(groups, Mapping | nn.ModuleDict):
        return [(str(name), value) for name, value in groups.items()]
    if isinstance(groups, nn.Module) and not isinstance(groups, nn.Sequential | nn.ModuleList):
        raise InputError(
            f"groups must be a list of modules or of lists of parameters, got one {type(groups).__name__}; give its parts in forward order"
        )
    if isinstance(groups, str | bytes | Tensor) or not isinstance(groups, Iterable):
        raise InputError(
            f"groups must be a list of modules or of lists of parameters, in forward order, got {in_a_line(groups)}"
        )
    return [(f"group{i}", value) for i, value in enumerate(groups)]


def _parts(name: str, value: Any) -> Iterator[Any]:
    """A group's modules and parameters."""
    if isinstance(value, nn.Module | nn.Parameter):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        for part in value:
            if not isinstance(part, nn.Module | nn.Parameter):
                raise InputError(f"{name} must hold modules or parameters, got {in_a_line(part)}")
            yield part
    else:
        raise InputError(f"{name} must be a module or a list of parameters, got {in_a_line(value)}")


def _read(name: str, parts: Sequence[Any]) -> Group:
    modules = tuple(part for part in parts if isinstance(part, nn.Module))
    every = [p for part in parts for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())]
    parameters = list({id(p): p for p in every}.values())
    if not parameters:
        what = f" ({', '.join(type(part).__name__ for part in modules)})" if modules else ""
        raise InputError(f"{name}{what} has no parameters; leave it out, or put it into one group with a neighbour")
    if any(isinstance(p, UninitializedParameter) for p in parameters):
        raise InputError(
            f"{name} has parameters without a shape yet (a lazy module); run the model once on a batch before"
        )
    if any(p.is_meta for p in parameters):
        raise InputError(f"{name} has parameters on the meta device, which hold no numbers; load the model before")
    return Group(name, parameters, modules)


def _refuse_overlap(first: Group, second: Group) -> None:
    """One module within another, or one parameter in two lists. Two modules may share a parameter: that is a finding, not a mistake."""
    inner = [{id(part) for module in group.modules for part in module.modules()} for group in (first, second)]
    within = any(id(m) in inner[1] for m in first.modules) or any(id(m) in inner[0] for m in second.modules)
    of_modules = [{id(p) for module in group.modules for p in module.parameters()} for group in (first, second)]
    common = {id(p) for p in first.parameters} & {id(p) for p in second.parameters}
    if within or any(common - of_modules[side] for side in (0, 1)):
        raise InputError(
            f"{first.name} and {second.name} overlap: each parameter belongs to one group; where two modules share one, give the modules"
        )


def shared_groups(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Pairs i < j that hold a parameter in common."""
    own = [{id(p) for p in group.parameters} for group in groups]
    return [(i, j) for j in range(len(own)) for i in range(j) if own[i] & own[j]]


def refuse_left_out(
    groups: Sequence[Group], optimizers: Sequence[tuple[str, Any]], names: Mapping[int, tuple[str, nn.Parameter]]
) -> None:
    """A parameter that an optimizer trains and no group has.

    Raises:
        InputError: it is named, and the optimizer.
    """
    held = {id(p) for group in groups for p in group.parameters}
    for name, optimizer in optimizers:
        for parameter in (p for each in optimizer.param_groups for p in each["params"]):
            if parameter.requires_grad and id(parameter) not in held:
                called = names.get(id(parameter), ("", None))[0]
                what = f"{called} of shape {tuple(parameter.shape)}"
                raise InputError(f"{name} trains {what}, which is in no group; put it into one of the groups")
