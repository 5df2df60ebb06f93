"""From what was measured to words: how far credit travels, in which way, and whether that makes the step lighter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from layerlocal.types import Locality
from layerlocal.words import ratio, several, spoken

__all__ = ["Found", "conclude", "named"]

Matrix = list[list[bool]]
Pair = tuple[int, int]
LIGHTER, HEAVIER = 0.9, 1.1
"""Saved activations, over those of the twin, below and above which a step is lighter or heavier."""
MOST_NAMED = 4
"""Groups that a sentence names."""


class Found:
    """What the interventions found, by group.

    Args:
        names: of the groups.
        trained: which of them are.
        shared: pairs that hold a parameter in common.
        reaches: [step][loss] → groups that its backward reaches.
        moved: [perturbed][step][group]: whose update changed.
        sized: likewise: whose changed where the perturbed group's gradients alone were larger, its weights held.
        read: likewise, where an earlier group's was sized: whose changed by noise on its weights, without gradients of it.
    """

    def __init__(
        self,
        names: Sequence[str],
        trained: Sequence[bool],
        shared: Sequence[Pair],
        reaches: Sequence[list[set[int]]],
        moved: Sequence[Matrix],
        sized: Sequence[Matrix],
        read: Sequence[Matrix],
    ) -> None:
        self.names, self.trained, self.shared, self.reaches = names, trained, set(shared), reaches
        self.sized, self.read = sized, read
        self.first = [row[0] for row in moved]
        n, whole = range(len(names)), self._closed(self.first)
        self.later = [[moved[j][1][i] and not whole[j][i] for i in n] for j in n]

    @staticmethod
    def _closed(matrix: Matrix) -> Matrix:
        """What two steps couple where one couples as in ``matrix``: directly, or by way of a third group."""
        n = range(len(matrix))
        return [[i == j or matrix[j][i] or any(matrix[j][k] and matrix[k][i] for k in n) for i in n] for j in n]

    @property
    def backward(self) -> list[Pair]:
        """Pairs (j, i), i < j: perturbing j changes the update of i, at once or a step later."""
        n = range(len(self.names))
        return [(j, i) for j in n for i in range(j) if self.first[j][i] or self.later[j][i]]

    def by_gradient(self, j: int, i: int) -> bool:
        """Whether one loss trains both: in the first call where the coupling shows at once, in any where it shows later."""
        calls = self.reaches[:1] if self.first[j][i] else self.reaches
        return any({i, j} <= reached for call in calls for reached in call)

    def how(self, j: int, i: int) -> str:
        """The way of a coupling, in a word, or the two ways."""
        if self._sharing(j, i):
            return "shared"
        step = 0 if self.first[j][i] else 1
        by_size, without = self.sized[j][step][i], "later" if step else "read"
        if by_size and not self.read[j][step][i] and not self.by_gradient(j, i):
            return "norm"
        way = "gradient" if self.by_gradient(j, i) else without
        return f"{way}{AND_NORM}" if by_size else way

    def _sharing(self, j: int, i: int) -> bool:
        """Whether j moves i because one of them holds a parameter of a third, or of the other."""
        return any((b == j and a <= i) or (a == i and (b == j or self.first[j][b])) for a, b in self.shared)

    @property
    def segments(self) -> list[tuple[int, int]]:
        """First and last group of each run of groups that couplings join."""
        reach: dict[int, int] = {}
        for j, i in self.backward:
            reach[i] = max(reach.get(i, i), j)
        found: list[tuple[int, int]] = []
        end = -1
        for i in range(len(self.names)):
            if i > end:
                found.append((i, i))
            end = max(end, reach.get(i, i), i)
            found[-1] = (found[-1][0], end)
        return found

    @property
    def locality(self) -> Locality:
        """``"global"`` where the last group changes the first that learns; ``"segment"`` where any changes an earlier one."""
        learn = [i for i, learns in enumerate(self.trained) if learns]
        if any(i == learn[0] and j >= learn[-1] for j, i in self.backward):
            return "global"
        return "segment" if self.backward else "block"

    @property
    def ahead(self) -> int:
        """How many groups further on change an update without being trained by the same loss, at most."""
        return max((j - i for j, i in self.backward if self.how(j, i).startswith("read")), default=0)


AND_NORM = " and norm"
WAYS = {
    "gradient": "coupled backwards by a gradient: a loss that trains {j} also trains {i}",
    "read": "read ahead: the update of {i} reads {j}, and no loss trains both",
    "norm": "coupled by the size of gradients: a large gradient of {j} changes the update of {i}, as clipping by one norm or one scaler does",
    AND_NORM: "; also by the size of gradients: a large one of {j} changes the update of {i}, as clipping by one norm or one scaler does",
    "later": "coupled a step later, without a gradient: what {j} was is kept (a moving average, a statistic, a schedule by the loss), and "
    "{i} learns from it at the next step",
    "shared": "they share parameters: what {j} learns moves {i}",
}  # fmt: skip


def conclude(found: Found, saved: float | None, reason: str, boundaries: int) -> tuple[str, list[str]]:
    """The verdict, and a sentence for every kind of coupling.

    Args:
        found: by the interventions.
        saved: peak saved activations over those of the twin.
        reason: why there is no twin.
        boundaries: calls of detach that were taken away for it.
    """
    idle = list(_untrained(found))
    never = f"; {'; '.join(idle)}" if idle else ""
    return f"{_opening(found)}{_weight(found, saved, reason, boundaries)}{never}", [*_couplings(found), *idle]


def _opening(found: Found) -> str:
    if sum(found.trained) == 1:
        return f"only {found.names[_last(found.trained)]} is trained"
    if found.locality == "block":
        return "block-local: no group's update changes when a later group is perturbed"
    if found.locality == "segment":
        runs = [_run(found.names, *segment) for segment in found.segments]
        chained = len(runs) == 1
        return (
            f"segment-local, in windows of {several(_widest(found), 'group')}"
            if chained
            else f"segment-local: {', '.join(runs)}"
        )
    j, i = next((j, i) for j, i in found.backward if i == found.trained.index(True) and j >= _last(found.trained))
    return f"global: perturbing {found.names[j]} changes the update of {found.names[i]}"


def _last(trained: Sequence[bool]) -> int:
    return max(i for i, learns in enumerate(trained) if learns)


def _widest(found: Found) -> int:
    return 1 + max(j - i for j, i in found.backward)


def _run(names: Sequence[str], first: int, last: int) -> str:
    return names[first] if first == last else f"{names[first]} to {names[last]}"


def _weight(found: Found, saved: float | None, reason: str, boundaries: int) -> str:
    if reason:
        return f"; no end-to-end twin can be made: {reason}"
    if saved is None:
        return ""
    if not boundaries:
        return "; it has no gradient boundary and is its own end-to-end twin"
    times = f"{ratio(saved)} the saved activations of its end-to-end twin"
    if found.locality == "global":
        return f"; {times}"
    if saved < LIGHTER:
        return f", and lighter: {times}"
    return f", but not lighter: {times}" if saved <= HEAVIER else f", but heavier: {times}"


def _couplings(found: Found) -> Iterator[str]:
    alike: dict[tuple[str, bool], list[Pair]] = {}
    for j, i in found.backward:
        alike.setdefault((found.how(j, i), found.first[j][i]), []).append((j, i))
    for (way, at_once), pairs in alike.items():
        pairs = sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair[1]))
        j, i = pairs[0]
        first = way.removesuffix(AND_NORM)
        text = (WAYS[first] + WAYS[AND_NORM] * (first != way)).format(j=found.names[j], i=found.names[i])
        late = "" if at_once or first in ("later", "shared") else "; it shows a step later only"
        rest = f" ({several(len(pairs), 'pair')} in all)" if len(pairs) > 1 else ""
        yield f"{text}{late}{rest}"


def _untrained(found: Found) -> Iterator[str]:
    reached = {i for call in found.reaches for each in call for i in each}
    idle = [i for i, learns in enumerate(found.trained) if not learns]
    for why, chosen in (
        ("no gradient reaches", [i for i in idle if i not in reached]),
        ("a gradient reaches them, but no step changes", [i for i in idle if i in reached]),
    ):
        if chosen:
            yield f"never trained: {why} {named([found.names[i] for i in chosen])}"


def named(names: Sequence[str]) -> str:
    """The first of some groups, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return spoken([*names[:MOST_NAMED], *more])
