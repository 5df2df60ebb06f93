"""A rule's locality as a picture: which loss reaches which block (left), which update notices which block (right)."""

from __future__ import annotations

import math
import re
from typing import Any

from layerlocal.report.figures import short_names
from layerlocal.report.palette import INK, LOCAL, WRONG
from layerlocal.report.svg import WIDTH, Drawing, Sheet, draw
from layerlocal.words import is_number, shorten

__all__ = ["allowed_pairs", "locality_words", "picture", "verdict_of"]

Cells = list[list[tuple[str, str]]]  # [row][column] = (kind, what a pointer reads); kinds: yes, no, wrong, unknown
_TOP, _LEFT, _FOOT = 34.0, 50.0, 4.0


def _covered(loss: str, blocks: list[str]) -> set[int] | None:
    """The blocks a loss may train by its name: ``block3``, ``block2-3``, ``all``; None if the name says nothing."""
    if loss in blocks:
        return {blocks.index(loss)}
    if loss == "all":
        return set(range(len(blocks)))
    match = re.fullmatch(r"(.*?)(\d+)-(\d+)", loss)
    ends = [f"{match[1]}{match[2]}", f"{match[1]}{match[3]}"] if match else []
    if len(ends) == 2 and all(e in blocks for e in ends):
        return set(range(blocks.index(ends[0]), blocks.index(ends[1]) + 1))
    return None


def allowed_pairs(entry: dict[str, Any]) -> list[set[int] | None]:
    """For each loss, the blocks that the *declared* locality lets it reach (None: cannot be told)."""
    blocks = [str(b) for b in entry.get("blocks") or []]
    everything = set(range(len(blocks)))
    if entry.get("declared") == "global":
        return [everything for _ in entry.get("losses") or []]
    return [_covered(str(loss), blocks) for loss in entry.get("losses") or []]


def _at(matrix: Any, i: int, j: int) -> Any:
    try:
        return matrix[i][j]
    except (IndexError, TypeError, KeyError):
        return None


def _reach_cells(entry: dict[str, Any]) -> Cells:
    cells: Cells = []
    for i, (loss, allowed) in enumerate(zip(entry.get("losses") or [], allowed_pairs(entry), strict=True)):
        row = []
        for j, block in enumerate(entry.get("blocks") or []):
            value, norm = _at(entry.get("reach"), i, j), _at(entry.get("reach_norm"), i, j)
            kind = _kind(value, allowed is None or j in allowed)
            size = f", |gradient| {norm:.3g}" if is_number(norm) else ""
            verb = {"unknown": "not measured for", "no": "does not reach"}.get(kind, "reaches")
            row.append(
                (kind, f"loss {loss} {verb} {block}{size}" + (" (more than declared)" if kind == "wrong" else ""))
            )
        cells.append(row)
    return cells


def _intervention_cells(entry: dict[str, Any]) -> Cells:
    """Row j perturbed, column i: an earlier block always changes what a later one sees; the other way is a leak."""
    blocks = entry.get("blocks") or []
    allowed, ahead = allowed_pairs(entry), entry.get("reads_ahead") or 0
    cells: Cells = []
    for j, perturbed in enumerate(blocks):
        row = []
        for i, updated in enumerate(blocks):
            together = any(a is None or (i in a and j in a) for a in allowed)
            kind = _kind(_at(entry.get("intervention"), j, i), j <= i or together or j - i <= ahead)
            verb = {"unknown": "was not measured", "no": "did not change"}.get(kind, "changed")
            leak = " (more than declared)" if kind == "wrong" else ""
            row.append((kind, f"{perturbed} perturbed: the update of {updated} {verb}{leak}"))
        cells.append(row)
    return cells


def _kind(value: Any, permitted: bool) -> str:
    if value is None:
        return "unknown"
    return "no" if not value else "yes" if permitted else "wrong"


def verdict_of(entry: dict[str, Any]) -> str:
    """``declared block, measured block``."""
    return f"declared {entry.get('declared', '?')}, measured {entry.get('measured', '?')}"


def locality_words(entry: dict[str, Any]) -> str:
    """The picture in a sentence, counts and all."""
    reach, moved = _reach_cells(entry), _intervention_cells(entry)
    number = {k: sum(c[0] == k for r in reach for c in r) for k in ("yes", "wrong")}
    backward = sum(c[0] in ("yes", "wrong") for j, r in enumerate(moved) for i, c in enumerate(r) if j > i)
    tested = sum(c[0] != "unknown" for j, r in enumerate(moved) for i, c in enumerate(r) if j > i)
    wrong = number["wrong"] + sum(c[0] == "wrong" for r in moved for c in r)
    leak = f" {wrong} of the cells are more than the rule declared." if wrong else ""
    return (
        f"{len(reach)} {'loss' if len(reach) == 1 else 'losses'} on {len(entry.get('blocks') or [])} blocks; gradient "
        f"reaches {number['yes'] + number['wrong']} of {sum(map(len, reach))} loss × block cells; a perturbed later "
        f"block changed an earlier block's update in {backward} of {tested} cases.{leak}"
    )


def picture(entry: dict[str, Any], name: str) -> Drawing:
    """Both matrices of one rule, side by side, the same cell size."""
    blocks, losses = [str(b) for b in entry.get("blocks") or []], [str(x) for x in entry.get("losses") or []]
    short, numbered = short_names(blocks)
    stem = blocks[0].rstrip("0123456789") if blocks and numbered else ""
    columns = short if numbered else [shorten(n, 4) for n in short]
    rows = [shorten(x.removeprefix(stem), 6) if x != "all" else "all" for x in losses]
    side = WIDTH / 2 - _LEFT - 2
    cell = min(34.0, side / max(len(blocks), 1))
    height = _TOP + _FOOT + cell * max(len(blocks), len(losses), 1)
    halves = (
        (_reach_cells(entry), rows, "loss", "gradient reaches block"),
        (_intervention_cells(entry), columns, "perturbed", "update changed, block"),
    )

    def paint(sheet: Sheet) -> None:
        for k, (cells, labels, down, across) in enumerate(halves):
            left = _LEFT + k * (WIDTH / 2)
            share = (height - _TOP - _FOOT) / sheet.height
            axes = sheet.figure.add_axes((left / WIDTH, _FOOT / sheet.height, side / WIDTH, share))
            _grid(sheet, axes, cells, (columns, labels), (side / cell, (height - _TOP - _FOOT) / cell), cell)
            axes.set_title(across, loc="left", pad=4)
            axes.set_ylabel(down, loc="top", labelpad=3)

    title = f"{entry.get('rule')}: {verdict_of(entry)}"
    return draw(name, height, f"{title}. {locality_words(entry)}", paint, title=title, bare=True)


def _grid(
    sheet: Sheet, axes: Any, cells: Cells, labels: tuple[list[str], list[str]], span: tuple[float, float], cell: float
) -> None:
    """Squares with a state that colour alone does not carry: full, outline, full with a cross, a dot."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    axes.patch.set_visible(False)
    axes.set_xlim(0, span[0])
    axes.set_ylim(span[1], 0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    gap = 0.09 if cell > 9 else 0.04
    faint = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.7, "alpha": 0.35}
    looks: dict[str, Any] = {"yes": {"facecolor": LOCAL}, "wrong": {"facecolor": WRONG}, "no": faint, "unknown": faint}
    for kind, look in looks.items():
        places = [(j, i) for i, row in enumerate(cells) for j, (k, _) in enumerate(row) if k == kind]
        squares = [Rectangle((j + gap, i + gap), 1 - 2 * gap, 1 - 2 * gap) for j, i in places]
        axes.add_collection(PatchCollection(squares, **{"edgecolor": "none", **look}))
        if kind in ("wrong", "unknown"):
            marker, size = ("x", 0.4 * cell) if kind == "wrong" else (".", 3.0)
            xs, ys = [j + 0.5 for j, _ in places], [i + 0.5 for _, i in places]
            axes.plot(xs, ys, marker, color=INK, ms=size, mew=1.4, alpha=1.0 if kind == "wrong" else 0.5)
    for i, row in enumerate(cells):
        for j, (_, text) in enumerate(row):
            sheet.hit_cell(axes, j, i, text)
    every = math.ceil(13 / cell) if cell < 13 else 1
    axes.xaxis.tick_top()
    axes.set_xticks([x + 0.5 for x in range(0, len(labels[0]), every)], labels[0][::every])
    every = every if len(labels[1]) > 1 else 1
    axes.set_yticks([y + 0.5 for y in range(0, len(labels[1]), every)], labels[1][::every])
    axes.tick_params(length=0, labelsize=10, pad=2)
