"""Hybrids (`bp-every`, `feedback`, `lookahead`) against closed forms, plain autograd, and the rules they turn into at either end."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from layerlocal.measure import count_passes, intervention, measure_locality, measure_saved_bytes
from layerlocal.networks import create_network
from layerlocal.rules import Feedback, LocalHeads, Lookahead, RuleInfo, create_rule, find_rule, rule_options
from layerlocal.rules.bp_every import is_global_step
from layerlocal.rules.feedback import feedback_term, output_error
from layerlocal.rules.lookahead import reading_block
from layerlocal.spec import Recipe
from layerlocal.training.train import losses_of, make_optimizer
from layerlocal.types import InputError
from rules_by_hand import K, assert_equal_bits, batches, gradients, small, train

DEPTH = 4
PARTNERS = [
    ("local-heads", {}),
    ("class-goodness", {}),
    ("class-goodness", {"decoupled_norm": False, "dynamic_temperature": False}),
]
"""Rules that every hybrid can be made of; those that need one pass only also of `FF_PARTNERS`."""
FF_PARTNERS = [("ff", {}), ("ff", {"prediction": "softmax"})]
MIXED = [("bp-every", {}), ("feedback", {}), ("lookahead", {}), ("lookahead", {"blocks_ahead": 2})]
OFF = {"bp-every": {"every": 0}, "feedback": {"strength": 0.0}, "lookahead": {"blocks_ahead": 0}}


X, Y = next(batches(1))


def run(rule, steps=4, start=0, optimizer=None, recipe=None):
    return train(rule, recipe or Recipe(clip=1.0), steps, start, optimizer)


def state(rule):
    return {key: value.clone() for key, value in rule.state_dict().items()}


def walked(rule):
    return gradients(rule, X, Y)[1]


# --- all three --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "of", "options"),
    [
        (name, *partner)
        for name in OFF
        for partner in [*PARTNERS, *FF_PARTNERS]
        if (name, partner[0]) != ("feedback", "ff")
    ],
)
def test_a_hybrid_turned_off_is_the_rule_itself_to_the_last_bit(name, of, options):
    hybrid, itself = small(name, of=of, **OFF[name], **options), small(of, **options)
    run(hybrid), run(itself)
    assert_equal_bits(state(hybrid), state(itself))
    assert (hybrid.locality, hybrid.reads_ahead, hybrid.passes_per_step) == ("block", 0, itself.passes_per_step)
    assert torch.equal(hybrid.eval().scores(X), itself.eval().scores(X))


@pytest.mark.parametrize(("name", "options"), MIXED)
def test_a_hybrid_that_is_on_is_not_the_rule_itself(name, options):
    hybrid, itself = small(name, of="class-goodness", **options), small("class-goodness")
    run(hybrid), run(itself)
    assert not torch.equal(state(hybrid)["network.blocks.0.0.weight"], state(itself)["network.blocks.0.0.weight"])


@pytest.mark.parametrize(("of", "options"), PARTNERS)
@pytest.mark.parametrize(("name", "own"), MIXED)
def test_looking_ahead_moves_no_buffer_but_by_the_rules_own_walk(name, own, of, options):
    """Running statistics and smoothed temperatures after one walk are those of the rule itself, although blocks ran several times."""
    hybrid, itself = small(name, of=of, **own, **options), small(of, **options)
    start = {key: value.clone() for key, value in itself.named_buffers()}
    walked(hybrid), walked(itself)
    after = dict(itself.named_buffers())
    assert any(not torch.equal(value, start[key]) for key, value in after.items())
    assert_equal_bits(dict(hybrid.named_buffers()), after)


@pytest.mark.parametrize(("name", "options"), MIXED)
def test_every_parameter_learns_under_bfloat16(name, options):
    """A forward pass without a graph must not leave autocast a copy of a weight that the next one would train in vain."""
    rule = small(name, of="class-goodness", **options).train()
    for loss in losses_of(rule, X, Y, "bf16"):
        loss.value.backward()
    assert [key for key, p in rule.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("name", "options"), MIXED)
def test_a_hybrid_owns_every_tensor_of_its_partner_once_and_under_one_name(name, options):
    content = small(name, **options).state_dict()
    pointers = [value.data_ptr() for value in content.values() if value.numel()]
    assert len(set(pointers)) == len(pointers)
    assert content.keys() >= small("local-heads").state_dict().keys()


def test_the_options_of_hybrids_are_listed_with_their_defaults():
    assert rule_options(find_rule("bp-every")) == {"every": 2, "of": "local-heads"}
    assert rule_options(find_rule("lookahead")) == {"blocks_ahead": 1, "of": "local-heads"}
    assert set(rule_options(find_rule("feedback"))) == {"strength", "of"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bp-every", {"every": -1}, "every must be"),
        ("bp-every", {"every": 1.5}, "every of rule 'bp-every'"),
        ("feedback", {"strength": -0.1}, "strength must be"),
        ("feedback", {"strength": float("nan")}, "strength of rule 'feedback'"),
        ("feedback", {"strength": "much"}, "strength of rule 'feedback'"),
        ("feedback", {"of": "ff"}, "ff does 2 passes"),
        ("lookahead", {"blocks_ahead": -1}, "blocks_ahead must be"),
        ("lookahead", {"blocks_ahead": 0.5}, "blocks_ahead of rule 'lookahead'"),
        ("lookahead", {"of": "bp"}, "one readout a block"),
        ("lookahead", {"of": "class-goodness", "temperture_max": 1.0}, "temperture_max"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        small(name, **options)
    assert "\n" not in str(caught.value)


# --- bp-every ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "options"), [*PARTNERS, *FF_PARTNERS])
def test_a_global_step_at_every_step_is_bp_deepsup_to_the_last_bit(of, options):
    hybrid, twin = small("bp-every", every=1, of=of, **options), small("bp-deepsup", of=of, **options)
    run(hybrid), run(twin)
    assert_equal_bits(state(hybrid), state(twin))


@pytest.mark.parametrize("every", [1, 2, 3, 8])
def test_steps_are_global_at_the_first_of_every_n_and_local_between(every):
    rule = small("bp-every", every=every).train()
    names = [[loss.block for loss in rule.losses(X, Y)] for _ in range(9)]
    local = ["block0", "block1", "block2", "block3"]
    assert names == [["all"] if t % every == 0 else local for t in range(9)]
    assert int(rule.steps) == 9


def test_no_step_is_global_where_every_is_zero():
    assert [is_global_step(t, 0) for t in range(3)] == [False] * 3
    assert [is_global_step(t, 2) for t in range(4)] == [True, False, True, False]


def test_each_step_is_that_of_bp_deepsup_or_of_the_rule_itself():
    """One step from the state that the hybrid is in, by the one or the other, on plain SGD (which carries nothing over)."""
    recipe = Recipe(optimizer="sgd", momentum=0.0, learning_rate=0.05)
    rule = small("bp-every", every=3, of="class-goodness")
    for index, other in enumerate(["bp-deepsup", "class-goodness", "class-goodness", "bp-deepsup"]):
        reference = small(other, of="class-goodness") if other == "bp-deepsup" else small(other)
        reference.load_state_dict({key: value for key, value in rule.state_dict().items() if key != "steps"})
        run(rule, 1, start=index, recipe=recipe), run(reference, 1, start=index, recipe=recipe)
        assert_equal_bits(state(rule), dict(reference.state_dict()))


def test_a_run_continued_in_the_middle_of_a_cycle_ends_as_if_never_interrupted():
    whole = small("bp-every", every=4, of="class-goodness")
    optimizer = run(whole, 6)
    saved, momenta = copy.deepcopy(whole.state_dict()), copy.deepcopy(optimizer.state_dict())
    run(whole, 5, start=6, optimizer=optimizer)
    resumed = small("bp-every", every=4, of="class-goodness")
    resumed.load_state_dict(saved)
    assert int(resumed.steps) == 6
    optimizer = make_optimizer(resumed.train(), Recipe(clip=1.0))
    optimizer.load_state_dict(momenta)
    run(resumed, 5, start=6, optimizer=optimizer)
    assert_equal_bits(state(resumed), state(whole))


def test_the_position_in_the_cycle_moves_in_training_only_and_stays_whole():
    rule = small("bp-every", every=2).eval()
    for _ in range(3):
        assert [loss.block for loss in rule.losses(X, Y)] == ["all"]
    assert int(rule.steps) == 0 and rule.half().steps.dtype == torch.int64


def test_measures_of_a_rule_in_mid_cycle_see_its_global_step():
    rule = small("bp-every", every=5)
    run(rule, 3)
    found = measure_locality(rule, X, Y)
    assert (found["certified"], found["measured"], found["losses"]) == (True, "global", ["all"])
    assert int(rule.steps) == 3
    rule.rewind()
    assert int(rule.steps) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_counter_stays_on_the_cpu_so_that_no_step_waits_for_the_device():
    rule = small("bp-every").to("cuda").train()
    assert rule.steps.device.type == "cpu" and rule.network.blocks[0][0].weight.is_cuda
    torch.cuda.set_sync_debug_mode("error")
    try:
        for loss in rule.losses(X.to("cuda", non_blocking=True), Y.to("cuda", non_blocking=True)):
            loss.value.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_the_output_error_is_the_gradient_of_each_samples_cross_entropy():
    scores = torch.randn(6, K, requires_grad=True)
    (expected,) = torch.autograd.grad(F.cross_entropy(scores, Y[:6], reduction="sum"), scores)
    torch.testing.assert_close(output_error(scores.detach(), Y[:6]), expected)


@pytest.mark.parametrize("shape", [(5,), (5, 4, 2)])
def test_the_feedback_terms_gradient_is_the_projected_error_spread_over_batch_and_positions(shape):
    activity = torch.randn(6, *shape, requires_grad=True)
    error, projection = torch.randn(6, K), torch.randn(K, 5)
    (found,) = torch.autograd.grad(feedback_term(activity, error, projection), activity)
    positions = activity[0, 0].numel()
    for b in range(6):
        for c in range(5):
            signal = sum(error[b, k] * projection[k, c] for k in range(K)) / (6 * positions)
            torch.testing.assert_close(found[b, c], signal.expand(shape[1:]), rtol=1e-5, atol=1e-7)


def test_feedback_adds_direct_feedback_alignments_weight_update_to_the_local_one():
    """Two plain ReLU layers by hand: ΔW_l = strength / B · Σ_b (e_b B_l ⊙ 1[a_l > 0]) h_{l−1}ᵀ, without autograd."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 7, generator=generator), torch.arange(12) % K

    def build(name, **options):
        network = create_network("mlp", in_channels=7, image_size=1, width=0.03, depth=2, norm=False, seed=0)
        return create_rule(name, network, num_classes=K, seed=0, **options).train()

    rule, plain = build("feedback", strength=0.7), build("local-heads")
    for each in (rule, plain):
        for loss in each.losses(x, y):
            loss.value.backward()
    first, second = (block[0] for block in plain.network.blocks)
    with torch.no_grad():
        h1 = (x @ first.weight.T + first.bias).clamp_min(0)
        h2 = (h1 @ second.weight.T + second.bias).clamp_min(0)
        logs = []
        for index, h in enumerate((h1, h2)):
            linear = plain.heads[f"block{index}"].linear
            r = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()
            logs.append((r @ linear.weight.T + linear.bias).log_softmax(-1))
        error = ((logs[0] + logs[1]) / 2).softmax(-1) - F.one_hot(y, K)
        for index, (h, before) in enumerate([(h1, x), (h2, h1)]):
            delta = (error @ rule.get_buffer(f"projection{index}")) * (h > 0)
            layer, other = rule.network.blocks[index][0], plain.network.blocks[index][0]
            torch.testing.assert_close(
                layer.weight.grad - other.weight.grad, 0.7 * delta.T @ before / 12, rtol=1e-4, atol=1e-6
            )
            torch.testing.assert_close(layer.bias.grad - other.bias.grad, 0.7 * delta.mean(0), rtol=1e-4, atol=1e-6)
            head, kept = rule.heads[f"block{index}"].linear, plain.heads[f"block{index}"].linear
            assert torch.equal(head.weight.grad, kept.weight.grad), "the readouts hear nothing of it"


def test_projections_are_fixed_seeded_by_block_the_same_at_every_depth_and_of_variance_one_over_width():
    def projections(rule):
        return {name: value.clone() for name, value in rule.named_buffers() if name.startswith("projection")}

    shallow, deep = projections(small("feedback", depth=2)), projections(small("feedback"))
    assert list(deep) == ["projection0", "projection1", "projection2", "projection3"]
    assert [tuple(value.shape) for value in deep.values()] == [(K, 8), (K, 16), (K, 32), (K, 32)]
    assert all(torch.equal(value, deep[name]) for name, value in shallow.items())
    assert not torch.equal(deep["projection2"], deep["projection3"])
    rule = small("feedback")
    run(rule, 3)
    assert_equal_bits(projections(rule), deep)
    wide = create_network("mlp", in_channels=5, image_size=1, hidden=400, depth=1, seed=0)
    found = create_rule("feedback", wide, num_classes=100, seed=1).get_buffer("projection0")
    assert found.square().mean().item() == pytest.approx(1 / 400, rel=0.03)
    other = create_rule("feedback", wide, num_classes=100, seed=2).get_buffer("projection0")
    assert not torch.equal(found, other)


def test_feedback_sends_no_gradient_across_blocks_but_every_block_hears_of_every_later_one():
    rule = small("feedback")
    found = measure_locality(rule, X, Y)
    assert found["certified"] and found["measured"] == "global" and found["reads_ahead"] == DEPTH - 1
    assert found["reach"] == [[i == j for i in range(DEPTH)] for j in range(DEPTH)]
    assert found["intervention"] == [[True] * DEPTH] * DEPTH
    assert count_passes(rule, X, Y)["passes_per_step"] == rule.passes_per_step == 2


def test_feedback_saves_for_backward_what_a_local_rule_saves_at_any_depth():
    def saved(name, depth):
        network = create_network("plain", in_channels=8, image_size=8, width=1 / 8, depth=depth, seed=0)
        rule = create_rule(name, network, num_classes=K, seed=0)
        return measure_saved_bytes(rule, torch.randn(12, 8, 8, 8), Y)

    assert saved("feedback", 4)["peak_saved_bytes"] == saved("feedback", 12)["peak_saved_bytes"]
    assert saved("feedback", 12)["peak_saved_bytes"] < 1.1 * saved("local-heads", 12)["peak_saved_bytes"]
    assert saved("feedback", 12)["left_saved_bytes"] == 0


# --- lookahead --------------------------------------------------------------------------------------------------------


def chain_by_hand(rule, m):
    """Gradients of every block and head by plain autograd on copies: block l through the next m blocks, head l on its own block."""
    rule = copy.deepcopy(rule).train()
    h, labels = rule.inputs(X, Y)
    found = {}
    for index in range(DEPTH):
        name, last = f"block{index}", min(index + m, DEPTH - 1)
        walk = copy.deepcopy(rule)
        activity = walk.network.blocks[index](h)
        far = activity
        for position in range(index, last):
            far = walk.network.blocks[position + 1](walk.feed(position, far))
        value = walk.local_loss(last, far, labels)[0]
        block = dict(walk.network.blocks[index].named_parameters())
        found |= {
            f"network.blocks.{index}.{key}": gradient
            for key, gradient in zip(block, torch.autograd.grad(value, list(block.values())), strict=True)
        }
        again = copy.deepcopy(rule)
        if name in again.heads:
            head = dict(again.heads[name].named_parameters())
            own = again.local_loss(index, activity.detach(), labels)[0]
            found |= {
                f"heads.{name}.{key}": gradient
                for key, gradient in zip(head, torch.autograd.grad(own, list(head.values())), strict=True)
            }
        if index + 1 < DEPTH:
            h = rule.feed(index, activity.detach())
    return found


@pytest.mark.parametrize("m", [0, 1, 2, 3])
@pytest.mark.parametrize(("of", "options"), [*PARTNERS, *FF_PARTNERS])
def test_a_block_gets_the_gradient_of_the_loss_m_blocks_on_through_blocks_held_still(of, options, m):
    torch.manual_seed(0)
    expected = chain_by_hand(small(of, **options), m)
    found = walked(small("lookahead", blocks_ahead=m, of=of, **options))
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("of", "options"), [*PARTNERS, *FF_PARTNERS])
def test_looking_ahead_to_the_end_trains_the_blocks_as_bp_does(of, options):
    """Every block then learns from the last loss through all that follows it, which is backprop, one block at a time."""
    found = walked(small("lookahead", blocks_ahead=DEPTH - 1, of=of, **options))
    expected = walked(small("bp", of=of, **options))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize(("of", "options"), PARTNERS)
def test_readouts_learn_on_their_own_block_as_without_looking_ahead(of, options, m):
    found, expected = walked(small("lookahead", blocks_ahead=m, of=of, **options)), walked(small(of, **options))
    heads = {name: value for name, value in expected.items() if name.startswith("heads.")}
    assert_equal_bits(found, heads)


@pytest.mark.parametrize(("m", "depth", "locality", "ahead"), [
    (0, 4, "block", 0), (1, 4, "segment", 1), (2, 4, "segment", 2), (3, 4, "global", 3), (9, 4, "global", 3), (1, 2, "global", 1),
    (2, 1, "block", 0),
])  # fmt: skip
def test_lookahead_declares_as_far_as_it_reads_and_is_measured_so(m, depth, locality, ahead):
    rule = small("lookahead", depth=depth, blocks_ahead=m)
    assert (rule.locality, rule.reads_ahead) == (locality, ahead)
    found = measure_locality(rule, X, Y)
    assert found["certified"] and (found["measured"], found["reads_ahead"]) == (locality, ahead)
    assert found["reach"] == [[i == j for i in range(depth)] for j in range(depth)]
    assert found["intervention"] == [[i >= j - m for i in range(depth)] for j in range(depth)]
    assert [reading_block(i, m, depth) for i in range(depth)] == [min(i + m, depth - 1) for i in range(depth)]


def test_over_steps_credit_from_the_last_block_creeps_down_m_blocks_a_step():
    """Why lookahead is not a local rule of larger blocks: disturb block 3, and see how far down training differs after each step."""
    recipe = Recipe(optimizer="sgd", learning_rate=0.05)
    reached = []
    for steps in (1, 2, 3):
        calm, moved = small("lookahead"), small("lookahead")
        with torch.no_grad():
            for parameter in moved.block_parameters()["block3"]:
                parameter.add_(0.1 * torch.randn_like(parameter))
        run(calm, steps, recipe=recipe), run(moved, steps, recipe=recipe)
        left, right = state(calm), state(moved)
        reached.append([not torch.equal(left[k], right[k]) for k in (f"network.blocks.{i}.0.weight" for i in range(3))])
    assert reached == [[False, False, True], [False, True, True], [True, True, True]]


def test_saved_bytes_of_lookahead_grow_with_how_far_it_reads_and_not_with_depth():
    def saved(m, depth):
        network = create_network("plain", in_channels=8, image_size=8, width=1 / 8, depth=depth, seed=0)
        return measure_saved_bytes(
            create_rule("lookahead", network, num_classes=K, seed=0, blocks_ahead=m), torch.randn(12, 8, 8, 8), Y
        )["peak_saved_bytes"]

    at = [saved(m, 12) for m in (0, 1, 2, 3)]
    assert at[0] < at[1] < at[2] < at[3]
    assert saved(1, 6) == at[1]


# --- the certificate of what reads ahead ------------------------------------------------------------------------------


class ShortSighted(Lookahead):
    """Reads two blocks on and says one."""

    info = RuleInfo(name="cheat", locality="segment")

    @property
    def reads_ahead(self):
        return 1


class Boaster(LocalHeads):
    """A local rule that says it reads ahead."""

    info = RuleInfo(name="cheat", locality="block")
    reads_ahead = 2


class Denier(Feedback):
    """Feedback that calls itself local."""

    info = RuleInfo(name="cheat", locality="block")
    locality = "block"


class SilentDenier(Denier):
    """The same, and says that nothing comes back."""

    reads_ahead = 0


@pytest.mark.parametrize(
    ("rule", "options", "problem"),
    [
        (ShortSighted, {"blocks_ahead": 2}, "perturbing block2 changes the update of block0"),
        (Boaster, {}, "declares reads_ahead 2, measured 0"),
        (Denier, {}, "declares locality 'block', measured 'global'"),
        (SilentDenier, {}, "perturbing block3 changes the update of block0"),
    ],
)
def test_what_reads_ahead_otherwise_than_it_declares_gets_no_certificate(rule, options, problem):
    found = measure_locality(small(rule, **options), X, Y)
    assert not found["certified"] and problem in found["problems"]


def test_intervention_alone_sees_what_lookahead_reads():
    assert intervention(small("lookahead"), X, Y)[1] == [True, True, True, True]
    assert intervention(small("local-heads"), X, Y)[1] == [False, True, True, True]
