"""Figures from data: what is drawn where, read back from the SVG; planted numbers only."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from layerlocal.report import palette
from layerlocal.report.axes import Scale, frame_of
from layerlocal.report.draw import colour_key, draw_figure, number_rows, wide
from layerlocal.summary import Axis, Figure, Point, Series
from planted_figures import (
    bar_figure,
    block_figure,
    category_figure,
    estimate,
    every_figure,
    forest_figure,
    heat_figure,
    line_figure,
    matrix_figure,
    pareto_figure,
    scatter_figure,
    stacked_figure,
)

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure: Figure, panel: int = 0) -> ET.Element:
    return ET.fromstring(draw_figure(figure, "f")[panel])


def words_of(figure: Figure, panel: int = 0) -> list[str]:
    return [str(t.text) for t in drawn(figure, panel).iter(f"{SVG}text")]


def hits_of(figure: Figure, panel: int = 0) -> list[tuple[str, float, float]]:
    """(what a pointer reads, left, top) of every mark, bar or cell."""
    found = []
    for rect in drawn(figure, panel).iter(f"{SVG}rect"):
        found.append((str(rect.findtext(f"{SVG}title")), float(rect.get("x", "nan")), float(rect.get("y", "nan"))))
    return found


def paths_of(figure: Figure, **look: str) -> list[str]:
    """Shapes with these attributes."""
    return [
        str(path.get("d"))
        for path in drawn(figure).iter(f"{SVG}path")
        if all(path.get(key) == value for key, value in look.items())
    ]


def simple(points: list[Point], **changes: Any) -> Figure:
    return Figure(
        **({"name": "f", "caption": "Planted.", "series": (Series(name="a", points=tuple(points)),)} | changes)
    )


# --- axes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        (Axis(unit="pp"), -0.02, (-2.0, -2.0, -2.0)),
        (Axis(unit="pp per doubling"), estimate(0.5, 0.25), (25.0, 50.0, 75.0)),
        (Axis(unit="%"), 0.75, (75.0, 75.0, 75.0)),
        (Axis(unit="×"), {"median": 1.5, "low": 1.25, "high": 2.0, "n": 5}, (1.25, 1.5, 2.0)),
        (Axis(scale="log2"), 8, (3.0, 3.0, 3.0)),
        (Axis(scale="log2"), 0, None),
        (Axis(), 3, (3.0, 3.0, 3.0)),
        (Axis(), math.nan, None),
        (Axis(), "word", None),
    ],
)
def test_an_axis_places_a_value(axis: Axis, value: object, place: object) -> None:
    assert Scale(axis).place(value) == place


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((8, 2, 2.0, 4), (2, 4, 8)),
        (("fine", "coarse", "fine"), ("fine", "coarse")),
        (("block1", "block0", "fused"), ("block0", "block1", "fused")),
        (("cifar100", "cifar10", "mnist"), ("cifar100", "cifar10", "mnist")),
    ],
)
def test_categories_are_numbers_in_order_or_words_as_they_come(values: tuple[Any, ...], words: tuple[Any, ...]) -> None:
    figure = simple([Point(x=value, y=1) for value in values], x=Axis(scale="category"))
    assert frame_of(figure).x.words == words


def test_bytes_are_drawn_in_the_unit_that_fits_the_largest() -> None:
    figure = simple([Point(x=1, y=3 * 2**20), Point(x=2, y=2**19)], y=Axis(label="peak saved", unit="bytes"))
    scale = frame_of(figure).y
    assert (scale.title(), scale.place(3 * 2**20), scale.text(2**19)) == (
        "peak saved, MiB",
        (3.0, 3.0, 3.0),
        "512.0 KiB",
    )


# --- lines and points -------------------------------------------------------------------------------------------------


def test_panels_share_axes_so_equal_numbers_stand_at_equal_height() -> None:
    figure = line_figure()
    first, *_, last = figure.series
    figure = figure.model_copy(update={"series": (first, first.model_copy(update={"panel": "other"}), last)})
    gaps = [[hit[1:] for hit in hits_of(figure, panel) if hit[0].startswith("gap")] for panel in (0, 1)]
    assert len(gaps[0]) == 4 and [y for _, y in gaps[0]] == [y for _, y in gaps[1]]


def test_log2_steps_are_equal_and_lower_values_stand_lower() -> None:
    gap = [(x, y) for text, x, y in hits_of(line_figure()) if text.startswith("gap")]
    steps = [b[0] - a[0] for a, b in itertools.pairwise(gap)]
    assert max(steps) - min(steps) < 0.3 and min(steps) > 10
    assert all(b[1] > a[1] for a, b in itertools.pairwise(gap)), "a falling line goes down the page"


def test_a_mark_says_its_number_and_interval_under_a_pointer() -> None:
    texts = [text for text, *_ in hits_of(line_figure())]
    assert "gap, 4: −4.0 pp [−4.4, −3.6], n=3" in texts and len(texts) == 8


def test_what_cannot_be_drawn_is_left_out_and_what_is_left_is_drawn() -> None:
    points = [Point(x=1), Point(y=2), Point(x=3, y=math.nan), Point(x=4, y=5), Point()]
    assert [text for text, *_ in hits_of(simple(points))] == ["a, 4: 5"]
    assert draw_figure(simple([Point(x=1)]), "f") == []
    assert draw_figure(Figure(name="f"), "f") == [] and number_rows(Figure(name="f"))[1] == []


def test_one_seed_has_a_mark_and_no_bar() -> None:
    def bars(y: Any) -> list[str]:
        figure = simple([Point(x=1, y=y), Point(x=2, y=y)])
        return paths_of(figure, stroke=palette.looks_of(["a"])[0].colour, **{"stroke-width": "1.2"})

    assert bars(estimate(0.5, None, 1)) == [] != bars(estimate(0.5, 0.1))


def test_series_stand_beside_each_other_only_where_their_intervals_would_cover_one_another() -> None:
    def lefts(y: Any) -> list[float]:
        points = (Point(x=1, y=y), Point(x=100, y=y))
        return [
            left for _, left, _ in hits_of(simple([], series=tuple(Series(name=name, points=points) for name in "ab")))
        ]

    first, last, other_first, other_last = lefts(estimate(0.5, None, 1))
    assert (first, last) == (other_first, other_last) and first < last
    first, last, other_first, other_last = lefts(estimate(0.5, 0.1))
    assert first < other_first < last < other_last


def test_series_are_told_apart_by_colour_and_by_mark() -> None:
    figure = simple([], series=(*(Series(name=f"s{i}") for i in range(20)), Series(name="bp")))
    looks = list(frame_of(figure).looks.values())
    assert len({look[:2] for look in looks}) == 21
    near = looks[:7]
    assert len({look.colour for look in near}) == len({look.marker for look in near}) == 7


def test_a_known_name_looks_alike_in_every_figure() -> None:
    one = category_figure()
    two = one.model_copy(update={"series": one.series[::-1]})
    assert frame_of(one).looks == frame_of(two).looks
    long, short = (frame_of(simple([], series=(Series(name=name),))).looks[name] for name in ("gap: local − BP", "gap"))
    assert long == short


@pytest.mark.parametrize("kind", ["lines", "points"])
def test_series_of_a_category_stand_beside_each_other_and_measured_places_stay_true(kind: str) -> None:
    at = sorted(left for text, left, _ in hits_of(category_figure(kind)) if "coarse labels" in text)
    assert len(at) == 3 and at[1] - at[0] > 5 and at[2] - at[1] > 5
    series = tuple(
        Series(name=name, points=(Point(x=0.5, y=estimate(y, 0.02)),)) for name, y in (("a", 0.1), ("b", 0.11))
    )
    assert len({left for _, left, _ in hits_of(simple([], series=series, kind="points"))}) == 1


def test_points_have_their_labels_and_a_diagonal_where_both_axes_are_accuracies() -> None:
    assert {"method A", "method B", "on the dotted line both are alike"} <= set(words_of(scatter_figure()))
    assert not any("alike" in word for word in words_of(scatter_figure("pp")))


def test_what_the_blocks_say_together_stands_apart_from_the_line_that_joins_them() -> None:
    figure = block_figure()
    assert {"0", "1", "2", "fused", "chance"} <= set(words_of(figure))
    (line,) = paths_of(figure, stroke=palette.RULES["class-goodness"].colour, **{"stroke-width": "1.9"})
    assert line.count("L") == 2, "three blocks are joined, and the fused one is not"
    fused, last = (
        next(x for text, x, _ in hits_of(figure) if text.startswith(f"class-goodness, {at}:"))
        for at in ("fused", "block2")
    )
    assert fused > last


def test_the_best_are_filled_and_named_and_others_are_hollow() -> None:
    figure = pareto_figure()
    assert {"b", "c", "plain BP", "least memory", "the paper's"} <= set(words_of(figure))
    colour = palette.RULES["class-goodness"].colour
    filled, hollow = paths_of(figure, fill=colour), paths_of(figure, fill=palette.PAPER, stroke=colour)
    assert len(filled) == 2 and len(hollow) == 1, "one in the key, one in the field; the second is beaten"
    assert "which no other beats: class-goodness" in str(drawn(figure).get("aria-label"))


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_stand_one_below_the_other_and_intervals_lie() -> None:
    hits = {text: (x, y) for text, x, y in hits_of(forest_figure())}
    gap, other = hits["gap, class-goodness: −2.0 pp [−2.5, −1.5], n=3"], hits["gap, ff: −3.0 pp [−3.5, −2.5], n=3"]
    assert gap[0] > other[0] and gap[1] < other[1]
    assert {"class-goodness", "ff", "−2.0", "+1.0", "right is better"} <= set(words_of(forest_figure()))


def test_a_bar_begins_at_zero_and_ends_at_its_number() -> None:
    figure = bar_figure()
    one, more = (paths_of(figure, fill=palette.RULES[rule].colour)[0] for rule in ("bp", "class-goodness"))
    left, right = ([float(point.split()[0]) for point in path.strip("MZ").split("L")[:2]] for path in (one, more))
    assert left[0] == right[0] and (right[1] - right[0]) / (left[1] - left[0]) == pytest.approx(1.5, abs=0.01)
    assert {"1.00×", "1.50×", "not run", "plain BP"} <= set(words_of(figure))
    assert "class-goodness: 1.50× [1.25, 1.75], n=5" in {text for text, *_ in hits_of(figure)}


def test_a_bar_of_a_rule_in_some_mode_has_the_rules_colour() -> None:
    points = (Point(x=2.0, y="class-goodness micro-4"), Point(x=1.0, y="something else"))
    figure = bar_figure(series=(Series(points=points),), guides=())
    other = palette.looks_of([""])[0].colour
    figure = figure.model_copy(update={"series": (Series(points=(Point(x=2.0, y="bp micro-4"), *points)),)})
    assert len(paths_of(figure, fill=palette.BP)) == 1 and paths_of(figure, fill=other)


def test_stacked_bars_begin_where_the_one_before_ends_and_their_sum_is_written() -> None:
    figure = stacked_figure()
    look = palette.looks_of(["extra supervision", "price of locality"])
    first, second = (
        [float(p.split()[0]) for p in paths_of(figure, fill=one.colour)[1].strip("MZ").split("L")[:2]] for one in look
    )
    assert first[1] == second[0] and (second[1] - second[0]) / (first[1] - first[0]) == pytest.approx(-1.5, abs=0.01)
    assert "−1.0" in words_of(figure)


# --- cells ------------------------------------------------------------------------------------------------------------


def test_a_heat_map_writes_every_value_into_its_cell_first_row_on_top() -> None:
    words = words_of(heat_figure())
    # column − row: 0…3, −1…2, −2…1
    for value, count in (("0.0", 3), ("+1.0", 3), ("+2.0", 2), ("+3.0", 1), ("−1.0", 2), ("−2.0", 1), ("±0.3", 12)):
        assert words.count(value) == count, value
    cells = {text.split(":")[0]: (x, y) for text, x, y in hits_of(heat_figure())}
    assert cells["2 × 1 channels"][1] < cells["2 × 2 channels"][1] < cells["2 × 4 channels"][1]
    assert cells["2 × 1 channels"][0] < cells["4 × 1 channels"][0]
    assert "8 × 1 channels: +3.0 pp [+2.7, +3.3], n=3" in [text for text, *_ in hits_of(heat_figure())]


def shades(figure: Figure) -> dict[str, float]:
    """Strongest shade of each colour."""
    found: dict[str, float] = {}
    for path in drawn(figure).iter(f"{SVG}path"):
        if path.get("opacity") and path.get("fill"):
            found[str(path.get("fill"))] = max(found.get(str(path.get("fill")), 0), float(path.get("opacity", "nan")))
    return found


def test_a_heat_map_of_differences_is_blue_above_zero_and_orange_below() -> None:
    found = shades(heat_figure())
    assert found == {
        palette.EXTRA: pytest.approx(0.05 + 0.47 * 2 / 3, abs=0.01),  # −2 of at most 3
        palette.LOCAL: pytest.approx(0.52, abs=0.01),
    }
    assert "Blue cells are above zero" in colour_key(heat_figure()) and colour_key(line_figure()) == ""


def test_a_heat_map_of_accuracies_has_one_colour() -> None:
    figure = heat_figure()
    cells = tuple(p.model_copy(update={"z": 0.5 + abs(p.z["mean"])}) for p in figure.series[0].points)  # type: ignore[index, call-overload]
    figure = figure.model_copy(update={"z": Axis(label="accuracy", unit="%"), "series": (Series(points=cells),)})
    assert set(shades(figure)) == {palette.LOCAL} and "53.0" in words_of(figure)


def test_many_columns_make_a_wide_heat_map() -> None:
    assert not wide(heat_figure(10)) and wide(heat_figure(11)) and not wide(line_figure())
    assert [float(drawn(heat_figure(n)).get("viewBox", "").split()[2]) for n in (10, 11)] == [400, 800]


def test_a_matrix_says_its_states_by_shape_and_puts_two_beside_each_other() -> None:
    figure = matrix_figure()
    assert len(draw_figure(figure, "f")) == 1
    assert {"gradient reaches", "update changed", "0", "1", "loss"} <= set(words_of(figure))
    first, second = ([x for text, x, _ in hits_of(figure) if text == "yes at 0"] for _ in range(2))
    assert first == second and first[1] > first[0] + 100
    assert len(paths_of(figure, fill=palette.LOCAL)) == len(paths_of(figure, fill=palette.WRONG)) == 2
    assert "red with a cross: yes, more than declared" in colour_key(figure)


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_text_alternative_says_kind_caption_and_numbers_and_ends_somewhere() -> None:
    label = str(drawn(line_figure()).get("aria-label"))
    assert label.startswith(
        "Line chart. Planted gap against the number of classes. real classes. Up is better. gap: 2: −2.0 pp"
    )
    many = simple([Point(x=i, y=i) for i in range(500)])
    assert "440 more are in the table" in str(drawn(many).get("aria-label"))
    assert len(number_rows(many)[1]) == 500


@pytest.mark.parametrize("name", ["</svg><script>", "$x_1$", "\u202e\x00\ud800", "long name " * 60, ""])
@pytest.mark.parametrize("kind", ["lines", "heat", "points", "bars", "matrix"])
def test_any_name_makes_wellformed_svg(kind: str, name: str) -> None:
    points = [Point(x=f"{name}{i}", y=estimate(0.1 * i), z=0.1, label=name, mark=name) for i in range(3)]
    axis = Axis(label=name, unit="pp")
    figure = simple(
        [],
        kind=kind,
        caption=name,
        title=name,
        x=axis,
        y=axis,
        z=axis,
        series=(Series(name=name, panel=name, points=tuple(points)),),
    )
    for drawing in draw_figure(figure, "f"):
        ET.fromstring(drawing)
        assert "script>" not in drawing.replace("&lt;script&gt;", "").replace("script&gt;", "")


@pytest.mark.parametrize("count", [1, 4, 12])
def test_a_key_has_room_for_every_series(count: int) -> None:
    figure = simple(
        [], series=tuple(Series(name=f"series {i}", points=(Point(x=1, y=i), Point(x=2, y=i))) for i in range(count))
    )
    assert {f"series {i}" for i in range(count)} <= set(words_of(figure))
    tops = [float(t.get("y", "nan")) for t in drawn(figure).iter(f"{SVG}text")]
    assert all(top > 0 for top in tops)


def test_category_labels_break_in_two_lines_before_they_are_cut() -> None:
    words = words_of(category_figure())
    assert "random groups of classes" in " ".join(words) and "random groups of classes" not in words
    assert not any("…" in word for word in words)


@pytest.mark.parametrize("figure", every_figure(), ids=lambda figure: figure.name)
def test_everything_that_is_drawn_lies_on_its_sheet(figure: Figure) -> None:
    for index, drawing in enumerate(draw_figure(figure, "f")):
        _, _, width, height = map(float, ET.fromstring(drawing).get("viewBox", "").split())
        for word in drawn(figure, index).iter(f"{SVG}text"):
            x, y = float(word.get("x", "nan")), float(word.get("y", "nan"))
            wide_as = 5.5 * len(str(word.text)) * (0 if word.get("transform") else 1)
            left = x - {"middle": wide_as / 2, "end": wide_as}.get(word.get("text-anchor", ""), 0)
            assert left >= -1 and left + wide_as <= width + 1 and 0 < y < height, word.text


def test_drawing_loads_neither_matplotlib_nor_torch() -> None:
    code = (
        "import sys; from layerlocal.report.draw import draw_figure; from layerlocal.summary import Figure, Point, Series;"
        "assert draw_figure(Figure(name='f', series=(Series(points=(Point(x=1, y=2),)),)), 'f');"
        "sys.exit(bool({'matplotlib', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
