"""The locality certificate: which parameters each loss really reaches, by gradient and by intervention.

Gradient reach: run the losses one by one as the loop does, and see whose gradient each backward fills.
Intervention: perturb the parameters of block j; the update of every block i < j must not change by one bit, unless one loss trains both
or the rule says that it reads so far ahead (`Rule.reads_ahead`).
The first finds a missing detach, the second also finds couplings without a gradient (shared statistics, feedback, borrowed weights).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.devices import cuda_devices, seed_generators
from layerlocal.measure.probe import exact_kernels, forward_backward, refuse_batch, untouched
from layerlocal.options import seed_number
from layerlocal.rules import Rule
from layerlocal.types import Locality, derive_seed, first_line, trained_blocks

__all__ = ["gradient_reach", "intervention", "measure_locality"]

Gradients = dict[str, list[Tensor | None]]


def _clear(groups: dict[str, list[nn.Parameter]]) -> None:
    for parameters in groups.values():
        for parameter in parameters:
            parameter.grad = None


def _norm(parameters: list[nn.Parameter]) -> float:
    squares = [float(p.grad.double().square().sum()) for p in parameters if p.grad is not None]
    return sum(squares) ** 0.5


def gradient_reach(rule: Rule, x: Tensor, y: Tensor, *, seed: int = 0) -> dict[str, Any]:
    """Whose parameters each loss's backward touches.

    Returns:
        ``losses``, ``blocks`` (names), ``reach`` [loss × block] (a gradient arrived, even a zero one), ``reach_norm`` [loss × block]
        (2-norm of that gradient), and ``error`` where a backward failed, as when it walks into a graph that an earlier one freed.
    """
    seed, groups = seed_number(seed), rule.block_parameters()
    blocks = list(groups)
    found: dict[str, Any] = {"losses": [], "blocks": blocks, "reach": [], "reach_norm": []}
    with untouched(rule):
        rule.train()
        rule.rewind()
        seed_generators(derive_seed(seed, "locality"), cuda_devices([x]))
        for loss in rule.losses(x, y):
            _clear(groups)
            try:
                loss.value.backward()
            except RuntimeError as error:
                found["error"] = f"the backward of {loss.block} failed: {first_line(error)}"
                break
            found["losses"].append(loss.block)
            found["reach"].append([any(p.grad is not None for p in groups[name]) for name in blocks])
            found["reach_norm"].append([_norm(groups[name]) for name in blocks])
    return found


def _updates(rule: Rule, x: Tensor, y: Tensor, groups: dict[str, list[nn.Parameter]], seed: int) -> Gradients:
    """The gradient of every block after two whole passes of the loop: what one leaves behind, the next may use."""
    seed_generators(derive_seed(seed, "locality"), cuda_devices([x]))
    _clear(groups)
    forward_backward(rule, x, y)
    forward_backward(rule, x, y)
    return {name: [None if p.grad is None else p.grad.clone() for p in group] for name, group in groups.items()}


def _same(left: list[Tensor | None], right: list[Tensor | None]) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
        for a, b in zip(left, right, strict=True)
    )


def intervention(rule: Rule, x: Tensor, y: Tensor, *, seed: int = 0) -> list[list[bool]]:
    """[perturbed block j × block i]: did i's update change, by a single bit, when j's parameters were perturbed?

    Everything after j sees another input, so entries with i ≥ j are normally true. Entries with i < j are false for a block-local rule.
    """
    seed, groups = seed_number(seed), rule.block_parameters()
    changed = []
    with untouched(rule), exact_kernels(x.device):
        rule.train()
        rule.rewind()
        state = {name: value.clone() for name, value in rule.state_dict().items()}
        reference = _updates(rule, x, y, groups, seed)
        for parameters in groups.values():
            rule.load_state_dict(state)
            seed_generators(derive_seed(seed, "perturbation"), cuda_devices([x]))
            with torch.no_grad():
                for parameter in parameters:
                    parameter.add_(0.1 * torch.randn_like(parameter))
            updates = _updates(rule, x, y, groups, seed)
            changed.append([not _same(reference[name], updates[name]) for name in groups])
    return changed


def _couplings(changed: list[list[bool]], blocks: list[str], together: list[set[str]]) -> list[tuple[int, int]]:
    """Pairs (j, i) with i < j, of no common loss, where perturbing block j changed the update of block i."""
    return [
        (j, i)
        for j, row in enumerate(changed)
        for i, hit in enumerate(row[:j])
        if hit and not any({blocks[i], blocks[j]} <= group for group in together)
    ]


def _visible(rule: Rule, expected: int) -> int:
    """As much of a declared ``reads_ahead`` as can be seen: blocks that do not learn can neither be perturbed nor have an update."""
    learn = [i for i, block in enumerate(rule.network.blocks) if any(p.requires_grad for p in block.parameters())]
    return max((j - i for i in learn for j in learn if 0 < j - i <= expected), default=0)


def _reach_of(losses: list[str], blocks: list[str], ahead: int) -> Locality:
    spans = [*(len(trained_blocks(name, blocks)) for name in losses), ahead + 1]
    if len(blocks) > 1 and any(span == len(blocks) for span in spans):
        return "global"
    return "segment" if any(span > 1 for span in spans) else "block"


def measure_locality(rule: Rule, x: Tensor, y: Tensor, *, seed: int = 0) -> dict[str, Any]:
    """The certificate of a rule on one batch: what it declares, what was measured, and whether the two agree.

    Args:
        rule: left exactly as it was found.
        x: (B, *sample_shape); a few samples are enough.
        y: (B,).
        seed: of the rule's own draws and of the perturbations.

    Returns:
        JSON-ready: ``declared``, ``measured`` (``"global"``, ``"segment"``, ``"block"``), ``certified`` (bool), ``problems`` (sentences),
        ``losses``, ``blocks``, ``reach``, ``reach_norm`` [loss × block], ``intervention`` [perturbed × block], ``reads_ahead`` (how many
        blocks further on parameters change a block's update at one step without a loss that trains both; as the rule declares it).
    """
    refuse_batch(rule, x, y)
    found = gradient_reach(rule, x, y, seed=seed)
    blocks = found["blocks"]
    problems = [found.pop("error")] if "error" in found else []
    allowed = {name: trained_blocks(name, blocks) for name in found["losses"]}
    for name, reached in zip(found["losses"], found["reach"], strict=True):
        for block, hit in zip(blocks, reached, strict=True):
            if hit and block not in allowed[name]:
                problems.append(f"the loss of {name} reaches the parameters of {block}")
    idle = {block for block, parameters in rule.block_parameters().items() if not parameters}
    trained = {block for reached in found["reach"] for block, hit in zip(blocks, reached, strict=True) if hit}
    problems += (
        [f"no loss reaches the parameters of {block}" for block in blocks if block not in trained | idle]
        if not problems
        else []
    )
    found["intervention"] = [] if problems else intervention(rule, x, y, seed=seed)
    couplings = _couplings(found["intervention"], blocks, list(allowed.values()))
    ahead = max((j - i for j, i in couplings), default=0)
    expected = min(rule.reads_ahead, len(blocks) - 1)
    problems += [f"perturbing {blocks[j]} changes the update of {blocks[i]}" for j, i in couplings if j - i > expected]
    reach = expected if ahead >= _visible(rule, expected) else ahead
    measured: Locality = "global" if problems else _reach_of(found["losses"], blocks, reach)
    if reach < expected and not problems:
        problems.append(f"declares reads_ahead {expected}, measured {ahead}")
    if len(blocks) > 1 and measured != rule.locality and not problems:
        problems.append(f"declares locality {rule.locality!r}, measured {measured!r}")
    found |= {"declared": rule.locality, "measured": measured, "reads_ahead": ahead}
    found |= {"certified": not problems, "problems": problems}
    return found
