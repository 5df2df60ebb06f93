"""Figures as files: colours that every program reads, looks that no two rules share, PNG and PDF; planted numbers only."""

from __future__ import annotations

import io
import itertools
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from layerlocal.cli.app import app
from layerlocal.report import Content, palette, render_page, write_figures
from layerlocal.report.axes import frame_of
from layerlocal.report.canvas import FORMATS
from layerlocal.report.draw import draw_figure
from layerlocal.report.page import page_figures
from layerlocal.rules import list_rules
from layerlocal.summary import Axis, Figure, Point, Series
from layerlocal.types import InputError
from planted_figures import estimate, every_figure, heat_figure, line_figure
from planted_summaries import planted_content, planted_parts

ROOT = Path(__file__).resolve().parents[2]
PAPERS = {"white": "#ffffff", "light page": "#fcfcfa", "dark page": "#121416", "GitHub, dark": "#0d1117"}
HEX = re.compile(r"#[0-9a-f]{6}")
OWN = ("my_rule.py:MyRule", "examples/my_rule.py:MyRule", "other", "another", "x", "rule-of-2026")


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def drawings() -> dict[str, Any]:
    return page_figures(planted_content())


def reference_figure() -> Figure:
    points = (Point(x=0.25, y=estimate(1.5, 0.1), label="vgg8"), Point(x=0.5, y=0.8, label="vgg16"))
    return Figure(
        name="speed", kind="points", title="Planted speed", x=Axis(label="peak saved bytes ÷ BP's", scale="log2"),
        y=Axis(label="samples/s ÷ BP's"), reference=Point(x=1, y=1, label="plain BP"),
        series=(Series(name="committee, fused", points=points),),
    )  # fmt: skip


# --- one colour and one mark ------------------------------------------------------------------------------------------


def test_every_rule_has_a_look_and_no_two_have_the_same_colour_and_mark() -> None:
    assert set(palette.RULES) == set(list_rules())
    assert len({look[:2] for look in palette.RULES.values()}) == len(palette.RULES)


def test_every_colour_has_a_contrast_of_three_to_every_paper_and_the_ink_has_more() -> None:
    colours = {look.colour for look in palette.RULES.values()} | {palette.look_of(name).colour for name in OWN}
    colours |= {look.colour for look in palette.looks_of([f"condition {i}" for i in range(12)])} | {palette.WRONG}
    for colour, (name, paper) in itertools.product(sorted(colours), PAPERS.items()):
        assert contrast(colour, paper) >= 3, (colour, name)
    assert contrast(palette.INK, palette.PAPER) > 12 and contrast(palette.DARK_INK, palette.DARK_PAPER) > 12


def test_a_rule_of_ones_own_has_the_look_of_its_name_which_no_built_in_has() -> None:
    built_in = {look[:2] for look in palette.RULES.values()}
    for name in OWN:
        assert palette.look_of(name)[:2] not in built_in
        assert palette.look_of(name) == palette.look_of(name)
    assert palette.look_of(OWN[0]) == palette.look_of(OWN[1]), "the folder that its file lies in changes nothing"
    assert len({palette.look_of(name)[:2] for name in OWN}) >= 3


def test_a_rule_looks_the_same_whatever_stands_beside_it() -> None:
    alone = palette.looks_of(["committee"])[0]
    names = ["gap", "bp", "my_rule.py:MyRule", "BP-DeepSup", "something else", "committee"]
    looks = dict(zip(names, palette.looks_of(names, ["my_rule.py:MyRule"]), strict=True))
    assert looks["committee"] == alone == palette.RULES["committee"]
    assert looks["bp"] == palette.RULES["bp"] and looks["BP-DeepSup"] == palette.RULES["bp-deepsup"]
    assert looks["my_rule.py:MyRule"] == palette.look_of("my_rule.py:MyRule")
    assert len({look[:2] for look in looks.values()}) == len(names)


def test_two_series_of_a_rule_have_its_colour_and_mark_and_are_filled_unlike() -> None:
    names = ["committee: gap", "committee: price of locality", "committee, fused", "class-goodness: gap"]
    one, two, three, other = palette.looks_of(names)
    assert one[:2] == two[:2] == three[:2] == palette.RULES["committee"][:2] != other[:2]
    assert len({(look.fill, str(look.dashes)) for look in (one, two, three)}) == 3
    assert len({look.fill for look in (one, two, three)}) == 3


def test_a_figure_says_which_of_its_series_are_rules() -> None:
    figure = Figure(name="f", series=(Series(name="mine"), Series(name="other")), rules=("mine",))
    looks = frame_of(figure).looks
    assert looks["mine"] == palette.look_of("mine") and looks["other"] != palette.look_of("other")
    assert frame_of(figure, ["other"]).looks["other"] == palette.look_of("other")


# --- SVG that stands alone --------------------------------------------------------------------------------------------


def colours_of(svg: str) -> set[str]:
    """Every value of ``fill`` and ``stroke``."""
    return {element.get(part, "none") for element in ET.fromstring(svg).iter() for part in ("fill", "stroke")}


def test_every_figure_of_a_page_has_real_colours_alone(drawings: dict[str, Any]) -> None:
    assert len(drawings) == 11
    for name, drawing in drawings.items():
        for svg in (drawing, drawing.to_file("svg").decode()):
            assert "var(" not in svg and "currentColor" not in svg and "style=" not in svg, name
            assert svg.count("font-family") == 1, "of the whole figure, so that a page can give its own"
            assert all(value == "none" or HEX.fullmatch(value) for value in colours_of(svg)), (name, colours_of(svg))
        assert {palette.INK} < colours_of(drawing)


def test_a_page_gives_the_ink_and_the_paper_of_its_figures_its_own(drawings: dict[str, Any]) -> None:
    html = render_page(planted_content())
    style = html[html.index("<style>") : html.index("</style>")]
    for part in ("fill", "stroke"):
        assert f'svg[role=img] [{part}="{palette.INK}"] {{ {part}: var(--ink); }}' in style
        assert f'svg[role=img] [{part}="{palette.PAPER}"] {{ {part}: var(--paper); }}' in style
    assert all(drawing in html for drawing in drawings.values())


def test_a_file_has_a_size_that_fits_a_page_its_paper_and_dark_colours(drawings: dict[str, Any]) -> None:
    wide = draw_figure(heat_figure(16), "wide")[0]
    for drawing in (*drawings.values(), wide):
        root = ET.fromstring(drawing.to_file("svg"))
        width, height = float(root.get("width", "nan")), float(root.get("height", "nan"))
        _, _, units, tall = map(float, root.get("viewBox", "").split())
        assert 500 <= width <= 900 and width / height == pytest.approx(units / tall, rel=0.01)
        style, paper = list(root)[:2]
        assert "prefers-color-scheme: dark" in str(style.text) and palette.DARK_INK in str(style.text)
        assert (paper.get("fill"), float(paper.get("width", "nan"))) == (palette.PAPER, units)


def test_letters_are_nine_pixels_high_on_a_phone_of_360_pixels() -> None:
    """A README leaves 328 pixels beside its margins there."""
    for figure in [f for f in every_figure() if f.kind not in ("heat", "matrix")] + [reference_figure()]:
        for svg in draw_figure(figure, "f"):
            root = ET.fromstring(svg)
            scale = 328 / float(root.get("viewBox", "").split()[2])
            sizes = [float(e.get("font-size", "nan").removesuffix("px")) for e in root.iter() if e.get("font-size")]
            assert sizes and min(sizes) * scale > 8.5 and sorted(sizes)[len(sizes) // 2] * scale >= 9


def test_cairosvg_draws_a_file_as_a_browser_would(drawings: dict[str, Any]) -> None:
    """Dark ink on white paper, and the rules' own colours: what a program without style sheets makes of a file."""
    try:
        import cairosvg
    except (ImportError, OSError) as error:
        pytest.skip(f"needs cairosvg and the library cairo: {error}")
    svg = draw_figure(line_figure(), "f")[0].to_file("svg")
    image = Image.open(io.BytesIO(cairosvg.svg2png(bytestring=svg))).convert("RGB")
    assert image.width == 600
    counts = {colour: count for count, colour in image.getcolors(1 << 24) or []}
    rgb = {
        name: tuple(bytes.fromhex(colour[1:]))
        for name, colour in vars(palette).items()
        if name in ("LOCAL", "EXTRA", "INK")
    }
    assert max(counts, key=lambda colour: counts[colour]) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (255, 255, 255)
    assert all(counts.get(colour, 0) > 20 for colour in rgb.values()), {n: counts.get(c) for n, c in rgb.items()}


# --- titles, directions, the point of reference -----------------------------------------------------------------------


def words_of(svg: str) -> list[str]:
    return [str(element.text) for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]


def test_every_figure_says_what_it_shows_and_those_of_rules_which_way_is_better(drawings: dict[str, Any]) -> None:
    without = []
    for name, drawing in drawings.items():
        bold = [
            e
            for e in ET.fromstring(drawing).iter()
            if e.tag.endswith("}text") and e.get("font-weight") in ("600", "700")
        ]
        assert bold, name
        if not any("better" in word or "alike" in word for word in words_of(drawing)):
            without.append(name)
    assert all("locality" in name for name in without), without


@pytest.mark.parametrize(
    ("x", "y", "way"),
    [
        ({"label": "classes"}, {"label": "gap", "unit": "pp"}, "up is better"),
        ({"label": "seconds of training"}, {"label": "validation accuracy, %"}, "up and left is better"),
        ({"label": "peak saved bytes"}, {"label": "samples/s"}, "up and left is better"),
        ({"label": "depth"}, {"label": "peak saved, MiB"}, "down is better"),
        ({"label": "depth"}, {"label": "width"}, ""),
        ({"label": "depth"}, {"label": "error", "better": "less"}, "down is better"),
        ({"label": "classes"}, {"label": "accuracy", "unit": "%", "better": ""}, ""),
    ],
)
def test_which_way_is_better_follows_from_what_the_axes_measure(x: dict[str, str], y: dict[str, str], way: str) -> None:
    series = (Series(name="a", points=(Point(x=1, y=2), Point(x=2, y=3))),)
    figure = Figure(name="f", x=Axis(**x), y=Axis(**y), series=series)  # type: ignore[arg-type]
    words = words_of(draw_figure(figure, "f")[0])
    assert [word for word in words if "better" in word] == ([way] if way else [])


def test_the_point_of_reference_is_drawn_named_and_within_the_axes() -> None:
    svg = draw_figure(reference_figure(), "f")[0]
    assert {"plain BP", "vgg8", "vgg16", "Planted speed", "up and left is better"} <= set(words_of(svg))
    hits = {str(e.find("{*}title").text): e for e in ET.fromstring(svg).iter() if e.find("{*}title") is not None}  # type: ignore[union-attr]
    at = [float(hits["plain BP, 1: 1"].get(key, "nan")) for key in ("x", "y")]
    others = [hits[text] for text in hits if text.startswith("committee")]
    assert len(others) == 2 and all(float(other.get("x", "nan")) < at[0] < 393 for other in others)
    y_of = {text: float(hits[text].get("y", "nan")) for text in hits}
    assert min(y_of.values()) < at[1] < max(y_of.values()), "faster is above 1, slower below"


def boxes_of(svg: str, names: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """Left, right and height of words; a letter is taken to be six units wide."""
    found = {}
    for element in ET.fromstring(svg).iter():
        if element.tag.endswith("}text") and element.text in names:
            x, y = float(element.get("x", "nan")), float(element.get("y", "nan"))
            wide = 6 * len(element.text)
            left = x - {"middle": wide / 2, "end": wide}.get(element.get("text-anchor", ""), 0)
            found[element.text] = (left, left + wide, y)
    return found


def test_names_of_near_points_do_not_lie_on_each_other() -> None:
    names = tuple(f"network {i}" for i in range(6))
    points = tuple(Point(x=1 + 0.01 * i, y=1 + 0.005 * i, label=name) for i, name in enumerate(names))
    far = (Point(x=2, y=2), Point(x=0, y=0))
    series = (Series(name="committee", points=points), Series(name="bp", points=far))
    figure = Figure(name="f", kind="points", series=series)
    boxes = boxes_of(draw_figure(figure, "f")[0], names)
    assert len(boxes) == 6
    for one, other in itertools.combinations(boxes.values(), 2):
        assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 10


# --- PNG, PDF and the command -----------------------------------------------------------------------------------------


def test_every_format_is_written_and_is_the_same_at_every_call(tmp_path: Path) -> None:
    content = planted_parts()
    written = write_figures(content, tmp_path / "new" / "figures")
    names = list(page_figures(content))
    assert [path.name for path in written] == [f"{name}.{form}" for name in names for form in FORMATS]
    assert {path.name for path in (tmp_path / "new" / "figures").iterdir()} == {path.name for path in written}
    for path in written:
        data = path.read_bytes()
        assert data.startswith({".svg": b"<svg ", ".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix])
    one, two = (draw_figure(line_figure(), "f")[0] for _ in range(2))
    assert all(one.to_file(form) == two.to_file(form) for form in FORMATS)
    image = Image.open(io.BytesIO(one.to_file("png"))).convert("RGB")
    assert image.width == 800 and image.getpixel((1, 1)) == (255, 255, 255)


def report(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["report", *arguments])


def test_the_command_writes_figures_of_published_results_in_the_formats_it_is_asked_for(tmp_path: Path) -> None:
    store = tmp_path / "results"
    store.mkdir()
    for name in ("study-ablation-quick.json", "runs.parquet"):
        (store / name).write_bytes((ROOT / "results" / name).read_bytes())
    found = report("--out", str(store), "--figures", str(tmp_path / "f"), "--format", "svg,pdf")
    assert found.exit_code == 0, found.output
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        "study-ablation-effects.svg",
        "study-ablation-effects.pdf",
    }
    assert not (store / "report.html").exists()
    (tmp_path / "file").write_text("in the way")
    for arguments, said in (
        (("--format", "png"), "say with --figures FOLDER where they go"),
        (
            ("--figures", str(tmp_path / "g"), "--format", "html"),
            "unknown format of a figure 'html'; known: pdf, png, svg",
        ),
        (("--figures", str(tmp_path / "file")), "cannot be made a folder"),
    ):
        refused = report("--out", str(store), *arguments)
        assert isinstance(refused.exception, InputError) and said in str(refused.exception)
    assert not (tmp_path / "g").exists()


def test_without_the_extra_figures_svg_is_written_and_other_formats_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    written = write_figures(planted_parts(), tmp_path / "f")
    assert written and {path.suffix for path in written} == {".svg"}
    for form in ("png", "pdf"):
        with pytest.raises(InputError, match=rf"a {form.upper()} .*layerlocal\[figures\]"):
            write_figures(planted_parts(), tmp_path / "g", ["svg", form])
        refused = CliRunner().invoke(app, ["certify", "nowhere.py:step", "--picture", f"a.{form}"])
        assert "layerlocal[figures]" in str(refused.exception)
    assert not (tmp_path / "g").exists()


def test_no_figure_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no figure to write"):
        write_figures(Content(runs=[]), tmp_path)


def test_published_figures_show_the_published_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their text alternatives, which name every number, are those that the script draws from the results now."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    import published_figures

    for name, drawing in published_figures.published().items():
        file = ET.parse(f"{name}.svg").getroot()
        assert file.get("aria-label") == ET.fromstring(drawing).get("aria-label"), name
        svg = Path(f"{name}.svg").read_text()
        assert "var(" not in svg and "currentColor" not in svg, name
        for form in ("png", "pdf"):
            assert 5_000 < Path(f"{name}.{form}").stat().st_size < 150_000, (name, form)


def test_the_published_figure_of_the_trainer_has_its_networks_and_plain_backprop() -> None:
    words = words_of((ROOT / "results/trainer.svg").read_text())
    assert {"vgg8", "vgg16", "vgg16, 224 px", "resnet18", "BP, plain layers (1, 1)", "up and left is better"} <= set(
        words
    )
