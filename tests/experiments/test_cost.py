"""Cost: closed forms against counted FLOPs and bytes, the search for the largest size, units, and what a mistake looks like."""

from __future__ import annotations

from multiprocessing import forkserver

import pytest
import torch
from torch import nn

from layerlocal.experiments.cost.budget import parse_memory, refuse_below_weights, sizes_to_try
from layerlocal.experiments.cost.building import Trainer, check_case, has_no_effect
from layerlocal.experiments.cost.case import CostCase, parse_mode
from layerlocal.experiments.cost.findings import pareto_front
from layerlocal.experiments.cost.measure import count_costs, is_out_of_memory, measure_turns
from layerlocal.experiments.cost.plan import make_plan
from layerlocal.experiments.cost.process import run_fresh
from layerlocal.experiments.cost.roofline import classify, measure_roofline
from layerlocal.experiments.cost.theory import limits, trace_layers
from layerlocal.measure import measure_flops
from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule, list_rules
from layerlocal.runs.listing import rule_facts
from layerlocal.spec import NetworkSpec, RuleSpec
from layerlocal.types import InputError

B, K = 4, 5


@pytest.fixture(scope="module", autouse=True)
def own_server():
    """Other test files start their workers from a server that has imported other things."""
    yield
    forkserver._forkserver._stop()


def case(rule="bp", *, network="cnn4", width=0.25, mode="plain", fused=False, options=None, **more):
    spec = NetworkSpec(name=network, width=width, fused=fused, options=options or {})
    content = {"image_size": 16, "num_classes": K, "batch_size": B, **more}
    return CostCase(network=spec, rule=RuleSpec(name=rule), mode=mode, **content)


def counted(rule, **more):
    return count_costs(Trainer(case(rule, **more)))


# --- what theory allows -----------------------------------------------------------------------------------------------


def conv_flops(c_in, c_out, side, kernel=3):
    return 2 * kernel**2 * c_in * c_out * side**2


def test_forward_flops_are_those_of_the_convolutions():
    network = create_network("cnn4", in_channels=3, image_size=16, width=0.25)
    by_hand = [conv_flops(3, 8, 16), conv_flops(8, 16, 8), conv_flops(16, 32, 4), conv_flops(32, 32, 2)]
    assert [layer.flops for layer in trace_layers(network)] == by_hand
    found = limits(network, B)
    assert found["forward_flops"] == B * sum(by_hand)
    assert found["bp_flops"] == B * (3 * sum(by_hand) - by_hand[0])
    assert found["local_flops"] == B * 2 * sum(by_hand)


def test_inside_a_block_of_two_layers_only_the_second_needs_a_gradient_at_its_input():
    blocks = [nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4)), nn.Linear(4, 3)]
    found = limits(Network(blocks, sample_shape=(6,)), B)
    first, second, third = 2 * 6 * 10, 2 * 10 * 4, 2 * 4 * 3
    assert found["local_flops"] == B * (2 * first + 3 * second + 2 * third)
    assert found["bp_flops"] == B * (2 * first + 3 * second + 3 * third)
    assert found["local_floor_bytes"] == 4 * B * (6 + 10 + 4)
    assert found["bp_floor_bytes"] == 4 * B * (6 + 10 + 4 + 4 + 3)


@pytest.mark.parametrize("network", ["cnn4", "resnet18"])
def test_closed_form_flops_and_readouts_are_the_counted_flops(network):
    """Readouts are linear maps whose input needs a gradient: three times their forward. Only the last block has one in bp."""
    size = {"network": network, "width": 0.125, "image_size": 16}
    for rule, key in (("bp", "bp_flops"), ("local-heads", "local_flops")):
        trainer = Trainer(case(rule, **size))
        heads = [part for part in trainer.rule.heads.modules() if isinstance(part, nn.Linear)]
        readouts = sum(3 * 2 * B * part.in_features * part.out_features for part in heads)
        found = count_costs(trainer)
        averaging = found["flops_per_step"] - found["limits"][key] - readouts
        assert 0 <= averaging < 0.02 * found["flops_per_step"]  # the readout's averages over cells, as matrix products


def test_the_limits_of_vgg_are_those_of_the_field_notes():
    """Its table of networks with one convolution a block."""
    for name, flops, outputs in (("vgg16", 0.67, 0.24), ("vgg8", 0.67, 0.42)):
        found = limits(create_network(name, in_channels=3, image_size=32, width=0.25), 2)
        assert found["flops_ratio"] == pytest.approx(flops, abs=0.012), name
        assert found["outputs_ratio"] == pytest.approx(outputs, abs=0.012), name


def test_no_trainer_keeps_less_than_its_floor_and_a_fused_one_little_more():
    for rule, key in (("bp", "bp_floor_bytes"), ("class-goodness", "local_floor_bytes")):
        plain, fused = counted(rule, image_size=32), counted(rule, image_size=32, fused=True)
        floor = fused["limits"][key]
        assert floor <= fused["peak_saved_bytes"] < 1.1 * floor
        assert fused["peak_saved_bytes"] < plain["peak_saved_bytes"]


def test_tracing_leaves_a_network_as_it_was():
    network = create_network("cnn4", in_channels=3, image_size=16, width=0.25, seed=0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    limits(network, B)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# --- counts -----------------------------------------------------------------------------------------------------------


def test_micro_batches_keep_the_flops_and_cut_what_is_saved():
    whole, parts = (
        counted("bp", batch_size=8, image_size=32),
        counted("bp", batch_size=8, image_size=32, mode="micro-4"),
    )
    assert parts["flops_per_step"] == whole["flops_per_step"]
    assert parts["peak_saved_bytes"] < 0.4 * whole["peak_saved_bytes"]


@pytest.mark.parametrize("rule", list_rules())
def test_the_cost_audit_counts_the_flops_of_the_run_record(rule):
    """Whatever the rule is made of, groups of convolutions too: one counter."""
    of = rule_facts(rule).tried_on or "cnn4"
    trainer = Trainer(case(rule, network=of, num_classes=4))  # which divides the channels
    found, step, few = count_costs(trainer), measure_flops(trainer.rule, trainer.x, trainer.y), trainer.x[:2]
    prediction = measure_flops(trainer.rule, few, trainer.y[:2])
    assert found["flops_per_step"] == step["flops_per_step"] > 0
    assert found["flops_per_prediction"] == prediction["flops_per_prediction"] // len(few) > 0


@pytest.mark.parametrize("rule", ["committee", "panel"])
def test_the_flops_of_grouped_heads_are_those_of_their_layers(rule, monkeypatch):
    """Forward of a sample by the hooks of every convolution and linear map, once for dW; dX of a block's input is not needed."""
    trainer = Trainer(case(rule, num_classes=4))
    forward = []

    def note(layer, inputs, out):
        positions = out[0, 0].numel() if layer.weight.dim() == 4 else out.numel() // out.shape[0] // out.shape[-1]
        forward.append(2 * len(out) * positions * layer.weight.numel())

    hooks = [
        part.register_forward_hook(note) for part in trainer.rule.modules() if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    trainer.step()
    for hook in hooks:
        hook.remove()
    ratio = count_costs(trainer)["flops_per_step"] / sum(forward)
    assert 2 < ratio <= 3.01, "forward, dW and dX at the most; the averages over cells are small"


def test_checkpointing_saves_less_for_more_flops():
    deep = {"network": "plain", "options": {"depth": 12}, "image_size": 16}
    plain, checked = counted("bp", **deep), counted("bp", mode="checkpointing", **deep)
    assert checked["peak_saved_bytes"] < 0.8 * plain["peak_saved_bytes"]
    assert plain["flops_per_step"] < checked["flops_per_step"] <= 4 / 3 * plain["flops_per_step"] * 1.01
    assert checked["passes_per_step"] == 2


def test_trying_every_label_takes_a_pass_a_class():
    found = {k: counted("ff", num_classes=k) for k in (4, 12)}
    assert {k: row["passes_per_prediction"] for k, row in found.items()} == {4: 4, 12: 12}
    assert found[12]["flops_per_prediction"] == 3 * found[4]["flops_per_prediction"]
    assert found[4]["passes_per_step"] == 2


def test_turns_give_every_method_as_many_rounds_and_its_own_batch():
    cases = {"a": case("bp"), "b": case("class-goodness", batch_size=2 * B)}
    found = measure_turns(cases, rounds=3)
    assert {label: len(row["samples_per_s"]) for label, row in found.items()} == {"a": 3, "b": 3}
    assert all(speed > 0 for row in found.values() for speed in row["samples_per_s"])
    assert found["b"]["limits"]["local_flops"] == 2 * found["a"]["limits"]["local_flops"]
    assert found["a"]["locks"]["backward"] and not found["b"]["locks"]["backward"]


SICK = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Sick(LocalHeads):
    info = RuleInfo(name="sick", locality="block")
    calls = 0

    def local_loss(self, index, activity, y):
        self.calls += 1
        if self.calls > {most}:
            raise ValueError("the moon is full")
        return super().local_loss(index, activity, y)
"""


@pytest.mark.parametrize("most", [0, 25], ids=["while it is counted", "while it takes turns"])
def test_a_rule_that_raises_fails_alone_where_it_is_asked_for(tmp_path, most):
    (tmp_path / "sick.py").write_text(SICK.format(most=most))
    cases = {"bp": case("bp"), "sick": case(f"{tmp_path / 'sick.py'}:Sick")}
    found = measure_turns(cases, rounds=20, apart=True)
    assert len(found["bp"]["samples_per_s"]) == 20
    assert found["sick"].keys() == {"failed"} and "raised ValueError at sick.py" in found["sick"]["failed"]
    with pytest.raises(ValueError, match="the moon is full"):
        measure_turns(cases, rounds=20)


def test_the_profile_adds_up_and_the_share_is_of_the_ceiling():
    found = measure_roofline({"bp": case("bp", fused=True)}, rounds=2, small=True)
    row = found["rules"]["bp"]
    assert sum(row["operations"].values()) == pytest.approx(1)
    assert row["operations"]["convolution backward"] > 0 and row["operations"]["optimizer"] > 0
    assert 0 < row["share"] < 1.5 and found["matrix_flops_per_s"] > 0 and found["copy_bytes_per_s"] > 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution forward"), ("aten::convolution_backward", "convolution backward"),
        ("aten::native_batch_norm_backward", "batch norm"), ("aten::max_pool2d_with_indices", "pooling"),
        ("aten::addmm", "readout"), ("_NormActBackward", "fused kernels"), ("aten::mul", "element-wise and copies"), ("a name", "other"),
    ],
)  # fmt: skip
def test_operations_are_sorted_by_name(name, kind):
    assert classify(name) == kind


# --- the budget -------------------------------------------------------------------------------------------------------


def largest_fitting(fits, **options):
    sizes = sizes_to_try(**options)
    size = next(sizes)
    try:
        while True:
            size = sizes.send(fits(size))
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize(
    ("start", "quantum", "most"), [(8, 4, 1000), (32, 4, 1000), (500, 4, 1000), (1, 1, 37), (64, 32, 512)]
)
def test_the_search_finds_the_largest_that_fits_a_planted_memory(start, quantum, most):
    for budget in (0, 150, 260, 999, 5000, 10**9):
        asked = []

        def fits(size, budget=budget, asked=asked):
            asked.append(size)
            return 100 + 7 * size <= budget

        by_hand = [size for size in range(quantum, most + 1, quantum) if 100 + 7 * size <= budget]
        found = largest_fitting(fits, start=start, quantum=quantum, most=most)
        assert found == (by_hand[-1] if by_hand else None)
        assert len(asked) == len(set(asked)) and all(size % quantum == 0 and size <= most for size in asked)


def test_a_tolerance_spares_tries_and_never_names_what_does_not_fit():
    asked = []
    found = largest_fitting(
        lambda size: bool(asked.append(size)) or size <= 777, start=8, quantum=1, most=10**6, tolerance=0.1
    )
    assert 777 / 1.1 <= found <= 777
    exact = []
    assert largest_fitting(lambda size: bool(exact.append(size)) or size <= 777, start=8, quantum=1, most=10**6) == 777
    assert len(asked) < len(exact)


def test_units_of_memory():
    sizes = {"8GB": 8 * 10**9, "1.5 MiB": 3 * 2**19, "300mb": 3 * 10**8, "2KiB": 2048, "7kb": 7000, "1GiB": 2**30}
    assert {text: parse_memory(text) for text in sizes} == sizes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8 quarts", "unknown unit 'quarts'"),
        ("8", "no unit"),
        ("much", "number and a unit"),
        ("0GB", "more than nothing"),
    ],
)
def test_a_budget_that_is_none_is_refused_in_a_sentence(text, words):
    with pytest.raises(InputError, match=words):
        parse_memory(text)


def test_a_budget_below_weights_and_optimizer_state_is_refused():
    rule = create_rule(
        "bp", create_network("mlp", in_channels=10, image_size=1, depth=1, hidden=100, norm=False), num_classes=2
    )
    weights = 4 * sum(p.numel() for p in rule.parameters())
    options = {"depth": 1, "hidden": 100, "norm": False}
    vectors = case(network="mlp", image_size=1, in_channels=10, num_classes=2, options=options, width=1.0)
    refuse_below_weights(vectors, 2 * weights + 8000)
    for given, optimizer in ((2 * weights - 4, "sgd"), (3 * weights - 4, "adamw")):
        with pytest.raises(InputError, match=r"below .*optimizer state of mlp"):
            refuse_below_weights(vectors.but(optimizer=optimizer), given)


def test_a_process_is_refused_memory_beyond_its_budget():
    """One tensor alone, the batch, is 8 MB: 6 MB cannot hold it, 200 MB hold the whole step."""
    big = case(image_size=32, batch_size=652, width=0.0625).model_dump(mode="json")
    tight = run_fresh({"kind": "fits", "cases": {"a": big}, "budget_bytes": 6 * 10**6, "steps": 1})
    wide = run_fresh({"kind": "fits", "cases": {"a": big}, "budget_bytes": 2 * 10**8, "steps": 1})
    assert not tight["fits"] and "alloc" in tight["reason"].lower()
    assert wide == {"fits": True}


def test_what_running_out_of_memory_looks_like_is_told_from_other_errors():
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory")
    )
    assert is_out_of_memory(RuntimeError("could not execute a primitive"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_of_two_points_the_lighter_and_faster_one_is_on_the_front():
    assert pareto_front([(1.0, 1.0), (0.5, 1.2), (0.4, 0.9), (0.4, 0.8), (2.0, 1.2)]) == [1, 2]


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "tiny"}, "unknown size 'tiny'"),
        ({"parts": ["speed"]}, "unknown part 'speed'"),
        ({"modes": ["micro-1"]}, "unknown mode 'micro-1'"),
        ({"rules": ["dtgff"]}, r"'dtgff'.*Did you mean 'dtg-ff'"),
        ({"settings": {"network.name": "vgg9"}}, "unknown network 'vgg9'"),
        ({"settings": {"recipe.precision": "int8"}}, "precision"),
        ({"modes": ["micro-5"], "settings": {"network.name": "cnn4", "recipe.batch_size": 32}}, "micro-5.*multiple of 5"),
        ({"memory": "8 quarts"}, "unknown unit"),
        ({"memory": "1KB", "parts": ["budget"]}, "below the weights"),
        ({"rules": ["class-goodness"], "modes": ["checkpointing"]}, "checkpointing has no effect on 'class-goodness'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_plan_is_one_sentence_before_anything_is_measured(options, words):
    with pytest.raises(InputError, match=words) as caught:
        make_plan(**{"parts": ["methods"], **options})
    assert "\n" not in str(caught.value)


def test_a_mode_that_means_nothing_to_one_rule_is_left_out_with_its_reason():
    plan = make_plan(parts=["methods"], settings={"network.name": "cnn4", "network.width": 0.25})
    modes = {name: [c.mode for c in plan.groups[0].cases if c.rule.name == name] for name in ("bp", "class-goodness")}
    assert modes["bp"] == ["plain", "micro-2", "micro-4", "micro-8", "checkpointing"]
    assert modes["class-goodness"] == ["plain", "micro-2", "micro-4", "micro-8", "step-per-block"]
    assert any("class-goodness with checkpointing" in note for note in plan.notes)
    assert any("bp with step-per-block" in note for note in plan.notes)


def test_a_rule_that_compares_samples_takes_no_micro_batches():
    rule = check_case(case("class-goodness"))
    assert has_no_effect("micro-2", rule) is None
    type(rule).compares_samples, own = property(lambda self: True), type(rule).compares_samples
    try:
        assert "compares the samples" in has_no_effect("micro-2", rule)
    finally:
        type(rule).compares_samples = own


def test_modes_set_the_recipe():
    assert parse_mode("micro-8") == {"micro_batches": 8}
    recipe = case("class-goodness", mode="step-per-block").recipe
    assert recipe.step_per_block and not recipe.checkpointing and recipe.micro_batches == 1
