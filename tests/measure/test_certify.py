"""`certify`: local steps are local, every planted leak is found, what is kept and computed has a closed form, and nothing is left changed."""

from __future__ import annotations

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import steps_by_hand as steps
from layerlocal.measure.certify import certify
from layerlocal.rules import list_rules
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from rules_by_hand import X as IMAGES
from rules_by_hand import Y as LABELS
from rules_by_hand import make
from steps_by_hand import GLOBAL, LOCAL, B, D, L, X, blocks, greedy, loss_of, sgd

LOWER = [[i >= j for i in range(L)] for j in range(L)]


def certified(name):
    return certify(*{**LOCAL, **{key: make for key, (make, _) in GLOBAL.items()}}[name]())


def without_time(found):
    return {key: value for key, value in found.items() if key != "seconds"}


# --- no false alarm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_step_is_local_in_whatever_way_it_is_written(name):
    found = certified(name)
    assert (found["locality"], found["couplings"], found["untrained"]) == ("block", [], [])
    assert found["coupling"] == LOWER and not any(map(any, found["coupling_later"]))
    assert found["repeats"] and found["tolerance"] == 0
    assert found["segments"] == [[f"group{i}"] for i in range(L)]


def rule_step(name, recipe=None):
    rule, recipe = make(name).train(), recipe or Recipe()
    if rule.network.sees_images:
        rule.network.see(IMAGES)
    optimizer = make_optimizer(rule, recipe)
    groups = {block: group for block, group in rule.block_parameters().items() if group}
    return rule, (lambda: train_step(rule, IMAGES, LABELS, optimizer, recipe=recipe)), groups


@pytest.mark.parametrize("name", list_rules())
def test_the_certificate_of_a_rules_step_is_what_the_rule_declares(name):
    rule, step, groups = rule_step(name)
    assert certify(step, groups)["locality"] == rule.locality


def test_there_are_twenty_local_steps_and_more():
    local = [name for name in list_rules() if make(name).locality == "block"]
    assert len(local) >= 10 and len(LOCAL) >= 20


@pytest.mark.parametrize(
    "change", [{"clip": 1e-3}, {"step_per_block": True}, {"micro_batches": 2}, {"precision": "bf16"}]
)
def test_the_loops_own_recipes_keep_a_rule_local(change):
    assert certify(*rule_step("local-heads", Recipe(**change))[1:])["locality"] == "block"


# --- every planted leak -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GLOBAL)
def test_a_planted_leak_is_found_and_its_way_named(name):
    found = certified(name)
    first, last = found["groups"][0], found["groups"][-1]
    assert found["locality"] == "global" and found["verdict"].startswith("global: perturbing ")
    assert {"perturbed": last, "changed": first, "way": GLOBAL[name][1]} in found["couplings"]
    assert found["sentences"]


def test_a_leak_a_step_later_is_in_the_second_matrix_only():
    found = certified("borrowed average")
    assert found["coupling"] == LOWER
    assert found["coupling_later"][-1] == [True, False, False, False]


def test_a_detach_that_is_missing_in_the_middle_makes_segments_of_the_halves():
    found = certify(*steps.missing_detach(at=2))
    assert found["locality"] == "segment"
    assert found["segments"] == [["group0", "group1"], ["group2", "group3"]]
    assert found["coupling"] == [[True] * 4, [True] * 4, [False, False, True, True], [False, False, True, True]]
    assert found["gradient_reach"] == [[True, False, False, False], [True, True, False, False],
        [False, False, True, False], [False, False, True, True]] or found["gradient_reach"] == [
        [False, False, True, True], [False, False, True, False], [True, True, False, False], [True, False, False, False]]  # fmt: skip


def test_a_fusion_classifier_behind_a_boundary_is_local():
    assert certify(*steps.fusion(False))["locality"] == "block"


def test_embeddings_that_are_not_shared_are_local():
    found = certify(*steps.shared_embedding(tied=False))
    assert (found["locality"], found["shared"]) == ("block", [])
    assert certify(*steps.shared_embedding())["shared"] == [["group0", "group2"]]


def test_layers_that_a_reentrant_checkpoint_leaves_untrained_are_named():
    found = certify(*steps.untrained_by_checkpoint())
    assert found["untrained"] == ["group0", "group1", "group2", "group3"]
    assert "no gradient reaches group0, group1, group2 and group3" in found["verdict"]
    assert "only group4 is trained" in found["verdict"]


def test_a_frozen_group_and_one_without_an_optimizer_are_never_trained():
    parts = blocks()
    optimizer = torch.optim.SGD([p for i in (2, 3) for p in parts[i].parameters()], lr=0.1)
    parts[0].requires_grad_(False)

    def step():
        h = X
        for block in parts:
            h = block(h)
        loss_of(h).backward()
        optimizer.step()
        parts.zero_grad()

    found = certify(step, parts)
    assert found["untrained"] == ["group0", "group1"]
    assert any("no gradient reaches group0" in text for text in found["sentences"])
    assert any("no step changes group1" in text for text in found["sentences"])


def test_a_parameter_that_does_not_learn_in_a_group_that_does_is_counted():
    parts = nn.ModuleList([nn.ModuleList([block, nn.Linear(D, D)]) for block in blocks()])
    step, _ = greedy(parts=lambda: parts, call=lambda block, h: block[0](h))
    found = certify(step, parts)
    assert "never trained: 2 of the 3 parameters of group0" in found["sentences"] and found["untrained"] == []


def test_negatives_that_carry_the_true_label_are_beyond_a_certificate_of_credit_and_it_says_so():
    found = certify(*steps.true_negatives())
    assert (found["locality"], found["couplings"]) == ("block", [])
    assert "labels" in found["limits"] and "cannot be seen" in found["limits"]


def test_reading_one_group_ahead_makes_a_segment_of_windows():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for index, block in enumerate(parts):
            h = block(h.detach())
            later = parts[min(index + 1, L - 1)][0].weight.detach().norm()
            (loss_of(h) * later).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert (found["locality"], found["reads_ahead"]) == ("segment", 1)
    assert {entry["way"] for entry in found["couplings"]} == {"read"} and len(found["couplings"]) == L - 1


# --- bytes and FLOPs, in closed form ----------------------------------------------------------------------------------
#
# A block keeps its input and its output, B·D floats each, and an output is the next one's input. Its forward takes 2·B·D² FLOPs, its backward
# as many for the weights and, where the gradient goes on, as many for the input.


def test_a_greedy_step_keeps_two_activities_and_its_twin_all():
    found = certified("sgd")
    assert found["peak_saved_bytes"] == 2 * 4 * B * D
    assert found["peak_saved_bytes_end_to_end"] == (L + 1) * 4 * B * D
    assert found["saved_bytes_vs_end_to_end"] == 2 / (L + 1)
    assert found["boundaries"] == L - 1
    assert ", and lighter: 0.40× the saved activations" in found["verdict"]


def test_a_greedy_step_saves_the_flops_of_the_gradients_at_the_inputs():
    found, forward = certified("sgd"), 2 * B * D * D
    assert found["flops_per_step"] == 2 * L * forward
    assert found["flops_per_step_end_to_end"] == (3 * L - 1) * forward


def test_detach_with_one_summed_backward_is_local_but_not_lighter():
    found = certified("summed")
    assert found["peak_saved_bytes"] == found["peak_saved_bytes_end_to_end"] == (L + 1) * 4 * B * D
    assert (found["locality"], found["saved_bytes_vs_end_to_end"]) == ("block", 1)
    assert "block-local" in found["verdict"] and "but not lighter: 1.00×" in found["verdict"]


@pytest.mark.parametrize(
    "name",
    ["detach_", "data", "optimizer per block", "by hand", "own average", "logging", "stopped target", "momentum"],
)
def test_the_twin_is_the_same_however_the_gradient_is_cut_and_whatever_else_is_detached(name):
    found = certified(name)
    assert found["boundaries"] == L - 1
    assert found["flops_per_step_end_to_end"] == (3 * L - 1) * 2 * B * D * D


@pytest.mark.parametrize("name", steps.HIDDEN)
def test_weights_that_are_hidden_in_other_operations_hide_no_boundary(name):
    found = certify(*steps.HIDDEN[name]())
    assert (found["locality"], found["boundaries"], found["no_twin"]) == ("block", L - 1, "")
    assert found["flops_per_step_end_to_end"] - found["flops_per_step"] == (L - 1) * 2 * B * D * D
    assert found["saved_bytes_vs_end_to_end"] < 0.5


def test_a_rate_of_zero_in_the_first_step_hides_no_gradient():
    found = certify(*steps.warmed_up())
    assert found["locality"] == "global" and {entry["way"] for entry in found["couplings"]} == {"gradient"}


def test_a_search_that_calls_backward_as_often_as_it_likes_has_no_twin():
    assert certify(*steps.searched())["no_twin"] == "how often it calls backward hangs on its gradients"


def test_a_gradient_that_is_passed_on_by_hand_is_found_and_has_no_twin():
    found = certify(*steps.passed_by_hand())
    assert (found["locality"], found["no_twin"]) == ("global", "it passes gradients on by hand")
    assert found["coupling"] == [[True, True], [True, True]]


def test_a_step_without_boundaries_is_its_own_twin():
    found = certified("missing detach")
    assert (found["boundaries"], found["saved_bytes_vs_end_to_end"], found["flops_vs_end_to_end"]) == (0, 1, 1)
    assert "its own end-to-end twin" in found["verdict"]


def test_where_the_gradient_is_cut_out_of_sight_there_is_no_twin_and_a_sentence():
    found = certify(*greedy(feed=lambda h: torch.from_numpy(h.detach().numpy())))
    assert found["locality"] == "block" and found["saved_bytes_vs_end_to_end"] is found["flops_vs_end_to_end"] is None
    assert "no end-to-end twin can be made" in found["verdict"] and "numbers that leave PyTorch" in found["no_twin"]


def test_gradients_of_gradients_have_no_twin():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            inner = h.detach().requires_grad_()
            h = block(inner)
            (slope,) = torch.autograd.grad(loss_of(h), inner, create_graph=True)
            slope.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert found["locality"] == "block" and found["no_twin"] == "it takes gradients of gradients"
    assert found["flops_per_step"] is None and found["peak_saved_bytes"] > 0


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_computes_again_is_counted(reentrant):
    """Around a block of its own: forward twice, and both gradients. Around all blocks: in backward all activities are there again."""
    found = certify(*steps.checkpointed(reentrant))
    assert found["flops_per_step"] == 4 * L * 2 * B * D * D
    parts = blocks()
    optimizer, x = sgd(parts), X.clone().requires_grad_()

    def step():
        loss_of(checkpoint(nn.Sequential(*parts), x, use_reentrant=reentrant)).backward()
        optimizer.step()
        optimizer.zero_grad()
        x.grad = None

    assert certify(step, parts)["peak_saved_bytes"] == (L + 1) * 4 * B * D


def test_a_statistic_without_a_gradient_hides_no_boundary_and_stays_without_one():
    """With every detach taken away a graph would be written into it; the next run must not find that."""
    parts, mean = blocks(), torch.zeros(())
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            mean.lerp_(h.detach().mean(), 0.1)
            (loss_of(h) / (1 + mean)).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert found["saved_bytes_vs_end_to_end"] is not None and found["boundaries"] >= L - 1
    assert mean.is_leaf and not mean.requires_grad and mean == 0


def halves(moved):
    parts = blocks(8)
    optimizer = sgd(parts)

    def half(h, some):
        for block in some:
            h = block(h)
        return h

    def step():
        h = half(X, parts[:4])
        loss = loss_of(h)
        if moved:
            loss.backward()
            loss = 0.0
        h = half(h.detach(), parts[4:])
        (loss + loss_of(h)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


def test_moving_the_first_backward_before_the_second_half_halves_what_is_kept():
    """9 activities are kept of 8 blocks end to end, 5 of a half."""
    before, after = certify(*halves(False)), certify(*halves(True))
    assert before["segments"] == after["segments"] and before["locality"] == after["locality"] == "segment"
    assert (before["saved_bytes_vs_end_to_end"], after["saved_bytes_vs_end_to_end"]) == (1, 5 / 9)
    assert "but not lighter" in before["verdict"] and "and lighter" in after["verdict"]


# --- the same every time, and nothing left behind ---------------------------------------------------------------------


def test_a_verdict_is_the_same_twenty_times():
    for name in ("adam", "borrowed average", "clip that would bite"):
        made = {**LOCAL, **{key: make for key, (make, _) in GLOBAL.items()}}[name]()
        first = without_time(certify(*made))
        for seed in range(19):
            torch.manual_seed(seed)  # the caller's random numbers count for nothing
            assert without_time(certify(*made)) == first


def state_of(made):
    """All that a trainer holds, as plain values."""
    tensors = [*made.parts.parameters(), *made.parts.buffers()]
    return {
        "weights": [t.detach().clone() for t in tensors],
        "addresses": [t.data_ptr() for t in tensors],
        "gradients": [None if p.grad is None else p.grad.clone() for p in made.parts.parameters()],
        "wants": [t.requires_grad for t in tensors],
        "modes": [m.training for m in made.parts.modules()],
        "optimizer": copy.deepcopy(made.optimizer.state_dict()),
        "schedule": copy.deepcopy(made.schedule.state_dict()),
        "draws": made.draws.get_state(),
        "steps": made.steps,
        "random": [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()],
    }


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("raises", [None, 1, 2, 7, 15])
def test_everything_is_as_it_was_bit_by_bit_after_an_exception_too(after, raises):
    """Before the first step (an optimizer without state) and later; whichever of the calls raises."""
    made = steps.Trainer()
    for _ in range(after):
        made.step()
    made.parts[1].eval()
    made.parts[0][0].weight.grad = torch.ones(D, D)
    calls = []

    def step():
        made.step()
        random.random(), np.random.rand(), torch.rand(())
        calls.append(None)
        if len(calls) == raises:
            made.parts[2][0].weight.data = torch.zeros(D, D)
            made.parts.half().requires_grad_(False)
            raise ValueError("no more")

    before = state_of(made)
    if raises is None:
        certify(step, made.parts)
    else:
        calls_found = certify_or_refuse(step, made.parts)
        assert raises > 6 or calls_found is None
    assert same(state_of(made), before)


def certify_or_refuse(step, parts):
    """The certificate; ``None`` where it is refused."""
    from layerlocal.types import InputError

    try:
        return certify(step, parts)
    except InputError as error:
        assert "no more" in str(error) and "\n" not in str(error)
        return None


def test_the_next_step_is_the_one_it_would_have_been():
    certified_one, other = steps.Trainer(), steps.Trainer()
    certify(certified_one.step, certified_one.parts)
    torch.manual_seed(0)
    certified_one.step()
    torch.manual_seed(0)
    other.step()
    one, two = state_of(certified_one), state_of(other)
    assert same(one | {"addresses": 0}, two | {"addresses": 0})


def test_closures_and_globals_of_plain_values_are_put_back():
    parts, count = blocks(), 0
    optimizer, seen = sgd(parts), {"loss": []}

    def step():
        nonlocal count
        count += 1
        h = X / count
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
            seen["loss"].append(float(loss_of(h)))
        optimizer.step()
        optimizer.zero_grad()

    assert certify(step, parts)["repeats"]
    assert (count, seen, len(optimizer.state)) == (0, {"loss": []}, 0)


def test_a_gradient_that_accumulates_from_step_to_step_is_part_of_the_state():
    parts = blocks()
    optimizer = sgd(parts)
    for p in parts.parameters():
        p.grad = torch.full_like(p, 0.5)
    kept = [p.grad for p in parts.parameters()]

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()

    assert certify(step, parts)["locality"] == "block"
    assert all(p.grad is k and bool((k == 0.5).all()) for p, k in zip(parts.parameters(), kept, strict=True))


def test_rounding_that_differs_from_run_to_run_is_measured_and_allowed_for():
    """A sum in another order each time, as some kernels of a GPU have it."""
    order = random.SystemRandom()

    def noisy(leak):
        parts = blocks()
        optimizer = sgd(parts)

        def step():
            h = X[order.sample(range(B), B)]
            for block in parts:
                h = block(h if leak else h.detach())
                loss_of(h).backward(retain_graph=leak)
            optimizer.step()
            optimizer.zero_grad()

        return certify(step, parts)

    local, leaky = noisy(False), noisy(True)
    assert not local["repeats"] and 1e-4 <= local["tolerance"] < 1e-3
    assert local["locality"] == "block" and leaky["locality"] == "global"
    assert any("does not repeat itself bit by bit" in text for text in local["sentences"])


def test_code_that_refuses_wild_numbers_is_certified_by_tame_ones():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss = loss_of(h)
            if loss > 1e3:
                raise FloatingPointError("the loss explodes")
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert found["coupling"] == LOWER and found["locality"] == "block"


def test_it_works_inside_no_grad_and_leaves_torch_as_it_was():
    step, parts = greedy()
    backward, grad, hooks = (
        torch.autograd.backward,
        torch.autograd.grad,
        torch.autograd.graph.saved_tensors_hooks.__init__,
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert certify(step, parts)["locality"] == "block"
        assert not torch.is_grad_enabled()
    assert (torch.autograd.backward, torch.autograd.grad) == (backward, grad)
    assert torch.autograd.graph.saved_tensors_hooks.__init__ is hooks
    assert not any(p._backward_hooks for p in parts.parameters())


# --- larger ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["summed", "moved"])
def test_the_example_of_a_language_model_is_what_its_page_says(name, monkeypatch):
    from pathlib import Path

    from layerlocal.measure.certify import certify_file

    found = certify_file(f"{Path(__file__).parents[2] / 'examples/certify_step.py'}:{name}")
    assert found["segments"] == [["embed", "block0", "block1"], ["block2", "block3"]]
    lighter = found["saved_bytes_vs_end_to_end"] < 0.55
    assert (lighter, found["locality"], found["flops_vs_end_to_end"]) == (name == "moved", "segment", 1)


def test_a_llama_of_the_library_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer, ids = torch.optim.AdamW(model.parameters()), torch.randint(32, (2, 8))

    def step():
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    inner = model.model
    groups = {
        "embed": inner.embed_tokens,
        "0": inner.layers[0],
        "1": inner.layers[1],
        "head": [inner.norm, model.lm_head],
    }
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert certify(step, groups)["locality"] == "global"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "name", ["adam", "batch norm", "dropout", "checkpoint", "missing detach", "clip that would bite"]
)
def test_on_a_gpu_the_verdict_is_that_of_the_cpu(name, monkeypatch):
    expected = certified(name)
    monkeypatch.setattr(steps, "X", X.cuda())
    monkeypatch.setattr(steps, "Y", steps.Y.cuda())
    plain = steps.blocks
    monkeypatch.setattr(steps, "blocks", lambda *args, **options: plain(*args, **options).cuda())
    found = certified(name)
    assert (found["locality"], found["coupling"]) == (expected["locality"], expected["coupling"])


def test_a_checkpoint_inside_an_end_to_end_step_couples_as_without():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = checkpoint(block, h, use_reentrant=False)
        loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, parts)
    assert (found["locality"], found["coupling"]) == ("global", [[True] * L] * L)
