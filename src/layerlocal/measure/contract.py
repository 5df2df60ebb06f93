"""`check_rule`: the contract every rule keeps, ours and yours. What a rule declares is measured here."""

from __future__ import annotations

import contextlib
import shlex
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from layerlocal.measure import count_passes, measure_locality, measure_saved_bytes
from layerlocal.measure.bench import DEEP, EVEN, SHALLOW, Bench
from layerlocal.measure.locality import gradient_reach
from layerlocal.measure.probe import forward_backward, untouched
from layerlocal.networks import takes_text
from layerlocal.rules import Rule, rule_class
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import OTHER_SCORES, evaluate_split
from layerlocal.training.rehearsal import refuse_infinite_loss, refuse_other_loss
from layerlocal.training.train import refuse_what_does_not_fit, train_rule
from layerlocal.types import InputError, describe_error, first_line, is_fault

__all__ = ["CheckResult", "check_rule", "conclude"]

FLAT = 1.1
"""Peak saved bytes at `DEEP` over those at `SHALLOW`: at most this for a local rule, at least `GROWING` for a global one."""
GROWING = 1.5
TOY_ACCURACY = 0.6
UNEVEN = 10
"""Channels of a block that K does not divide; it does in every other clause."""
HOUSE = str(Path(__file__).parents[1])


NOT_MEASURED = "not measured: see above"


@dataclass(frozen=True)
class CheckResult:
    """One clause of the contract.

    Args:
        name: what is asked.
        passed: whether it holds; false too where it could not be looked at.
        message: a sentence where it does not hold.
        measured: false where the fault of an earlier clause kept this one from being looked at.
    """

    name: str
    passed: bool
    message: str
    measured: bool = True


class _Broken(Exception):
    """A clause does not hold; the message says how, ``hides`` which other clauses cannot be looked at then."""

    def __init__(self, message: str, hides: str = "") -> None:
        super().__init__(message)
        self.hides = hides


def _require(condition: bool, message: str, hides: str = "") -> None:
    if not condition:
        raise _Broken(message, hides)


@contextlib.contextmanager
def _hiding(clauses: str) -> Iterator[None]:
    """What is refused inside breaks a clause, and hides others."""
    try:
        yield
    except InputError as error:
        raise _Broken(str(error), clauses) from error


def check_losses(bench: Bench) -> None:
    """Losses are finite scalars with a graph."""
    rule = bench.make()
    with untouched(rule):
        rule.train()
        found = 0
        for loss in rule.losses(bench.x, bench.y):
            found += 1
            with _hiding("steps"):
                refuse_other_loss(rule, loss)
            with _hiding("values"):
                refuse_infinite_loss(rule, loss, f"on random {'text' if bench.text else 'images'}")
            carried = [name for name, metric in loss.metrics.items() if metric.requires_grad]
            _require(not carried, f"metric {carried[0] if carried else ''} of {loss.block} carries a graph; detach it")
            try:
                loss.value.backward()
            except RuntimeError as error:
                raise _Broken(f"the backward of {loss.block} failed: {first_line(error)}", "steps") from error
        _require(found > 0, "losses() gives no loss", "steps")


def check_locality(bench: Bench) -> None:
    """Measured reach, by gradient and by intervention, is the declared locality."""
    certificate = measure_locality(bench.make(), bench.x, bench.y)
    _require(certificate["certified"], "; ".join(certificate["problems"][:3]))


def check_every_parameter(bench: Bench) -> None:
    """Every trainable parameter is reached."""
    rule = bench.make()
    with untouched(rule):
        rule.train()
        forward_backward(rule, bench.x, bench.y)
        idle = [name for name, p in rule.named_parameters() if p.requires_grad and p.grad is None]
    _require(not idle, f"no loss reaches {', '.join(idle[:3])}; set requires_grad=False on what is not meant to learn")


def check_no_side_effects(bench: Bench) -> None:
    """Computing losses and scores changes no parameter."""
    rule = bench.make()
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    rule.train()
    forward_backward(rule, bench.x, bench.y)
    rule.eval()
    with torch.no_grad():
        rule.scores(bench.x)
    moved = [name for name, p in rule.named_parameters() if not torch.equal(before[name], p)]
    _require(not moved, f"losses() or scores() changes {', '.join(moved[:3])}; only the loop's optimizer may")


def check_scores(bench: Bench) -> None:
    """Scores are (B, K), of tokens (B, T, K), finite, and the same in any order of the batch."""
    rule = bench.make().eval()
    order = torch.arange(len(bench.x)).flip(0)
    with torch.no_grad():
        scores, blocks = rule.scores(bench.x), rule.block_scores(bench.x)
        both = rule.all_scores(bench.x)
        turned = rule.scores(bench.x[order])[order]
        single = torch.cat([rule.scores(sample) for sample in bench.x.split(1)])
    expected, letters = (*bench.y.shape, bench.num_classes), "B, T, K" if bench.text else "B, K"
    shape = tuple(scores.shape)
    _require(shape == expected, f"scores() gives shape {shape}, not ({letters}) = {expected}", "shapes")
    wanted = (len(rule.readout_blocks), *expected)
    shape = tuple(blocks.shape)
    _require(shape == wanted, f"block_scores() gives shape {shape}, not (L, {letters}) = {wanted}", "shapes")
    _require(bool(scores.isfinite().all() and blocks.isfinite().all()), "scores are not finite", "scores")
    _require(torch.allclose(scores, turned, rtol=1e-3, atol=1e-4), "scores depend on the order of the batch")
    _require(
        torch.allclose(scores, single, rtol=1e-3, atol=1e-4), "the score of a sample depends on the others of its batch"
    )
    same = all(torch.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in zip((blocks, scores), both, strict=True))
    _require(same, f"scores() {OTHER_SCORES}", "shapes")


def check_no_label_in_scores(bench: Bench) -> None:
    """No label reaches the prediction."""
    rule = bench.make()
    state = {name: value.clone() for name, value in rule.state_dict().items()}
    found = []
    for y in (bench.y, (bench.y + 1) % bench.num_classes):
        rule.train()
        forward_backward(rule, bench.x, y)
        rule.load_state_dict(state)
        rule.eval()
        with torch.no_grad():
            found.append(rule.scores(bench.x))
    _require(torch.equal(*found), "scores() remembers the labels that losses() was given")


def check_state_dict(bench: Bench) -> None:
    """state_dict carries everything that a prediction depends on."""
    data = bench.toy_data()
    rule = bench.make()
    train_rule(rule, data, Recipe(epochs=1, batch_size=32), seed=0)
    other = bench.make(seed=1)
    other.load_state_dict(rule.state_dict())
    with torch.no_grad():
        same = torch.equal(rule.eval().scores(bench.x), other.eval().scores(bench.x))
    _require(same, "a copy made through state_dict() scores otherwise; keep state in parameters or buffers")


def check_repeatable(bench: Bench) -> None:
    """The same seed gives the same run."""
    states = []
    for _ in range(2):
        rule = bench.make()
        train_rule(rule, bench.toy_data(), Recipe(epochs=1, batch_size=32), seed=0)
        states.append(rule.state_dict())
    differ = [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
    _require(
        not differ,
        f"two runs with one seed end with different {', '.join(differ[:3])}; take `seed` for initial weights, and draw from torch only",
    )


def check_learns(bench: Bench) -> None:
    """Beats chance on a separable toy."""
    data = bench.toy_data()
    rule = bench.make()
    train_rule(rule, data, bench.toy_recipe, seed=0)
    accuracy = evaluate_split(rule, data, data.train).accuracy
    _require(
        accuracy >= TOY_ACCURACY,
        f"learns a separable toy of {bench.num_classes} classes to {accuracy:.0%} only; {TOY_ACCURACY:.0%} is asked",
    )


def check_memory(bench: Bench) -> None:
    """Peak saved bytes are flat in depth if and only if the rule is local."""
    shallow, deep = bench.make(SHALLOW), bench.make(DEEP)
    found = [measure_saved_bytes(rule, bench.x, bench.y) for rule in (shallow, deep)]
    own = [
        each["peak_saved_bytes"] - bench.gathered_bytes(rule) for each, rule in zip(found, (shallow, deep), strict=True)
    ]
    ratio = own[1] / own[0]
    if deep.locality == "global" and deep.reads_ahead:
        pass  # reads the whole network without a loss that trains it: how much is saved is not said by how far it sees
    elif deep.locality == "global":
        _require(
            ratio >= GROWING or _is_global_by_sharing(deep, bench),
            f"declared {shallow.locality!r}, yet saved bytes at depth {DEEP} are {ratio:.2f} × those at {SHALLOW}",
        )
    elif shallow.locality != "global":  # a segment longer than the shallow network says nothing
        _require(
            ratio <= FLAT,
            f"saved bytes at depth {DEEP} are {ratio:.2f} × those at {SHALLOW}: yield each loss before the next forward",
        )
    _require(
        found[1]["left_saved_bytes"] == 0, f"{found[1]['left_saved_bytes']} bytes stay saved after the last backward"
    )


def _is_global_by_sharing(rule: Rule, bench: Bench) -> bool:
    """Whether several losses train the weights of one block and none reaches all blocks: no graph is longer in a deeper network then."""
    reach = gradient_reach(rule, bench.x, bench.y)["reach"]
    return not any(map(all, reach)) and any(sum(column) > 1 for column in zip(*reach, strict=True))


def check_passes(bench: Bench) -> None:
    """Declared forward passes equal counted ones."""
    rule = bench.make()
    counted = count_passes(rule, bench.x, bench.y)
    for name, declared in (
        ("passes_per_step", rule.passes_per_step),
        ("passes_per_prediction", rule.passes_per_prediction),
    ):
        _require(counted[name] == declared, f"declares {name} = {declared}, counted {counted[name]:g}")


def check_channels(bench: Bench) -> None:
    """Any number of channels will do, or the rule declares that K must divide it."""
    rule = bench.make(channels=EVEN)
    if rule.info.channel_groups:
        return
    _step_and_answer(rule, bench)
    try:
        _step_and_answer(bench.make(channels=UNEVEN), bench)
    except Exception as error:
        raise _Broken(
            f"trains blocks of {EVEN} channels for {bench.num_classes} classes, but with {UNEVEN} channels it {describe_error(error)}; if the "
            "channels of a block must be a multiple of K, declare RuleInfo(channel_groups=True)"
        ) from error


def _step_and_answer(rule: Rule, bench: Bench) -> None:
    rule.train()
    forward_backward(rule, bench.x, bench.y)
    rule.eval()
    with torch.no_grad():
        rule.scores(bench.x)


CHECKS: tuple[Callable[[Bench], None], ...] = (
    check_losses, check_locality, check_every_parameter, check_no_side_effects, check_scores, check_no_label_in_scores,
    check_state_dict, check_repeatable, check_learns, check_memory, check_passes,
    check_channels,
)  # fmt: skip
HIDDEN: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "": (),
    "values": (check_locality, check_state_dict, check_repeatable, check_learns),
    "shapes": (check_state_dict, check_repeatable, check_learns),
    "scores": (check_no_label_in_scores, check_state_dict, check_repeatable, check_learns),
    "steps": tuple(check for check in CHECKS if check not in (check_losses, check_scores)),
}
"""Clauses that cannot be looked at: nothing; without finite losses; without scores to train by; without finite scores, which are unlike
themselves; without a step of training.
"""


def check_rule(
    rule: str | type[Rule],
    *,
    network: str | None = None,
    network_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[CheckResult]:
    """Run the contract on a rule.

    Args:
        rule: a name of `list_rules()`, ``FILE.py:CLASS``, or a class.
        network: what it is tried on, a name of `list_networks()` or ``FILE.py:FUNCTION``, for images of 3×32×32 or for text of 16 tokens; a
            small plain network where left out, as always in the clause on channels, and in that on memory unless it has the option
            ``depth`` and equal blocks.
        network_options: of that network.
        **options: the rule's own.

    Returns:
        One result a clause, in order; the rule passes where all do.

    Raises:
        InputError: unknown name or option, a file that does not import, a class that is no rule, a network that cannot be made, a rule that
            cannot read text on a network for text.

    Example:
        >>> all(result.passed for result in check_rule("class-goodness"))
        True
    """
    return list(iterate_checks(rule, network=network, network_options=network_options, **options))


def iterate_checks(
    rule: str | type[Rule],
    *,
    network: str | None = None,
    network_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[CheckResult]:
    """`check_rule`, one result at a time."""
    bench = Bench(rule_class(rule), options, network, network_options)
    bench.network()
    if options or bench.text:
        _refuse_question(bench)
    seen: set[object] = set()
    for check in CHECKS:
        yield _look(check, bench, seen)


def _refuse_question(bench: Bench) -> None:
    """An option that is not known, or text where the rule reads none, is a mistake in the question, not a broken rule."""
    try:
        rule = bench.make()
    except Exception as error:
        if bench.options or isinstance(error, InputError):
            raise
        return  # the clauses will say it
    if bench.text:
        refuse_what_does_not_fit(rule, Recipe(), bench.toy_data(), validates=True)


def _look(check: Callable[[Bench], None], bench: Bench, seen: set[object]) -> CheckResult:
    """One clause; ``seen`` remembers which clauses are hidden and by what a clause died, and grows."""
    name = (check.__doc__ or check.__name__).rstrip(".")
    if check in seen:
        return CheckResult(name, False, NOT_MEASURED, measured=False)
    try:
        check(bench)
    except _Broken as error:
        seen.update(HIDDEN[error.hides])
        return CheckResult(name, False, str(error))
    except BaseException as error:
        if not is_fault(error):
            raise
        cause = error.__cause__ or error  # a rehearsal has put it in words
        said = describe_error(error)
        death = (type(cause), first_line(cause), _own_line(cause))
        if death in seen or said in seen:
            return CheckResult(name, False, NOT_MEASURED, measured=False)
        seen.update({death, said})
        return CheckResult(name, False, said)
    return CheckResult(name, True, "")


def _own_line(error: BaseException) -> tuple[str, int | None] | None:
    """The last line of the rule's own code that an exception went through: the same death is the same line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(HOUSE)]
    own = [frame for frame in frames if "site-packages" not in frame.filename and "<" not in frame.filename]
    return (own[-1].filename, own[-1].lineno) if own else None


def conclude(rule: str, results: Sequence[CheckResult], network: str | None = None, tried_on: str = "") -> str:
    """What was found and what to do next, in one sentence.

    Args:
        rule: as it was typed.
        results: of every clause.
        network: as it was typed.
        tried_on: the network to train it on where not every one will do and none was typed.
    """
    on = "" if network is None else f" --network {shlex.quote(network)}"
    data = " --data python_library" if network is not None and takes_text(network) else ""
    broken = [result for result in results if not result.passed and result.measured]
    hidden = sum(not result.measured for result in results)
    if not broken:
        needed = f" --network {tried_on}" if tried_on and not on else on
        return f"all {len(results)} clauses hold; next: `layerlocal train --rule {shlex.quote(rule)}{needed}{data}`"
    held = f"{len(broken)} of {len(results)} clauses do{'es' * (len(broken) == 1)} not hold"
    unseen = f", {hidden} could not be measured because of that" if hidden else ""
    first = "it" if len(broken) == 1 else f"the first, {broken[0].name!r},"
    return f"{held}{unseen}; next: mend {first} and run `layerlocal check {shlex.quote(rule)}{on}` again"
