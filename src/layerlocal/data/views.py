"""Views on labels: which classes a task has, drawn in ways that keep their number and their similarity apart.

Letters: K classes of the source, S superclasses, G groups (the classes of the task).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from layerlocal.data.selection import choose_classes
from layerlocal.types import InputError, derive_seed, unknown_name

__all__ = ["DRAWS", "draw_groups", "find_superclasses"]

DRAWS = ("any", "within", "across", "groups", "superclasses")


def find_superclasses(label: np.ndarray, others: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """(K,) superclass of each class, from the one other label column that is constant within every class; None if there is none.

    Args:
        label: (N,) classes 0..K-1.
        others: further label columns, each (N,).

    Raises:
        InputError: several columns would do.
    """
    found: dict[str, np.ndarray] = {}
    for name, column in others.items():
        table = np.full(int(label.max(initial=0)) + 1, -1, dtype=np.int64)
        table[label] = column
        if np.array_equal(table[label], column) and len(np.unique(column)) < len(np.unique(label)):
            found[name] = table
    if len(found) > 1:
        raise InputError(f"several label columns group the classes ({', '.join(found)}); keep one of them in the data")
    return next(iter(found.values()), None)


def draw_groups(
    names: Sequence[str],
    classes: int | Sequence[int | str] | None,
    *,
    draw: str = "any",
    superclasses: np.ndarray | None = None,
    superclass: int | None = None,
    seed: int,
) -> list[list[int]]:
    """The classes of a task, each as the indices of the source's classes it is made of.

    Args:
        names: K class names.
        classes: how many, which, or None for all.
        draw: ``"any"``, ``"within"``, ``"across"``, ``"groups"`` or ``"superclasses"`` (`DataSpec`).
        superclasses: (K,), needed for all but ``"any"`` and ``"groups"``.
        superclass: which one ``"within"`` draws from; None: drawn.
        seed: of the draw.

    Raises:
        InputError: an unknown draw, no superclasses, or fewer classes than asked for.
    """
    if draw not in DRAWS:
        raise unknown_name("draw", draw, DRAWS)
    if superclass is not None and draw != "within":
        raise InputError(f"superclass={superclass} goes with draw='within' only; leave it out")
    if draw == "any":
        return [[index] for index in choose_classes(names, classes, seed=seed)]
    if draw != "superclasses" and not isinstance(classes, int):
        raise InputError(f"draw={draw!r} needs the number of classes, e.g. classes=5, got classes={classes!r}")
    rng = np.random.default_rng(derive_seed(seed, "classes", draw))
    if draw == "groups":
        assert isinstance(classes, int)
        return _random_groups(len(names), classes, rng)
    if superclasses is None:
        raise InputError(
            f"draw={draw!r} needs superclasses: a second label column that groups the classes, as CIFAR-100's `coarse`; "
            "this data set has none, or its label column is the coarse one"
        )
    members = {int(s): np.flatnonzero(superclasses == s) for s in np.unique(superclasses) if s >= 0}
    if draw == "superclasses":
        if classes is not None:
            raise InputError(f"draw='superclasses' takes all of them; leave out classes={classes!r}")
        return [found.tolist() for found in members.values()]
    assert isinstance(classes, int)
    if draw == "across":
        return _across(members, classes, rng)
    return _within(members, classes, superclass, rng)


def _random_groups(num_classes: int, groups: int, rng: np.random.Generator) -> list[list[int]]:
    if not 2 <= groups <= num_classes or num_classes % groups:
        raise InputError(
            f"classes={groups} random groups of equal size are not possible: the data has {num_classes} classes"
        )
    return [sorted(part.tolist()) for part in np.split(rng.permutation(num_classes), groups)]


def _across(members: dict[int, np.ndarray], classes: int, rng: np.random.Generator) -> list[list[int]]:
    if not 2 <= classes <= len(members):
        raise InputError(
            f"classes={classes} of different superclasses are not possible: there are {len(members)} superclasses"
        )
    chosen = rng.permutation(sorted(members))[:classes]
    return [[index] for index in sorted(int(rng.choice(members[int(s)])) for s in chosen)]


def _within(
    members: dict[int, np.ndarray], classes: int, superclass: int | None, rng: np.random.Generator
) -> list[list[int]]:
    fitting = [s for s, found in sorted(members.items()) if len(found) >= classes]
    if classes < 2 or not fitting:
        most = max(map(len, members.values()))
        raise InputError(f"classes={classes} of one superclass are not possible: the largest has {most} classes")
    if superclass is not None and superclass not in fitting:
        raise InputError(
            f"superclass={superclass} does not have {classes} classes; those that do: {', '.join(map(str, fitting))}"
        )
    chosen = int(rng.choice(fitting)) if superclass is None else superclass
    return [[int(index)] for index in sorted(rng.permutation(members[chosen])[:classes])]
