"""Language: as many bytes as the ratio says, the first segment as its own shallow twin, and planted differences that are found in bits."""

from __future__ import annotations

from math import log, log2

import pytest
import torch
from test_studies import ENV, plan_of

from layerlocal import create_network, create_rule
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import make_rows, plan_runs
from layerlocal.experiments.studies.language import CONTEXT, DEPTH, RECIPE, parameters_of
from layerlocal.runs.store import RunRecord
from layerlocal.training.train import make_optimizer, train_step

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


def test_methods_differ_in_boundaries_alone():
    plan = planned("standard")
    runs = plan_runs(STUDY, plan)
    at = {method: spec for (_, seed, position, method), spec in runs.items() if seed == position == 0}
    assert set(at) == {
        "local", "bp", "bp-deepsup", "segments-3", "segments-2", "deepsup-3", "deepsup-2", "ordinary",
    }  # fmt: skip
    assert [at[f"segments-{n}"].rule.options["segments"] for n in (3, 2)] == ["2-2-2", "3-3"]
    assert at["ordinary"].hash == at["bp"].hash
    for name in ("local", "bp-deepsup", "segments-2", "deepsup-3"):
        assert at[name].rule.options["fusion"] == "last"
        assert (at[name].recipe, at[name].data) == (at["bp"].recipe, at["bp"].data)


def nats_of(spec, seed, method):
    """PLANTED. BP loses 0.3 nats with every doubling of the bytes. Local blocks are 0.1 ahead at half a byte and lose 0.05 of that with every
    doubling; two segments are as BP is; supervision brings nothing."""
    ratio = spec.recipe.steps * RECIPE.batch_size * CONTEXT / parameters_of(spec.network.width)
    bp = 3 - 0.3 * log2(ratio) + 0.001 * seed
    lead = 0.1 - 0.05 * log2(ratio / 0.5)
    return bp - lead if method == "local" else bp


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
    assert value("deepening/0.5/6") == pytest.approx(-0.05 / log(2))
    assert value("ahead_bytes_slope/6") == pytest.approx(-0.05 / log(2), abs=1e-3)
    assert all(quantity.headroom is None for quantity in own.values())


@pytest.mark.parametrize(
    ("rule", "segments", "depth"), [("local-heads", None, 1), ("segmented", "2-2", 2), ("blockwise-decoder", None, 1)]
)
def test_the_first_segment_is_backprop_of_its_depth_to_the_last_bit(rule, segments, depth):
    """Why no shallow twin is trained."""
    of = "local-heads" if segments else rule
    options = {} if segments is None else {"segments": segments}
    states = []
    for name, blocks, own in ((rule, 4, options), ("bp", depth, {"of": of})):
        network = create_network("gpt", vocabulary=16, context=8, width=0.25, depth=blocks, seed=1)
        made = create_rule(name, network, num_classes=16, seed=1, fusion="last", **own)
        optimizer = make_optimizer(made.train(), RECIPE)
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            x = torch.randint(16, (4, 9), generator=generator)
            train_step(made, x[:, :-1], x[:, 1:], optimizer, recipe=RECIPE)
        places = tuple(part for i in range(depth) for part in (f"network.blocks.{i}.", f"heads.block{i}."))
        states.append({key: value for key, value in made.state_dict().items() if key.startswith(places)})
    assert len(states[0]) == len(states[1]) > 10
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_what_is_said_and_shown():
    plan = planned()
    found = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan)))
    whole, halves = found.sentences
    assert whole.startswith(
        "local-heads, 6 segments, a block each: above BP at 0.5 bytes a parameter; not told apart from BP at 2 bytes a parameter; below BP at 20"
    ) or whole.startswith("local-heads, 6 segments, a block each: above BP at 0.5")
    assert "ahead of its first segment alone by −0.072 bits [" in whole
    assert halves.startswith("local-heads, 2 segments: not told apart from BP at 0.5, 2 and 20 bytes a parameter")
    ahead, blocks = found.figures
    assert (ahead.y.unit, ahead.y.better) == ("bits", "more")
    assert {series.panel for series in ahead.series} == {"6 segments, a block each", "2 segments"}
    local = next(
        series for series in blocks.series if series.name == "local-heads" and series.panel == "0.5 bytes a parameter"
    )
    assert [point.x for point in local.points] == [1, 2, 3, 4, 5, 6]
    [table] = found.tables
    assert len(table.rows) == 5 * 2


def test_widths_have_a_slope_of_their_own():
    plan = planned("medium")
    own = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan))).quantities["local-heads"]
    assert own["ahead_width_slope/6"].values["0"] == pytest.approx(0.0, abs=0.01)
