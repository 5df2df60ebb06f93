"""Language: as many bytes as the ratio says, shallow twins of the first segment's depth, and planted differences that are found in bits."""

from __future__ import annotations

from math import log, log2

import pytest
from test_studies import ENV, plan_of

from layerlocal import create_network
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import make_rows, plan_runs
from layerlocal.experiments.studies.language import CONTEXT, DEPTH, RECIPE, parameters_of
from layerlocal.runs.store import RunRecord

STUDY = find_study("language")


def planned(size="quick", rule="local-heads", seeds=(0, 1, 2)):
    return plan_of("language", size=size, rules=(rule,), seeds=seeds, controls=True)


@pytest.mark.parametrize("width", [0.125, 0.25, 0.5, 1])
def test_parameters_are_those_of_the_network(width):
    network = create_network("gpt", vocabulary=256, context=CONTEXT, width=width, depth=DEPTH)
    assert parameters_of(width) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", ["quick", "medium", "standard"])
def test_a_cell_trains_on_as_many_bytes_a_parameter_as_it_says(size):
    for cell in STUDY.cells(planned(size), "local-heads", 0):
        seen = cell.recipe.steps * cell.recipe.batch_size * CONTEXT
        assert seen / parameters_of(cell.at["width"]) == pytest.approx(cell.at["ratio"], rel=0.01)
        assert cell.recipe.model_copy(update={"steps": None}) == RECIPE


def test_methods_differ_in_boundaries_and_shallow_twins_in_depth_alone():
    plan = planned("standard")
    runs = plan_runs(STUDY, plan)
    at = {method: spec for (_, seed, position, method), spec in runs.items() if seed == position == 0}
    assert set(at) == {
        "local", "bp", "bp-deepsup", "segments-3", "segments-2", "deepsup-3", "deepsup-2", "shallow-1", "shallow-2", "shallow-3", "ordinary",
    }  # fmt: skip
    assert [at[f"segments-{n}"].rule.options["segments"] for n in (3, 2)] == ["2-2-2", "3-3"]
    assert at["ordinary"].hash == at["bp"].hash
    for name, depth in (("bp", 6), ("shallow-1", 1), ("shallow-2", 2), ("shallow-3", 3)):
        assert at[name].network.options == {"depth": depth}
        assert at[name].with_settings({"network.depth": 6}).hash == at["bp"].hash
    for name in ("local", "bp-deepsup", "segments-2", "deepsup-3"):
        assert at[name].rule.options["fusion"] == "last"
        assert (at[name].recipe, at[name].data) == (at["bp"].recipe, at["bp"].data)


def nats_of(spec, seed, method):
    """PLANTED. BP loses 0.3 nats with every doubling of the bytes. Local blocks are 0.1 ahead at half a byte and lose 0.05 of that with every
    doubling; two segments are as BP is; supervision brings nothing; the shallow twin is 0.02 behind the local network."""
    ratio = spec.recipe.steps * RECIPE.batch_size * CONTEXT / parameters_of(spec.network.width)
    bp = 3 - 0.3 * log2(ratio) + 0.001 * seed
    lead = 0.1 - 0.05 * log2(ratio / 0.5)
    if method == "local":
        return bp - lead
    return bp - lead + 0.02 if method == "shallow-1" else bp


def planted(plan):
    records = {}
    for (_, seed, _, method), spec in plan_runs(STUDY, plan).items():
        nats, depth = nats_of(spec, seed, method), spec.network.options["depth"]
        blocks = {f"block{i}": nats - 0.01 * (depth - 1 - i) for i in range(depth)}  # the first is the best
        result = {
            "test_accuracy": 0.4, "block_accuracies": dict.fromkeys(blocks, 0.4), "group_accuracies": {}, "num_classes": 256, "chance": 0.2,
            "test_nats": nats, "block_nats": blocks, "data": {"name": "python_library", "provenance": {}},
        }  # fmt: skip
        records[spec.hash] = RunRecord(spec.hash, spec, ENV, result)
    return records


def test_planted_differences_are_found_in_bits():
    plan = planned()
    found = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan)))
    own = found.quantities["local-heads"]

    def value(name):
        values = own[name].values
        assert list(values) == ["0", "1", "2"]
        assert own[name].unit == "bits"
        return values["0"]

    assert value("ahead/0.5/6") == pytest.approx(0.1 / log(2), abs=1e-3)
    assert value("ahead/20/6") == pytest.approx((0.1 - 0.05 * log2(40)) / log(2), abs=1e-3)
    assert value("ahead_deepsup/0.5/6") == pytest.approx(0.1 / log(2), abs=1e-3)
    assert value("ahead/0.5/2") == pytest.approx(0.0)
    assert value("supervision/0.5/6") == pytest.approx(0.0)
    assert value("ahead_shallow/2/6") == pytest.approx(0.02 / log(2))
    assert value("deepening/0.5/6") == pytest.approx(-0.05 / log(2))
    assert value("ahead_bytes_slope/6") == pytest.approx(-0.05 / log(2), abs=1e-3)
    assert all(quantity.headroom is None for quantity in own.values())


def test_what_is_said_and_shown():
    plan = planned()
    found = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan)))
    whole, halves = found.sentences
    assert whole.startswith(
        "local-heads, 6 segments, a block each: above BP at 0.5 bytes a parameter; not told apart from BP at 2 bytes a parameter; below BP at 20"
    ) or whole.startswith("local-heads, 6 segments, a block each: above BP at 0.5")
    assert "last segment ahead of the first by −0.072 bits [" in whole
    assert halves.startswith("local-heads, 2 segments: not told apart from BP at 0.5, 2 and 20 bytes a parameter")
    ahead, blocks = found.figures
    assert (ahead.y.unit, ahead.y.better) == ("bits", "more")
    assert {series.panel for series in ahead.series} == {"6 segments, a block each", "2 segments"}
    local = next(series for series in blocks.series if series.name == "local-heads" and series.panel == "0.5")
    assert [point.x for point in local.points] == [1, 2, 3, 4, 5, 6]
    [table] = found.tables
    assert len(table.rows) == 5 * 2


def test_widths_have_a_slope_of_their_own():
    plan = planned("medium")
    own = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan))).quantities["local-heads"]
    assert own["ahead_width_slope/6"].values["0"] == pytest.approx(0.0, abs=0.01)
