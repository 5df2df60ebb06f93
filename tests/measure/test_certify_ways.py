"""`certify` names the true way of a coupling, or both, and takes away every cut it can see in the twin."""

from __future__ import annotations

import pytest
import torch

import steps_by_hand as steps
from layerlocal.measure.certify import certify
from steps_by_hand import B, D, L

FORWARD = 2 * B * D * D


def ways(found):
    return {(entry["perturbed"], entry["changed"]): entry["way"] for entry in found["couplings"]}


# --- by a gradient, by its size, or by both ---------------------------------------------------------------------------


def test_weights_that_move_within_a_call_are_no_clipping_norm():
    found = certify(*steps.two_updates())
    assert ways(found) == {("group1", "group0"): "gradient"}
    assert not any("clipping" in sentence for sentence in found["sentences"])


def test_one_clipping_norm_hides_no_gradient_inside_of_a_segment():
    found = certify(*steps.clipped_halves())
    within, across = [(1, 0), (3, 2)], [(2, 0), (3, 0), (2, 1), (3, 1)]
    expected = {(f"group{j}", f"group{i}"): "gradient and norm" for j, i in within}
    assert ways(found) == expected | {(f"group{j}", f"group{i}"): "norm" for j, i in across}
    both, norm = found["sentences"]
    assert "a loss that trains group1 also trains group0; also by the size of gradients" in both
    assert norm.startswith("coupled by the size of gradients") and "4 pairs" in norm


def test_a_gradient_in_the_second_call_only_is_called_one_and_later():
    found = certify(*steps.every_other_call())
    assert set(ways(found).values()) == {"gradient"}
    [sentence] = found["sentences"]
    assert "coupled backwards by a gradient" in sentence and "it shows a step later only" in sentence
    assert not any(found["coupling"][-1][:-1]) and all(found["coupling_later"][-1][:-1])


def test_a_group_that_gets_a_gradient_in_the_second_call_only_is_not_called_out_of_reach():
    parts = steps.blocks()
    idle, optimizer, calls = torch.nn.Linear(D, D), steps.sgd(parts), [0]

    def step():
        calls[0] += 1
        h = steps.X
        for block in parts:
            h = block(h.detach())
            (steps.loss_of(h) + (steps.loss_of(idle(steps.X)) if calls[0] == 2 else 0)).backward()
        optimizer.step()
        optimizer.zero_grad()

    found = certify(step, [*parts, idle])
    assert found["untrained"] == ["group4"]
    assert any("a gradient reaches them, but no step changes group4" in sentence for sentence in found["sentences"])


# --- forward passes without gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)])
def test_a_shortcut_without_gradients_is_not_cut_in_the_twin(without):
    """Two products a block. In the twin the main paths of all but the first have all three products, shortcuts of all but the last as well but
    for the first, whose input is data; the last goes into a loss alone.
    """
    found = certify(*steps.shortcut(without))
    assert (found["locality"], found["boundaries"]) == ("block", 2 * (L - 1))
    assert found["flops_per_step"] == 3 * L * FORWARD
    main, beside = 3 * L - 1, 3 * (L - 1) - 1 + 1
    assert found["flops_per_step_end_to_end"] == (main + beside) * FORWARD


def test_targets_and_scores_without_gradients_stay_without():
    found = certify(*steps.own_teacher())
    assert found["boundaries"] == L - 1 and found["run_again"] == []
    products = 2 * L  # in the blocks, as many for the targets and for the score
    assert found["flops_per_step_end_to_end"] == (3 * products - 1 + 2 * products) * FORWARD


def test_blocks_that_feed_the_next_without_gradients_have_a_twin_and_a_note():
    """Every block but the last runs again after its update: the loss and what is fed on are products of their own in the twin."""
    found = certify(*steps.fed_without_gradients())
    assert (found["locality"], found["boundaries"]) == ("block", L - 1)
    assert found["run_again"] == [f"group{i}" for i in range(L - 1)]
    [note] = [sentence for sentence in found["sentences"] if "run again" in sentence]
    assert "group0, group1 and group2" in note and "heavier than plain backprop" in note
    losses, fed = 3 * L - 1, 3 * (L - 1) - 1 + 1
    assert found["flops_per_step_end_to_end"] == (losses + fed) * FORWARD


def test_blocks_that_run_once_or_again_before_their_update_have_no_note():
    for make in (steps.greedy, steps.optimizer_per_block, steps.true_negatives, steps.own_average):
        found = certify(*make())
        assert found["run_again"] == [] and not any("run again" in sentence for sentence in found["sentences"])


def test_a_function_with_a_backward_of_its_own_keeps_what_it_does_inside():
    """A reentrant checkpoint runs without gradients and computes again in backward; so it does in the twin. Its inputs take gradients."""
    again = certify(*steps.checkpointed(True))
    assert again["flops_per_step_end_to_end"] == 4 * L * FORWARD
    assert again["boundaries"] == L - 1


def test_a_cast_within_an_operation_hides_no_boundary():
    found = certify(*steps.scaler_per_block())
    assert (found["no_twin"], found["boundaries"]) == ("", L - 1)
