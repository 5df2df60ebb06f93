"""The content as Markdown, CSV and JSON: planted numbers, read back by other programs."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import numpy as np
import pytest

from layerlocal.report import Content, render_csv, render_json, render_markdown
from layerlocal.runs.table import csv_text, unguarded
from layerlocal.summary import Summary
from planted_summaries import accuracy_row, claim, planted_content, planted_study, run_row, study_row

FORMULAS = ["=1+1", "+1", "-1", "@sum", "\tx", "\nx", "＝1", "'=1", "''@x"]
PLAIN = ["a=1", "1-2", "'quoted", "", "−1", 'a "b", c', "two\nlines", "日本語"]


@pytest.fixture(scope="module")
def markdown() -> str:
    return render_markdown(planted_content())


def test_markdown_has_summaries_with_their_parts_then_verdicts_then_accuracies(markdown: str) -> None:
    assert re.findall(r"(?m)^#+ .*$", markdown) == [
        "# layerlocal report: planted test fixture, not a measurement",
        "## The planted audit",
        "### Accuracy (planted)",
        "#### By block",
        "### Cost (planted)",
        "### Locality (planted)",
        "## Does the gap grow with the number of classes? (planted)",
        "## Claims, as reported and as measured",
        "## Reported beside measured",
        "## Where every number comes from",
    ]


def test_markdown_says_the_numbers(markdown: str) -> None:
    for said in (
        "> planted warning: 2 runs are of an older protocol",
        "| P1: A planted sentence that is supported. | about −2.1 points | −8.0 pp [−8.4, −7.6] | ✓ supported; The mean over 3 seeds is "
        "shown to lie where it lies. | 3 | quick | 1 pp | 0.037 |",
        "? inconclusive; n = 5 to 40 would settle it",
        "Not run: P4.",
        "To settle P3 and P4:\n\n```sh\nlayerlocal study planted-classes --size quick --out planted\n```",
        f"SHA-256 of the claims: {'c0ffee' * 10}abcd",
        "- The planted gap is −8.0 pp at 16 classes.",
        "| arm | classes | slope | BP | gap |\n| --- | ---: | ---: | ---: | ---: |\n"
        "| real | 16 | −2.5 | 75.0 % [74.0, 76.0], n=3 | −8.0 pp [−8.4, −7.6], n=3 |",
        "- class-goodness, 16 classes, seed 2: NaN in the loss of block1",
        "| planted method B | planted et al. 2026 | planted-data | 98.1 % | class-goodness | not run | – | quick |",
        "- Of 2 \\<planted\\> rules, 1 is below backprop.",
        "```sh\nlayerlocal inner\n```",
    ):
        assert said in markdown, said


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("# heading", "\\# heading"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("1.5 %", "1.5 %"),
        ("-0.5 pp", "-0.5 pp"),
        ("---", "\\---"),
        ("a | b", "a \\| b"),
        ("`x` *y* ~z~", "\\`x\\` \\*y\\* \\~z\\~"),
        ("[x](http://y)", "[x\\](http://y)"),
        ("[−1.9, −0.7]", "[−1.9, −0.7]"),
        ("fashion_mnist_subset", "fashion_mnist_subset"),
        ("_x_", "\\_x\\_"),
        ("<img onerror=x>", "\\<img onerror=x\\>"),
        ("two\nlines\u202e", "two lines"),
    ],
)
def test_markdown_text_is_never_markup(text: str, written: str) -> None:
    study = planted_study(sentences=(text,), figures=())
    assert f"\n- {written}\n" in render_markdown(study)


def test_markdown_rows_have_as_many_cells_as_their_head_whatever_the_text() -> None:
    rows = [claim("a|b\n|", "inconclusive", n_needed=7, sentence="| x | \\| `", command="echo ``` > x"), accuracy_row()]
    text = render_markdown(Content(claims=rows[:1]))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    assert "````sh\necho ``` > x\n````" in text


def test_markdown_of_parts_that_are_missing_says_what_is_there() -> None:
    assert "0 finished runs" in render_markdown(Content(summaries=[]))
    assert "## study" in render_markdown(Content(summaries=[Summary()], claims=[{}], accuracies=[{}]))


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_every_row_of_every_summary_and_whose_it_is() -> None:
    second = planted_study("second", size="full", rows=(study_row(7, 4) | {"extra": 1.5},))
    rows = read_csv(render_csv(planted_content(summaries=[planted_study(), second])))
    assert len(rows) == 7 and list(rows[0])[:3] == ["experiment", "name", "size"]
    assert [row["name"] for row in rows] == ["planted-classes"] * 6 + ["second"]
    assert rows[6]["seed"] == "7" and rows[6]["extra"] == "1.5" and rows[0]["extra"] == ""
    assert (
        float(rows[6]["gap"]) == -0.125 and rows[6]["blocks.local.block0"] == "0.25" and rows[6]["runs.bp"] == "bbbb704"
    )


def test_csv_of_a_store_of_plain_runs_has_its_runs() -> None:
    rows = read_csv(render_csv(Content(runs=[run_row(30), run_row(31)])))
    assert [row["run"] for row in rows] == [f"{30:016x}", f"{31:016x}"]
    assert rows[1]["spec.rule.temperature_max"] == "2.0"
    assert render_csv(Content(summaries=[])) == "run\n"


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN])
def test_a_csv_cell_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_text([{"a": "x", text: text}], ["a", text]), newline="")))
    written = rows[1][1]
    assert not written.startswith(("=", "+", "-", "@", "\t", "\n", "＝"))
    assert (written != text) == (text in FORMULAS)
    assert unguarded(written) == text and unguarded(rows[0][1]) == text


def test_every_end_of_line_in_a_csv_cell_becomes_the_same() -> None:
    assert csv_text([{"a": "1\r2\r\n3\x00"}], ["a"]) == 'a\n"1\n2\n3"\n'


def test_csv_numbers_stay_numbers_and_what_is_none_is_empty() -> None:
    row = {
        "a": -0.1,
        "b": np.float64(0.1),
        "c": math.nan,
        "d": None,
        "e": True,
        "f": [1, "x"],
        "g": np.int64(-3),
        "h": -math.inf,
    }
    assert csv_text([row], list(row)) == 'a,b,c,d,e,f,g,h\n-0.1,0.1,,,true,"[1, ""x""]",-3,\n'


def test_csv_reads_in_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(io.StringIO(render_csv(planted_content(summaries=[planted_study()]))))
    assert (
        frame.shape[0] == 6 and frame["gap"].sum() == -0.75 and frame["name"].unique().tolist() == ["planted-classes"]
    )


def test_json_is_strict_and_whole() -> None:
    rows = ({"gap": math.nan, "n": np.int64(3), "x": np.array([1.5, math.inf]), "s": {1}, "t": (1, 2), "u": "\ud800"},)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    text = render_json(planted_content(summaries=[planted_study(rows=rows)]))
    text.encode("utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert found["summaries"][0]["rows"] == [
        {"gap": None, "n": 3, "x": [1.5, None], "s": [1], "t": [1, 2], "u": "\ud800"}
    ]
    assert [row["id"] for row in found["claims"]] == ["P1", "P2", "P3", "P4"]
    assert len(found["runs"]) == 4 and found["summaries"][0]["size"] == "quick"


def test_json_holds_the_summaries_as_they_were() -> None:
    content = planted_content()
    found = json.loads(render_json(content))
    assert [Summary.model_validate(given) for given in found.pop("summaries")] == content.summaries
    assert found == {key: value for key, value in vars(content).items() if key != "summaries"}
