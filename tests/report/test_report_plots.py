"""Study figures from data: what is drawn where, read back from the SVG; planted numbers only."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from layerlocal.report.palette import EXTRA, LOCAL
from layerlocal.report.plot_axes import Axis, make_axis, read_series
from layerlocal.report.plots import draw_figure, heat_key, is_wide, numbers
from planted_audit import estimate
from planted_study import category_figure, heat_figure, lines_figure, points_figure

SVG = "{http://www.w3.org/2000/svg}"


def label_of(svg: str) -> str:
    return str(ET.fromstring(svg).get("aria-label"))


def words_of(svg: str) -> list[str]:
    return [str(t.text) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def hits_of(svg: str) -> list[tuple[str, float, float]]:
    """(what a pointer reads, left, top) of every mark or cell."""
    found = []
    for rect in ET.fromstring(svg).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            found.append((str(title.text), float(rect.get("x", "nan")), float(rect.get("y", "nan"))))
    return found


def simple(points: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"kind": "lines", "caption": "Planted.", "series": [{"name": "a", "points": points}]} | changes


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        (Axis("gap", "pp"), -0.02, (-2.0, -2.0, -2.0)),
        (Axis("gap", "pp per doubling"), estimate(0.5, 0.25), (25.0, 50.0, 75.0)),
        (Axis("accuracy", "%"), 0.75, (75.0, 75.0, 75.0)),
        (Axis("K", "", "log2"), 8, (3.0, 3.0, 3.0)),
        (Axis("K", "", "log2"), 0, None),
        (Axis("seed"), 3, (3.0, 3.0, 3.0)),
        (Axis("seed"), math.nan, None),
        (Axis("seed"), "word", None),
        (Axis("arm", "", "category", ["a", "b"]), "b", (1.0, 1.0, 1.0)),
        (Axis("arm", "", "category", ["a", "b"]), "c", None),
    ],
)
def test_an_axis_places_a_value(axis: Axis, value: object, place: object) -> None:
    assert axis.place(value) == place


def test_categories_are_numbers_in_order_or_words_as_they_come() -> None:
    assert make_axis({"scale": "category"}, [8, 2, 2.0, 4]).categories == [2, 4, 8]
    assert make_axis({"scale": "linear"}, ["fine", "coarse", "fine"]).categories == ["fine", "coarse"]
    assert make_axis(None, [1, None, math.nan], category=True).categories == [1]


def test_panels_share_axes_so_equal_numbers_stand_at_equal_height() -> None:
    figure = lines_figure()
    figure["series"][2]["points"] = figure["series"][0]["points"]
    real, synthetic = draw_figure(figure, "f")
    gaps = [[hit[1:] for hit in hits_of(svg) if hit[0].startswith("gap")] for svg in (real, synthetic)]
    assert len(gaps[0]) == 4 and gaps[0] == gaps[1]


def test_log2_steps_are_equal_and_lower_values_stand_lower() -> None:
    svg = draw_figure(lines_figure(), "f")[0]
    gap = [(x, y) for text, x, y in hits_of(svg) if text.startswith("gap")]
    steps = [b[0] - a[0] for a, b in itertools.pairwise(gap)]
    assert max(steps) - min(steps) < 0.3 and min(steps) > 10
    assert all(b[1] > a[1] for a, b in itertools.pairwise(gap)), "a falling line goes down the page"


def test_a_mark_says_its_number_and_interval_under_a_pointer() -> None:
    texts = [text for text, *_ in hits_of(draw_figure(lines_figure(), "f")[0])]
    assert "gap, 4: −4.0 pp [−4.4, −3.6], n=3" in texts and len(texts) == 8


def test_what_cannot_be_drawn_is_left_out_and_what_is_left_is_drawn() -> None:
    points = [{"x": 1, "y": None}, {"x": None, "y": 2}, {"x": 3, "y": math.nan}, {"x": 4, "y": 5}, {}, "no point"]
    (svg,) = draw_figure(simple(points), "f")
    assert [text for text, *_ in hits_of(svg)] == ["a, 4: 5"]
    assert draw_figure(simple([{"x": 1, "y": None}]), "f") == []
    assert draw_figure({}, "f") == [] and numbers({})["rows"] == []


def test_one_seed_has_a_mark_and_no_bar() -> None:
    def bars(y: Any) -> int:
        (svg,) = draw_figure(simple([{"x": 1, "y": y}, {"x": 2, "y": y}]), "f")
        return svg.count("LineCollection")

    assert bars(estimate(0.5, None, 1)) == 0 < bars(estimate(0.5, 0.1))


def test_series_stand_beside_each_other_only_where_their_intervals_would_cover_one_another() -> None:
    def lefts(y: Any) -> list[float]:
        points = [{"x": 1, "y": y}, {"x": 100, "y": y}]
        (svg,) = draw_figure(simple([], series=[{"name": name, "points": points} for name in "ab"]), "f")
        return [left for _, left, _ in hits_of(svg)]

    first, last, other_first, other_last = lefts(estimate(0.5, None, 1))
    assert (first, last) == (other_first, other_last) and first < last
    first, last, other_first, other_last = lefts(estimate(0.5, 0.1))
    assert first < other_first < last < other_last


def test_series_are_told_apart_by_colour_and_by_mark() -> None:
    figure = simple([], series=[{"name": f"s{i}", "points": []} for i in range(20)] + [{"name": "bp", "points": []}])
    looks = [s.look for s in read_series(figure)]
    assert len({look[:2] for look in looks}) == 21
    near = looks[:7]
    assert len({look.colour for look in near}) == len({look.marker for look in near}) == 7


def test_a_known_name_looks_alike_in_every_figure() -> None:
    one, two = category_figure(), category_figure()
    two["series"].reverse()
    looks = [{s.name: s.look for s in read_series(figure)} for figure in (one, two)]
    assert looks[0] == looks[1]
    named = {"series": [{"name": "gap: local − BP", "points": []}]}
    assert read_series(named)[0].look == read_series({"series": [{"name": "gap", "points": []}]})[0].look


@pytest.mark.parametrize("kind", ["lines", "points"])
def test_series_of_a_category_stand_beside_each_other_and_measured_places_stay_true(kind: str) -> None:
    (svg,) = draw_figure(category_figure() | {"kind": kind}, "f")
    at = sorted(left for text, left, _ in hits_of(svg) if "coarse labels" in text)
    assert len(at) == 3 and at[1] - at[0] > 5 and at[2] - at[1] > 5
    points = [{"name": name, "points": [{"x": 0.5, "y": estimate(y, 0.02)}]} for name, y in (("a", 0.1), ("b", 0.11))]
    (svg,) = draw_figure(simple([], series=points, kind="points"), "f")
    assert len({left for _, left, _ in hits_of(svg)}) == 1


def test_a_heat_map_writes_every_value_into_its_cell_first_row_on_top() -> None:
    (svg,) = draw_figure(heat_figure(), "f")
    words = words_of(svg)
    # column − row: 0…3, −1…2, −2…1
    for value, count in (("0.0", 3), ("+1.0", 3), ("+2.0", 2), ("+3.0", 1), ("−1.0", 2), ("−2.0", 1), ("±0.3", 12)):
        assert words.count(value) == count, value
    cells = {text.split(":")[0]: (x, y) for text, x, y in hits_of(svg)}
    assert cells["2 × 1 channels"][1] < cells["2 × 2 channels"][1] < cells["2 × 4 channels"][1]
    assert cells["2 × 1 channels"][0] < cells["4 × 1 channels"][0]
    assert "8 × 1 channels: +3.0 pp [+2.7, +3.3], n=3" in [text for text, *_ in hits_of(svg)]


def fills(svg: str) -> dict[str, float]:
    """Strongest shade of each colour."""
    found: dict[str, float] = {}
    names = {LOCAL: "local", EXTRA: "extra"}
    for element in ET.fromstring(svg).iter(f"{SVG}path"):
        colour = names.get(element.get("fill", ""), element.get("fill", ""))
        if element.get("opacity") and colour != "none":
            found[colour] = max(found.get(colour, 0), float(element.get("opacity", "nan")))
    return found


def test_a_heat_map_of_differences_is_blue_above_zero_and_orange_below() -> None:
    shades = fills(draw_figure(heat_figure(), "f")[0])
    assert set(shades) == {"local", "extra"}
    assert shades["extra"] == pytest.approx(0.05 + 0.47 * 2 / 3, abs=0.01)  # −2 of at most 3
    assert shades["local"] == pytest.approx(0.52, abs=0.01)
    assert "Blue cells are above zero" in heat_key(heat_figure()) and heat_key(lines_figure()) == ""


def test_a_heat_map_of_accuracies_has_one_colour() -> None:
    figure = heat_figure() | {"z": {"label": "accuracy", "unit": "%"}}
    for point in figure["series"][0]["points"]:
        point["z"] = 0.5 + abs(point["z"]["mean"])
    (svg,) = draw_figure(figure, "f")
    assert set(fills(svg)) == {"local"} and "53.0" in words_of(svg)


def test_many_columns_make_a_wide_heat_map() -> None:
    assert not is_wide(heat_figure(10)) and is_wide(heat_figure(11)) and not is_wide(lines_figure())
    views = [ET.fromstring(draw_figure(heat_figure(n), "f")[0]).get("viewBox", "").split()[2] for n in (10, 11)]
    assert [float(v) for v in views] == [400, 800]


def test_points_have_their_labels_and_a_diagonal_where_both_axes_are_accuracies() -> None:
    (svg,) = draw_figure(points_figure(), "f")
    assert {"method A", "method B"} <= set(words_of(svg)) and "both alike" in svg
    figure = points_figure()
    figure["x"]["unit"] = "pp"
    assert "both alike" not in draw_figure(figure, "f")[0]


def test_a_text_alternative_says_kind_caption_and_numbers_and_ends_somewhere() -> None:
    label = label_of(draw_figure(lines_figure(), "f")[0])
    assert label.startswith(
        "Line chart. Planted gap against the number of classes. real classes. Up is better. gap: 2: −2.0 pp"
    )
    many = simple([{"x": i, "y": i} for i in range(500)])
    assert "440 more are in the table" in label_of(draw_figure(many, "f")[0])
    assert len(numbers(many)["rows"]) == 500


@pytest.mark.parametrize("name", ["</svg><script>", "$x_1$", "\u202e\x00\ud800", "long name " * 60, ""])
def test_any_name_makes_wellformed_svg(name: str) -> None:
    points = [{"x": f"{name}{i}", "y": estimate(0.1 * i), "z": 0.1, "label": name} for i in range(3)]
    for kind in ("lines", "heat", "points", "unknown"):
        figure = {"kind": kind, "caption": name, "x": {"label": name}, "y": {"label": name, "unit": "pp"}}
        figure |= {"z": {"label": name, "unit": "pp"}, "series": [{"name": name, "panel": name, "points": points}]}
        for svg in draw_figure(figure, "f"):
            ET.fromstring(svg)
            assert "script>" not in svg.replace("&lt;script&gt;", "").replace("script&gt;", "")


@pytest.mark.parametrize("series", [1, 4, 12])
def test_a_legend_has_room_for_every_series(series: int) -> None:
    figure = simple(
        [], series=[{"name": f"series {i}", "points": [{"x": 1, "y": i}, {"x": 2, "y": i}]} for i in range(series)]
    )
    (svg,) = draw_figure(figure, "f")
    assert {f"series {i}" for i in range(series)} <= set(words_of(svg))
    tops = [float(t.get("y", "nan")) for t in ET.fromstring(svg).iter(f"{SVG}text") if t.get("y")]
    assert all(top > 0 for top in tops)


def test_category_labels_break_in_two_lines_before_they_are_cut() -> None:
    words = words_of(draw_figure(category_figure(), "f")[0])
    assert "random groups of" in " ".join(words) and "classes" in " ".join(words)
    assert not any("…" in word for word in words)
