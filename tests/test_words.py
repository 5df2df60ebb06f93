"""The golden table: every kind of number, interval, list and verdict as a reader sees it. No other test holds digits or units to a text."""

from __future__ import annotations

import math
from typing import Any

import pytest

from layerlocal import words
from layerlocal.stats import estimate as over_seeds


def estimate(mean: float, half: float | None = None, n: int = 3) -> dict[str, Any]:
    n = 1 if half is None else n
    ends = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": ends[0], "high": ends[1], "n": n, "values": [mean] * n}


WIDE = {"mean": 0.3025, "low": -0.047, "high": 1.2, "n": 2, "values": [0.275, 0.33]}
RATIO = {"median": 1.31, "low": 1.29, "high": 1.34, "n": 7}

TABLE = [
    # a difference with its interval and n
    ("−1.3 pp [−1.9, −0.7], n=3", words.difference(estimate(-0.013, 0.006))),
    ("+0.1 pp, n=1, no interval", words.difference(estimate(0.001))),
    ("−1.3 [−1.9, −0.7]", words.difference(estimate(-0.013, 0.006), bare=True)),
    ("+2.0", words.difference(estimate(0.02), bare=True)),
    ("not run", words.difference(None)),
    ("not run", words.difference({"mean": math.nan, "low": None, "high": None, "n": 2})),
    # no rounding hides a sign
    ("−1.3 pp [−2.5, +0.01], n=3", words.difference({"mean": -0.013, "low": -0.025, "high": 0.0001, "n": 3})),
    ("−0.01 pp", words.points(-0.0001)),
    ("0.0 pp", words.points(0.0)),
    ("0.0 pp", words.points(-1e-17)),
    ("−0.003 pp per doubling", words.measured(-0.00003, "pp per doubling")),
    # intervals of accuracies end at 0 and 100 %, those of differences at 100 points, those of slopes nowhere
    ("30.2 % [0.0, 100.0]", words.accuracy(WIDE)),
    ("+20.0 pp [−100.0, +100.0], n=2", words.difference({"mean": 0.2, "low": -1.4, "high": 1.8, "n": 2})),
    (
        "+20.0 pp [−140.0, +180.0], n=2",
        words.difference({"mean": 0.2, "low": -1.4, "high": 1.8, "n": 2}, bounded=False),
    ),
    ("+30.25 pp per doubling [−4.70, +120.00]", words.measured(WIDE, "pp per doubling")),
    # percentages and ratios
    ("91.3 %", words.percent(0.9130)),
    ("91.30 %", words.percent(0.9130, 2)),
    ("88.7 % [88.1, 89.3], n=3", words.accuracy(estimate(0.887, 0.006), with_n=True)),
    ("1.31× [1.29, 1.34], n=7", words.ratio_estimate(RATIO)),
    ("0.58×", words.ratio(0.58)),
    # in a claim's unit
    ("−8.0 pp [−8.4, −7.6]", words.measured(estimate(-0.08, 0.004), "pp")),
    ("−1.06 pp per doubling of K", words.measured(-0.0106, "pp per doubling of K")),
    ("75.0 % [74.0, 76.0]", words.measured(estimate(0.75, 0.01), "%")),
    ("0.52 [0.39, 0.65]", words.measured(estimate(0.52, 0.13), "share")),
    ("3.5 layers", words.measured(3.5, "layers")),
    ("−0.029 bits [−0.429, +0.371]", words.measured(estimate(-0.029, 0.4), "bits")),
    ("+0.175 bits", words.measured(0.1746, "bits")),
    ("−0.029 [−0.429, +0.371], n=3", words.cell(estimate(-0.029, 0.4), "bits")),
    ("+0.175", words.cell(0.1746, "bits")),
    ("1.443 bits", words.bits(1.0)),
    ("not run", words.bits(math.nan)),
    ("–", words.measured(math.nan, "pp")),
    ("–", words.measured(None, "%")),
    (("−8.0 pp", "[−8.4, −7.6]"), words.in_two(estimate(-0.08, 0.004), "pp")),
    (("−8.0 pp", "no interval"), words.in_two(estimate(-0.08), "pp")),
    (("–", ""), words.in_two(None, "pp")),
    ("+0.7 pp", words.exact(0.007, "pp")),
    ("−1.06 pp per doubling of K", words.exact(-0.0106, "pp per doubling of K")),
    ("30.2 %", words.exact(0.302, "%")),
    ("0", words.exact(-0.0, "")),
    # bytes, times, speeds, counts
    ("512 B", words.byte_count(512)),
    ("1.5 KiB", words.byte_count(1536)),
    ("3.0 MiB", words.byte_count(3 * 1024**2)),
    ("300 MB", words.byte_count(300_000_000, decimal=True)),
    ("8 GB", words.byte_count(8e9, decimal=True)),
    ("0:00", words.duration(0)),
    ("1:00", words.duration(59.6)),
    ("1:05", words.duration(65)),
    ("59:59", words.duration(3599)),
    ("2:01:05", words.duration(7265)),
    ("3 days", words.duration(3 * 86400)),
    ("–", words.duration(None)),
    ("12,345", words.rate(12345.4)),
    ("81.4", words.rate(81.42)),
    ("–", words.rate(None)),
    ("1.5 GFLOP", words.count(1.5e9, "FLOP")),
    ("1 seed", words.several(1, "seed")),
    ("1,000 runs", words.several(1000, "run")),
    # p, bare numbers, cells, lists
    ("< 0.001", words.probability(0.00099)),
    ("0.012", words.probability(0.0123)),
    ("0.35", words.probability(0.351)),
    ("p = 0.012", words.p_value(0.0123)),
    ("p < 0.001", words.p_value(1e-9)),
    ("1234567", words.plain(1234567)),
    ("0.3333", words.plain(1 / 3)),
    ("−0.5 [−1, 0]", words.plain(estimate(-0.5, 0.5))),
    ("–", words.cell(math.nan, "percent")),
    ("12.5 %", words.cell(0.125, "percent")),
    ("+2.0 pp, n=1, no interval", words.cell(estimate(0.02), "points")),
    ("7", words.cell(7.0, "int")),
    ("1.50×", words.cell(1.5, "ratio")),
    ("1.50× [1.25, 2.00], n=5", words.cell({"median": 1.5, "low": 1.25, "high": 2.0, "n": 5}, "ratio")),
    ("1.5 MiB", words.cell(1572864, "bytes")),
    ("1.23 M", words.cell(1234567, "count")),
    ("< 0.001", words.cell(1e-5, "probability")),
    ("layerlocal tune", words.cell("layerlocal tune\n", "command")),
    ("yes", words.cell(True, "text")),
    ("a b", words.clean("a\u202e\u2066\u200fb")),
    ("none", words.spoken([])),
    ("a", words.spoken(["a"])),
    ("a and b", words.spoken(["a", "b"])),
    ("a, b and c", words.spoken(["a", "b", "c"])),
    # what an interval says against 0
    ("below BP", words.against(estimate(-0.02, 0.01))),
    ("above BP", words.against(estimate(0.02, 0.01))),
    ("not told apart from BP", words.against(estimate(-0.004, 0.01))),
    ("not told apart from backprop", words.against(estimate(0.01, 0.01), "backprop")),
    ("one seed, not judged", words.against(estimate(-0.02))),
    ("not run against BP", words.against(None)),
]


@pytest.mark.parametrize(("said", "given"), TABLE)
def test_it_reads_as_written_by_hand(said: object, given: object) -> None:
    assert given == said


@pytest.mark.parametrize("values", [[-0.03, -0.01], [0.0001, 0.0002, 0.00015], [-1.0, 1.0], [0.02], [0.0, 0.0]])
def test_what_is_said_of_zero_is_what_the_digits_show(values: list[float]) -> None:
    """An interval is called above or below exactly where both of its written ends have one sign."""
    found = over_seeds(values)
    ends = words.difference(found, bare=True).partition("[")[2].rstrip("]").split(", ")
    signs = {end[0] for end in ends if end}
    expected = {"+": words.ABOVE, "−": words.BELOW}.get("".join(signs), words.NOT_APART if signs else words.ONE_SEED)
    assert words.relation(found) == expected


def test_every_verdict_has_a_sign_of_its_own() -> None:
    assert len(set(words.VERDICTS.values())) == len(words.VERDICTS) == 6
