"""A rule on a network that starts from given weights, with blocks that are frozen, learn locally or jointly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from layerlocal.networks import Network
from layerlocal.networks.weights import load_weights
from layerlocal.rules import Rule, create_rule
from layerlocal.rules.core.export import copied
from layerlocal.rules.roles import Roles
from layerlocal.types import InputError

__all__ = ["Start", "copied_network", "started_rule"]

Start = nn.Module | str | os.PathLike[str]
"""What `load_weights` takes."""


def copied_network(start: Start | None) -> Network | None:
    """The network of a rule, or a network, anew; ``None`` of a file, whose blocks are not known.

    Raises:
        InputError: another module.
    """
    found = start.network if isinstance(start, Rule) else start
    if isinstance(found, Network):
        return copied(found).use_fused(found.fused)
    if isinstance(found, nn.Module):
        raise InputError(f"a {type(found).__name__} to start from does not say where its blocks are; give network= too")
    return None


def started_rule(
    rule: str | type[Rule],
    network: Network,
    *,
    num_classes: int,
    seed: int,
    start: Start | None,
    roles: Roles | None,
    options: Mapping[str, Any],
) -> Rule:
    """The rule; where it is refused, the network is left as it was.

    Args:
        rule: by name or class.
        network: changed in place.
        num_classes: K.
        seed: of the heads.
        start: weights of the network; its own where left out.
        roles: what each block does; all as the rule has it where left out.
        options: of the rule.

    Raises:
        InputError: a start or roles that do not fit the network, or what `create_rule` refuses.
    """
    given = dict(options)
    if roles is not None:
        roles.refuse_other_depth(network.depth)
        rule, given = roles.rule(rule, given)
    learn = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    modes, frozen = [(part, part.training) for part in network.modules()], network.frozen
    try:
        if roles is not None:
            network.freeze(roles.frozen)
        made = create_rule(rule, network, num_classes=num_classes, seed=seed, **given)
        if start is not None:
            load_weights(network, start)
        return made
    except InputError:
        network.frozen = frozen
        for parameter, learns in learn:
            parameter.requires_grad_(learns)
        for part, training in modes:
            part.training = training
        raise
