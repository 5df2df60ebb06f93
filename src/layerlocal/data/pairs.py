"""Which pairs of classes a composed task has, which of them are kept from training, and how many images it is. Imports no torch.

Letters: A and B classes of the first and the second factor, pair (a, b) has label a·B + b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerlocal.data.arguments import Request
from layerlocal.data.choice import Choice
from layerlocal.types import InputError, derive_seed, unknown_name
from layerlocal.words import several

__all__ = ["HOW", "Composed", "Composition", "check_pairs", "plan_composition", "plan_pairs"]

HOW = ("side", "overlay")


@dataclass(frozen=True, eq=False)
class Composition:
    """How images are paired.

    Attributes:
        how: ``"side"`` or ``"overlay"``.
        first: base classes of the first factor, A of them.
        second: base classes of the second factor, B of them.
        held_out: bool (A, B), pairs that training never shows.
    """

    how: str
    first: list[int]
    second: list[int]
    held_out: np.ndarray

    @property
    def num_pairs(self) -> int:
        """A·B: classes of the task."""
        return len(self.first) * len(self.second)


def plan_composition(num_classes: int, *, how: str, held_out: float, seed: int) -> Composition:
    """Which base classes make which factor, and which pairs are held out.

    Every class of either factor is in at least one pair that is trained, and trained pairs link all classes, so that the factors can
    be told apart: pairs are held out along shifted diagonals, the same number of every class of the first factor, up to one.

    Raises:
        InputError: an unknown way, too few classes, or so large a share that it is not so.
    """
    if how not in HOW:
        raise unknown_name("compose", how, HOW)
    if not 0 <= held_out < 1:
        raise InputError(f"held_out={held_out} must be at least 0 and below 1 (the share of the pairs)")
    if how == "side":
        first = second = list(range(num_classes))
    else:
        first, second = list(range(num_classes // 2)), list(range(num_classes // 2, num_classes))
    if len(first) < 2 or len(second) < 2:
        raise InputError(
            f"compose={how!r} needs at least {2 if how == 'side' else 4} classes, the data has {num_classes}"
        )
    rows, columns = len(first), len(second)
    number = round(held_out * rows * columns)
    rng = np.random.default_rng(derive_seed(seed, "held_out", how))
    order_a, order_b = rng.permutation(rows), rng.permutation(columns)
    mask = np.zeros((rows, columns), dtype=bool)
    for position in range(number):  # a diagonal of every row, then the next diagonal
        row, diagonal = position % rows, position // rows
        mask[order_a[row], order_b[(row + diagonal) % columns]] = True
    linked = np.linalg.matrix_power(~mask @ ~mask.T, rows)  # classes of the first factor, by way of trained pairs
    if not linked.all() or mask.all(0).any():
        raise InputError(
            f"held_out={held_out} of {rows}×{columns} pairs leaves too few to tell the factors apart; lower it"
        )
    return Composition(how, first, second, mask)


def check_pairs(labels: np.ndarray, plan: Composition, *, number: int, what: str, unseen: bool) -> np.ndarray:
    """The pairs a split may show, ascending; refuses a split that cannot show each of them. Looks at labels only.

    Raises:
        InputError: fewer images than pairs, or a base class without an image.
    """
    allowed = np.flatnonzero((~plan.held_out | unseen).reshape(-1))
    if number < len(allowed):
        raise InputError(
            f"{several(number, f'{what} image')} {'is' if number == 1 else 'are'} too few for {len(allowed)} pairs of classes; "
            "ask for at least one a pair (num_train, of which validation takes its share, and num_test)"
        )
    missing = sorted({*plan.first, *plan.second} - set(labels.tolist()))
    if missing:
        raise InputError(f"the {what} images have none of class {missing[0]}; leave the class out with classes=[…]")
    return allowed


@dataclass(frozen=True, eq=False)
class Composed:
    """A composed task before an image is opened.

    Attributes:
        plan: of the pairs.
        num_train: composed images that are trained on.
        num_validation: composed images that validate.
        num_test: composed images of the test split.
    """

    plan: Composition
    num_train: int
    num_validation: int
    num_test: int


def plan_pairs(request: Request, chosen: Choice) -> Composed:
    """The pairs and the sizes of the splits of a request with ``compose``.

    Args:
        request: checked arguments.
        chosen: the base images; as many pairs as base images, where the request names no number.

    Raises:
        InputError: as `plan_composition`, and of each split as `check_pairs`: now, not after training.
    """
    assert request.compose is not None
    plan = plan_composition(len(chosen.names), how=request.compose, held_out=request.held_out, seed=request.seed)
    train, validation, test = chosen.train, chosen.validation, chosen.test
    number = len(train) + len(validation) if request.num_train is None else request.num_train
    taken = round(request.validation * number)
    found = Composed(
        plan,
        number - taken,
        taken if len(validation) else 0,
        len(test) if request.num_test is None else request.num_test,
    )
    check_pairs(test.labels, plan, number=found.num_test, what="test", unseen=True)
    check_pairs(train.labels, plan, number=found.num_train, what="train", unseen=False)
    if len(validation):
        check_pairs(validation.labels, plan, number=found.num_validation, what="validation", unseen=False)
    return found
