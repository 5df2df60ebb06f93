"""A step run again and again from one state: does it repeat itself, and whose update changes when one group is perturbed?"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.devices import cuda_devices
from layerlocal.measure.certify.groups import Group
from layerlocal.measure.certify.held import Held, larger_gradients
from layerlocal.measure.certify.holdings import Holdings, random_states, set_random_states
from layerlocal.measure.probe import exact_kernels
from layerlocal.rules.core.memory import memory, plain_parts, readable
from layerlocal.types import InputError, derive_seed, describe_error, first_line, is_fault

__all__ = ["LARGER", "STEPS", "Bench", "Changes", "Reference"]

Changes = list[list[bool]]
"""[step][group]: was its update another one?"""
NOISE, LARGER = 0.3, 1e6
"""How a group is perturbed: noise of so many times each parameter's root mean square on its weights, and its own gradients so many times as
large, so that whatever clips by a norm over several groups bites."""
STEPS = 2
LOOSE = 0.03
"""Where two runs of a step differ by more than this share of an update, it is not taken for rounding."""
MARGIN, FLOOR, REPEATS = 10.0, 1e-4, 3
"""Where a step does not repeat itself bit by bit, an update has changed if it differs by more than so many times what some more equal runs
differ by, and by more than this share.
"""


@dataclass
class Reference:
    """The step as it is, run twice in a row: what each group's weights, and what optimizers keep of them, are after either step.

    Args:
        before: [group][parameter].
        after: [step][group][tensor].
        trained: by group: did a weight change?
        still: by group: how many of its parameters did not.
        random: generators between the two steps.
        tolerance: 0 where the step repeats itself bit by bit; else the largest relative difference that counts as none.
    """

    before: list[list[Tensor]]
    after: list[list[list[Tensor]]] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    still: list[int] = field(default_factory=list)
    random: tuple[Any, ...] = ()
    tolerance: float = 0.0


class Bench:
    """A step on the bench.

    Args:
        step: without arguments.
        groups: in forward order.
        holdings: what the step holds, as it is now; every run begins there.
    """

    def __init__(self, step: Callable[[], Any], groups: Sequence[Group], holdings: Holdings) -> None:
        self.step, self.groups, self.holdings = step, list(groups), holdings
        self.calls = 0
        self.failed: dict[str, str] = {}
        self.device = next(iter(cuda_devices(p for group in groups for p in group.parameters)), torch.device("cpu"))

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Gradients on, exact kernels, nothing compiled, no warnings; everything is put back at the end, whatever happens."""
        eager: Any = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            exact_kernels(self.device),
            eager,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # or a step would warn dozens of times
            try:
                yield
            finally:
                self.holdings.put_back()

    def run(self) -> None:
        """One call of the step.

        Raises:
            InputError: it raised.
        """
        self.calls += 1
        try:
            self.step()
        except BaseException as error:
            if not is_fault(error):
                raise
            raise InputError(_raised(error, self.holdings.iterators)) from error

    def values(self, step: int) -> list[list[Tensor]]:
        """[group][tensor]: weights, then what optimizers keep of them; after the last step also what schedules will make of them."""
        optimizers = [optimizer for _, optimizer in self.holdings.optimizers]
        found = []
        for group in self.groups:
            states = [optimizer.state.get(p, {}) for optimizer in optimizers for p in group.parameters]
            kept = [value for state in states for _, value in sorted(state.items()) if isinstance(value, Tensor)]
            plans = [*optimizers, *self.holdings.schedulers] if step == STEPS - 1 else []
            rates = [_numbers(plan, group.parameters) for plan in plans]
            found.append([*map(readable, [*group.parameters, *kept]), *rates])
        return found

    def reference(self) -> Reference:
        """The step as it is.

        Raises:
            InputError: it raises, trains nothing, makes numbers that are not finite, or does not repeat itself.
        """
        self.holdings.put_back()
        found = Reference([[readable(p).clone() for p in group.parameters] for group in self.groups])
        for number in range(STEPS):
            self.run()
            found.random = found.random or random_states()
            found.after.append(_cloned(self.values(number)))
        self._judge(found)
        if worst := self._difference(found):
            self._allow(found, worst)
        return found

    def recheck(self, found: Reference) -> None:
        """Another run has ended: is it the reference's? A step may agree with itself once by chance.

        Raises:
            InputError: it differs by more than rounding.
        """
        same = all(_equal(values, after) for values, after in zip(self.values(STEPS - 1), found.after[-1], strict=True))
        if not same and not found.tolerance:
            self._allow(found, 1e-12)

    def _allow(self, found: Reference, worst: float) -> None:
        """Set the tolerance of a step that does not repeat itself bit by bit, from some more equal runs."""
        for left in range(REPEATS, -1, -1):
            if worst > LOOSE:
                raise InputError(_unrepeatable(worst, self.holdings.iterators))
            worst = max(worst, self._difference(found)) if left else worst
        found.tolerance = max(FLOOR, MARGIN * worst)

    def _judge(self, found: Reference) -> None:
        for before, *after in zip(found.before, *found.after, strict=True):
            same = [
                all(torch.equal(b, values[i]) for values in after)
                for i, b in enumerate(before)
            ]  # fmt: skip
            found.trained.append(not all(same))
            found.still.append(sum(same))
        if not any(found.trained):
            raise InputError(
                "two calls of the step change no parameter of any group; it needs an optimizer step on them, with a rate above 0"
            )
        for group, values in zip(self.groups, found.after[-1], strict=True):
            if not all(bool(torch.isfinite(v).all()) for v in values[: len(group.parameters)]):
                raise InputError(
                    f"the step makes numbers in {group.name} that are not finite, so updates cannot be compared; lower the learning rate"
                )

    def _difference(self, found: Reference) -> float:
        """The largest difference between two equal runs, of any group, as a share of its update; 0.0 where they agree bit by bit."""
        self.holdings.put_back()
        worst = 0.0
        for number, after in enumerate(found.after):
            self.run()
            for i, values in enumerate(self.values(number)):
                if not _equal(values, after[i]):
                    worst = max(worst, _relative(values, after[i], found.before[i]), 1e-12)
        return worst

    def intervene(self, reference: Reference, j: int, *, larger: float = LARGER) -> Changes:
        """[step][group]: was the update another one when group j was perturbed, by noise on its weights and its own gradients so many times
        as large in every step?
        """
        self.holdings.put_back()
        parameters = self.groups[j].parameters
        _add_noise(parameters, NOISE, derive_seed(0, "certify", j))
        with larger_gradients(parameters, larger):
            changed, reason = self._runs(reference, reference.after, j)
        if reason and larger != 1:  # code that refuses wild numbers
            return self.intervene(reference, j, larger=1)
        return self._filled(changed, reason, j)

    def by_size(self, reference: Reference, j: int, larger: float) -> Changes:
        """[step][group]: was it another one when only the gradients of group j were larger, and its weights held as they are in either run?"""
        parameters = self.groups[j].parameters
        return self._beside(reference, j, lambda: Held(parameters), larger_gradients(parameters, larger))

    def by_reading(self, reference: Reference, j: int) -> Changes:
        """[step][group]: was it another one when there was noise on the weights of group j, and no gradient of it or of a later one in either
        run?
        """
        later = [p for group in self.groups[j:] for p in group.parameters]
        noise = _noisy(self.groups[j].parameters, derive_seed(0, "certify", j))
        return self._beside(reference, j, lambda: larger_gradients(later, 0), noise)

    def _beside(
        self,
        reference: Reference,
        j: int,
        both: Callable[[], AbstractContextManager[Any]],
        one: AbstractContextManager[Any],
    ) -> Changes:
        """[step][group]: was the update another one inside of ``one`` than without, both inside of what ``both`` makes?"""
        expected = []
        self.holdings.put_back()
        try:
            with both():
                for number in range(STEPS):
                    self._next(reference, number)
                    expected.append(_cloned(self.values(number)))
        except InputError as error:
            return self._filled([], str(error), j)
        self.holdings.put_back()
        with both(), one:
            return self._filled(*self._runs(reference, expected, j), j)

    def _next(self, reference: Reference, number: int) -> None:
        """One call, with the random numbers of the reference's."""
        if number:
            set_random_states(reference.random)
        self.run()

    def _runs(self, reference: Reference, expected: Sequence[list[list[Tensor]]], j: int) -> tuple[Changes, str]:
        """What changes in some calls in a row, and why there are fewer, if so."""
        changed: Changes = []
        for number, values in enumerate(expected):
            try:
                self._next(reference, number)
            except InputError as error:
                return changed, str(error)
            changed.append(self._compared(reference, values, number, j))
        return changed, ""

    def _filled(self, changed: Changes, reason: str, j: int) -> Changes:
        """Where calls failed, nothing is known to have changed, and why is kept."""
        if reason:
            self.failed.setdefault(self.groups[j].name, reason.partition("; the model")[0])
        return changed + [[False] * len(self.groups)] * (STEPS - len(changed))

    def _compared(self, reference: Reference, expected: list[list[Tensor]], number: int, j: int) -> list[bool]:
        """By group: is the update another one than the expected one?"""
        perturbed = {id(p) for p in self.groups[j].parameters}
        return [
            learns
            and (
                any(id(p) in perturbed for p in group.parameters)
                or self._changed(values, after, before, reference.tolerance)
            )
            for group, learns, values, after, before in zip(
                self.groups, reference.trained, self.values(number), expected, reference.before, strict=True
            )
        ]

    @staticmethod
    def _changed(values: list[Tensor], after: list[Tensor], before: list[Tensor], tolerance: float) -> bool:
        if not tolerance:
            return not _equal(values, after)
        return not _relative(values, after, before) <= tolerance  # a NaN is a change


def _numbers(plan: Any, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Of an optimizer's groups that have one of the parameters, or of a scheduler of these: rates, best losses, ... A schedule that is driven by
    the loss moves them.
    """
    own = {id(p) for p in parameters}
    optimizer = getattr(plan, "optimizer", plan)
    groups = [each for each in optimizer.param_groups if any(id(p) in own for p in each["params"])]
    kept = groups if plan is optimizer else [vars(plan)] * bool(groups)
    values = [value for each in kept for _, value in sorted(each.items())]
    return torch.tensor([float(value) for value in values if isinstance(value, int | float)], dtype=torch.float64)


def _cloned(values: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[value.clone() for value in group] for group in values]


def _equal(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _relative(values: Sequence[Tensor], after: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """The distance of two results, over the length of the update; weights only."""
    pairs = list(zip(values, after, before, strict=False))  # of weights: what optimizers keep stands behind them
    apart = sum(float((v.double() - a.double()).square().sum()) for v, a, _ in pairs)
    length = sum(float((a.double() - b.double()).square().sum()) for _, a, b in pairs)
    return (apart / length) ** 0.5 if length else float("inf") * (apart > 0) if apart else 0.0


@contextmanager
def _noisy(parameters: Sequence[nn.Parameter], seed: int) -> Iterator[None]:
    _add_noise(parameters, NOISE, seed)
    yield


@torch.no_grad()
def _add_noise(parameters: Sequence[nn.Parameter], factor: float, seed: int) -> None:
    """On the CPU's numbers, so that every device sees the same."""
    generator = torch.Generator().manual_seed(seed)
    for part in (part for parameter in parameters for part in plain_parts(parameter)):
        if not part.is_floating_point() and not part.is_complex():
            continue
        plain = memory(part, part.dtype)
        noise = torch.randn(plain.shape, generator=generator, dtype=torch.complex64 if part.is_complex() else None)
        as_noise = plain.to(noise.dtype)
        size = float(as_noise.abs().square().mean().sqrt()) if plain.numel() else 0.0
        plain.copy_(as_noise + noise.to(plain.device) * (factor * (size or 0.1)))


def _raised(error: BaseException, iterators: Sequence[str]) -> str:
    text = first_line(error)
    if ("CUDA" in text or "NVIDIA" in text) and not torch.cuda.is_available():
        return f"the step needs a GPU, and torch finds none here: {text}"
    ended = isinstance(error, StopIteration) and iterators
    hint = f"; {_one_batch(iterators)}" if ended else ""
    return f"the step {describe_error(error)}{hint}; the model is as it was"


def _one_batch(iterators: Sequence[str]) -> str:
    which = f"`{iterators[0]}` goes on at every call" if iterators else "it draws another batch at every call"
    return f"{which}: take one batch before, and let the step use that"


def _unrepeatable(difference: float, iterators: Sequence[str]) -> str:
    share = f"{100 * min(difference, 99.0):.0f} %"
    opening = f"the step does not repeat itself: from the same state, with the same random numbers, its second run's update differs by {share}"
    if iterators:
        return f"{opening}; {_one_batch(iterators)}"
    return (
        f"{opening}; it keeps something that was not found (a loader, a counter in a class): hold one batch, and name in `state` what else "
        "it keeps"
    )
