"""Cost of networks for text: named as before where there is none, FLOPs in closed form, axes that text has, and what is refused."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from test_cost import own_server  # noqa: F401  (a fixture)
from test_cost_audit import planted

from layerlocal.experiments.cost.building import Trainer
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.driver import CostAudit
from layerlocal.experiments.cost.measure import count_costs, measure_alone
from layerlocal.experiments.cost.plan import make_plan
from layerlocal.experiments.cost.theory import limits
from layerlocal.experiments.driver import How
from layerlocal.experiments.driver import run as run_experiment
from layerlocal.networks import create_network
from layerlocal.report import render_page
from layerlocal.spec import NetworkSpec, RuleSpec
from layerlocal.types import InputError

B, T, V, D, L = 4, 12, 20, 32, 3
GPT = {"network.name": "gpt", "network.width": 0.25, "context": 16, "recipe.batch_size": 8, "network.depth": 2}


def case(rule="bp", mode="plain", **more):
    network = NetworkSpec(name="gpt", width=0.25, fused=True, options={"depth": L})
    content = {"context": T, "num_classes": V, "batch_size": B, **more}
    return CostCase(network=network, rule=RuleSpec(name=rule), mode=mode, **content)


def test_a_case_of_images_is_written_as_it_was_before_there_was_text():
    assert set(CostCase().model_dump(mode="json")) == {
        "network", "rule", "mode", "image_size", "in_channels", "num_classes", "batch_size", "precision", "optimizer", "threads", "device",
        "seed",
    }  # fmt: skip
    assert case().model_dump(mode="json")["context"] == T
    assert CostCase.parse(case().model_dump(mode="json")) == case()


def test_a_case_of_text_says_its_context_and_vocabulary():
    assert case().place == f"gpt, width 0.25, depth {L}, context {T}, batch {B}"
    assert f"vocabulary {V}, float32" in case().setting and "px" not in case().setting


def block_flops():
    """Of a sample: 12 D² weights a token, and of each pair of tokens q k and its product with v."""
    return 2 * T * 12 * D**2 + 2 * 2 * T**2 * D


def test_flops_of_a_transformer_in_closed_form():
    found = limits(create_network("gpt", vocabulary=V, context=T, hidden=D, depth=L), B)
    attention = 4 * T**2 * D
    assert found["forward_flops"] == B * L * block_flops()
    assert found["bp_flops"] == found["local_flops"] == B * L * (3 * block_flops() + attention // 2)
    outputs = T * (3 * D + D + D + 4 * D + D)  # q, k and v, attention, its join, and the two maps of the MLP
    assert found["local_floor_bytes"] == 4 * B * (T * D + outputs)
    assert found["bp_floor_bytes"] == 4 * B * (T + (L - 1) * T * D + L * outputs)


@pytest.mark.parametrize(("rule", "heads"), [("bp", 1), ("bp-deepsup", L), ("local-heads", L)])
def test_counted_flops_of_a_step_on_text_are_the_closed_form_and_the_heads(rule, heads):
    found = count_costs(Trainer(case(rule)))
    key = "local_flops" if rule == "local-heads" else "bp_flops"
    assert found["flops_per_step"] == found["limits"][key] + heads * 3 * 2 * B * T * D * V


def test_of_a_vit_the_patches_alone_need_no_gradient_at_their_input():
    found = limits(create_network("vit", in_channels=3, image_size=8, patch=4, hidden=D, depth=2), B)
    tokens = 1 + (8 // 4) ** 2
    patches = 2 * 4 * D * 3 * 4**2
    blocks = 2 * (2 * tokens * 12 * D**2 + 4 * tokens**2 * D)
    attention = 2 * 4 * tokens**2 * D
    assert found["forward_flops"] == B * (patches + blocks)
    assert found["local_flops"] == found["bp_flops"] == B * (2 * patches + 3 * blocks + attention // 2)


@pytest.mark.parametrize("rule", ["bp", "bp-deepsup"])
def test_checkpointing_on_text_makes_the_same_step_and_keeps_less(rule):
    plain, lean = (Trainer(case(rule, mode)) for mode in ("plain", "checkpointing"))
    assert count_costs(lean)["peak_saved_bytes"] < count_costs(plain)["peak_saved_bytes"]
    plain, lean = (Trainer(case(rule, mode)) for mode in ("plain", "checkpointing"))
    plain.step(), lean.step()
    for (name, left), (_, right) in zip(plain.rule.named_parameters(), lean.rule.named_parameters(), strict=True):
        torch.testing.assert_close(left, right, msg=name)


def test_a_process_measures_text_alone_by_a_rule_that_deals_channels_too():
    dealt = case("cwcomp", num_classes=16)
    assert measure_alone(dealt, steps=1).keys() >= {"resident_bytes", "idle_bytes"}


def test_of_text_a_plan_has_bytes_as_classes_and_the_axes_that_text_has():
    plan = make_plan("quick", settings={"network.name": "gpt"})
    assert plan.rules == ("class-goodness", "local-heads")
    assert {(c.context, c.num_classes) for group in plan.groups for c in group.cases} == {(128, 256)}
    assert [axis.name for axis in plan.axes] == ["depth", "width", "batch_size", "context"]
    assert {axis.base.network.name for axis in plan.axes} == {"gpt"}
    lengths = plan.axes[-1]
    cases = plan.scaling(lengths)["cases"].values()
    assert {content["context"] for content in cases} == {32, 64, 128, 256}
    chosen = make_plan("quick", parts=("methods",), settings=GPT | {"num_classes": 50})
    assert {(c.context, c.num_classes, c.batch_size) for c in chosen.groups[0].cases} == {(16, 50, 8)}


def test_a_vit_is_measured_like_any_network_of_images():
    plan = make_plan("quick", parts=("scaling",), settings={"network.name": "vit"})
    assert [axis.name for axis in plan.axes] == ["depth", "width", "batch_size", "image_size", "num_classes"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"network.name": "gpt", "image_size": 32}}, "image_size is of images, and network 'gpt' takes text"),
        ({"settings": {"network.name": "gpt", "in_channels": 1}}, "in_channels is of images, and network 'gpt' takes text"),
        ({"settings": {"context": 64}}, "context is of text, and network 'vgg8' takes images"),
        ({"settings": {"network.name": "gpt", "context": 0}}, "context"),
        ({"settings": {"network.name": "gpt"}, "rules": ("ff",)}, "rule 'ff' makes inputs of its own"),
    ],
)  # fmt: skip
def test_sizes_of_the_other_kind_and_rules_that_read_no_text_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        make_plan("quick", parts=("methods",), **options)


def planted_text(request):
    """PLANTED: as of images, where a token takes the room of a row of pixels."""
    if request["kind"] == "fits":
        first = next(iter(request["cases"].values()))
        return {"fits": 1000 * first["batch_size"] * first["context"] <= request["budget_bytes"] - 100_000}
    return planted(request)


def test_a_page_of_text_names_no_pixels_and_says_nothing_of_claims_about_images(tmp_path):
    made = CostAudit(
        rules=["class-goodness"], modes=["plain", "micro-4"], memory="2MB", settings=GPT, threads=1, measure=planted_text,
        parts=["methods", "scaling", "budget"], command="layerlocal cost planted",
    )  # fmt: skip
    summary = run_experiment(made, tmp_path, How(console=Console(quiet=True)))
    page = render_page(summary)
    assert "largest batch at context 16" in page and "context, tokens" in page
    assert " px" not in page and "largest images" not in page and "2606.06539" not in page
    assert summary.quantities == {}
    budget = [row for row in summary.rows if row["part"] == "budget"]
    most = (2_000_000 - 100_000) // (1000 * 16)
    assert budget[0]["largest_batch"] == pytest.approx(most, rel=0.1)
    most = (2_000_000 - 100_000) // (1000 * 8)
    assert {row["largest_context"] % 16 for row in budget} == {0}
    assert all(0.9 * most <= row["largest_context"] <= most and not row["context_stopped"] for row in budget)
    assert "longest context at batch 8, tokens" in page
    assert any("at batch 8, the longest context in tokens: bp 224" in sentence for sentence in summary.sentences)
