"""`twins`: a rule and its two exact backprop twins on copies of one network, as every study trains them."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from layerlocal.networks import Network
from layerlocal.options import check_kind, seed_number
from layerlocal.rules import Rule, create_rule, rule_options
from layerlocal.runs.listing import partner_of, refuse_baseline

__all__ = ["Twins", "twins"]


class Twins(NamedTuple):
    """A rule and its twins, each with a network of its own and equal initial weights.

    Attributes:
        local: the rule.
        bp: backprop through all blocks from the last readout.
        bp_deepsup: backprop with the losses of every readout: the extra supervision of the rule, without its gradient boundaries.
    """

    local: Rule
    bp: Rule
    bp_deepsup: Rule


def twins(rule: str | type[Rule], network: Network, *, num_classes: int, seed: int = 0, **options: Any) -> Twins:
    """A rule beside its exact twins. Trained alike, their accuracies split the gap into extra supervision and the price of locality.

    They are what a study trains: with a network of `create_network` and the same seed, its first weights and, with equal recipe and data,
    its last ones are those of `run_spec`. Twins of a rule without one readout a block are made of ``local-heads``.

    Args:
        rule: a local rule: a name of `list_rules()`, ``FILE.py:CLASS`` or a class.
        network: copied three times; it stays as it is.
        num_classes: K ≥ 2.
        seed: of the heads' initial weights, from 0.
        **options: of the rule and, alike, of its twins.

    Raises:
        InputError: a baseline in place of a local rule, or whatever `create_rule` refuses.

    Example:
        >>> from layerlocal import create_network
        >>> three = twins("class-goodness", create_network("mlp", in_channels=8, image_size=1, depth=2), num_classes=3)
        >>> three.local.readout_blocks, three.bp.readout_blocks, three.bp_deepsup.readout_blocks
        (['block0', 'block1'], ['block1'], ['block0', 'block1'])
    """
    refuse_baseline(rule)
    check_kind("network", network, Network)
    seed = seed_number(seed)
    partner = partner_of(rule)
    taken = options if partner is rule else rule_options(partner)
    shared = {name: value for name, value in options.items() if name in taken}

    def make(name: str | type[Rule], **given: Any) -> Rule:
        return create_rule(name, copy.deepcopy(network), num_classes=num_classes, seed=seed, **given)

    local = make(rule, **options)
    return Twins(local, make("bp", of=partner, **shared), make("bp-deepsup", of=partner, **shared))
