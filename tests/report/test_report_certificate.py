"""The badge and the picture of a certificate: well-formed, whole in words, safe whatever names are in it, and readable without colour."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from layerlocal.report import badge_svg, certificate_drawing
from layerlocal.report.certificate import DARK, LEFT_COLOUR, certificate_figure

SVG = "{http://www.w3.org/2000/svg}"


def certificate(**change):
    found = {
        "locality": "block", "verdict": "block-local, and lighter: 0.40×", "groups": ["group0", "group1", "group2"], "boundaries": 2,
        "coupling": [[True, True, True], [False, True, True], [True, False, True]], "coupling_later": [[False] * 3] * 3,
        "saved_bytes_vs_end_to_end": 0.4,
    }  # fmt: skip
    return found | change


def texts(svg):
    return [part.text for part in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_badge_has_the_locality_and_the_memory_and_says_both_to_a_screen_reader():
    svg = badge_svg(certificate())
    root = ElementTree.fromstring(svg)
    assert texts(svg) == ["locality", "block · 0.40× memory"]
    assert (root.get("role"), root.get("aria-label")) == ("img", "locality: block · 0.40× memory")
    assert root.find(f"{SVG}title").text == "locality: block · 0.40× memory. block-local, and lighter: 0.40×"


@pytest.mark.parametrize(
    "change", [{"boundaries": 0, "saved_bytes_vs_end_to_end": 1.0}, {"saved_bytes_vs_end_to_end": None}]
)
def test_a_badge_without_a_twin_has_the_locality_alone(change):
    assert texts(badge_svg(certificate(locality="global", **change))) == ["locality", "global"]


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [LEFT_COLOUR, *DARK.values()])
def test_white_letters_on_a_badge_have_a_contrast_of_four_and_a_half(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_a_badge_is_wide_enough_for_its_words():
    root = ElementTree.fromstring(badge_svg(certificate()))
    boxes = [(float(r.get("x", 0)), float(r.get("width"))) for r in root.iter(f"{SVG}rect")][1:]
    for (x, width), text in zip(boxes, root.iter(f"{SVG}text"), strict=True):
        start, length = float(text.get("x")), float(text.get("textLength"))
        assert x < start and start + length < x + width


def test_names_that_are_markup_stay_names():
    evil = '</svg><script>alert("1")</script>&'
    found = certificate(groups=[evil, "b", "c"], verdict=evil)
    for svg in (badge_svg(found), certificate_drawing(found).to_file("svg").decode()):
        root = ElementTree.fromstring(svg)
        assert not list(root.iter(f"{SVG}script")) and "<script" not in svg


def test_a_coupling_backwards_is_marked_and_one_forwards_is_not():
    [series] = certificate_figure(certificate()).series
    states = {(p.label.split(" perturbed")[0], p.label.split("update of ")[1].split()[0]): p.z for p in series.points}
    assert (
        states["group2", "group0"] == "wrong"
        and states["group0", "group2"] == "yes"
        and states["group1", "group0"] == "no"
    )
    assert len(series.points) == 9


def test_what_changes_a_step_later_has_a_matrix_of_its_own_where_there_is_any():
    later = [[False] * 3, [False] * 3, [True, False, False]]
    assert [s.name for s in certificate_figure(certificate(coupling_later=later)).series] == ["at once", "a step later"]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["b1", "emb", "b0"], ["0 b1", "1 emb", "2 b0"]),
        (["embedding", "block0", "block1"], ["0", "1", "2"]),
        (["group0", "group1", "group2"], ["0", "1", "2"]),
    ],
)
def test_groups_stand_in_their_order_by_number_and_by_name_where_there_is_room(names, rows):
    found = certificate(groups=names)
    assert list(dict.fromkeys(p.y for p in certificate_figure(found).series[0].points)) == rows
    drawn = re.findall(r"<text[^>]*>(\d[^<]*)</text>", certificate_drawing(found))
    assert [text for text in drawn if text in rows][-3:] == rows


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_a_picture_is_a_file_of_each_kind_and_the_same_at_every_call(form):
    found = certificate()
    assert certificate_drawing(found).to_file(form) == certificate_drawing(found).to_file(form)
