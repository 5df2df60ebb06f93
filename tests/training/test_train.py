"""The one loop: schedule, steps, what it refuses, what it never touches, and that a run continued is a run never interrupted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.data import Batches, Split, data_from_splits
from layerlocal.networks import Network, create_network
from layerlocal.rules import Rule, RuleInfo, create_rule
from layerlocal.rules.core.functional import fit_fusion_weights
from layerlocal.runs.store import RunStore
from layerlocal.spec import Recipe, RunSpec
from layerlocal.training.evaluate import evaluate_batches, evaluate_split
from layerlocal.training.train import Training, learning_rate, make_optimizer, train_rule, train_step
from layerlocal.types import BlockLoss, InputError

K = 3


def split(number, seed, shape=(3, 8, 8)):
    """uint8 images, each class around a pattern of its own."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 256, (K, *shape), generator=torch.Generator().manual_seed(99))
    y = torch.arange(number) % K
    noise = torch.randint(-40, 41, (number, *shape), generator=generator)
    return Split((patterns[y] + noise).clamp(0, 255).to(torch.uint8), y)


def make_data(validation=True, test=None):
    return data_from_splits(
        "toy", split(40, 0), test if test is not None else split(12, 1), validation=split(12, 2) if validation else None
    )


def make(name="local-heads", seed=0, depth=3, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, seed=seed)
    return create_rule(name, network, num_classes=K, seed=seed, **options)


def weights(rule):
    return {key: value.clone() for key, value in rule.state_dict().items()}


def assert_equal_bits(found, expected):
    assert set(found) == set(expected)
    differ = [key for key in expected if not torch.equal(found[key], expected[key])]
    assert not differ


RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.01, clip=1.0, crop=1, flip=True)


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_the_rate_warms_up_linearly_and_then_falls_to_zero_by_its_schedule():
    """10 steps, 2 of warm-up: 1/2 and 2/2 of the peak, then 8 steps from 8/8 down to 1/8 of the way."""
    peak = 0.8
    left = [n / 8 for n in range(8, 0, -1)]
    expected = {
        "constant": [1.0] * 8,
        "linear": left,
        "cosine": [(1 - math.cos(math.pi * share)) / 2 for share in left],
    }
    for schedule, shape in expected.items():
        recipe = Recipe(learning_rate=peak, warmup=0.2, schedule=schedule)
        found = [learning_rate(recipe, step, 10) for step in range(10)]
        assert found == pytest.approx([peak / 2, peak, *[peak * share for share in shape]])


def test_without_warm_up_the_first_step_has_the_whole_rate():
    assert learning_rate(Recipe(learning_rate=0.3, warmup=0), 0, 5) == pytest.approx(0.3)
    assert learning_rate(Recipe(learning_rate=0.3, warmup=0), 0, 1) == pytest.approx(0.3)


def test_training_gives_every_step_the_rate_of_its_number():
    training = Training(make(), make_data(), RECIPE)
    seen = []
    training.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append({g["lr"] for g in optimizer.param_groups})
    )
    records = [training.run_epoch(), training.run_epoch()]
    assert training.steps == 10 and [len(rates) for rates in seen] == [1] * 10
    warm = 0.01  # one step of ten
    fall = [0.01 * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
    assert [rate for rates in seen for rate in rates] == pytest.approx([warm, *fall])
    assert [record.learning_rate for record in records] == pytest.approx([fall[3], fall[8]])


# --- the optimizer ----------------------------------------------------------------------------------------------------


def test_matrices_decay_and_vectors_do_not_and_groups_name_their_block():
    rule = make()
    for group in make_optimizer(rule, Recipe(weight_decay=0.3)).param_groups:
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] == 0.3}
        mine = {id(p) for p in rule.block_parameters()[group["block"]]}
        assert {id(p) for p in group["params"]} <= mine


def test_recipes_name_the_optimizer_and_its_numbers():
    sgd = make_optimizer(make(), Recipe(optimizer="sgd", momentum=0.8, learning_rate=0.2))
    assert isinstance(sgd, torch.optim.SGD) and all(g["nesterov"] and g["momentum"] == 0.8 for g in sgd.param_groups)
    plain = make_optimizer(make(), Recipe(optimizer="sgd", momentum=0.0))
    assert not any(g["nesterov"] for g in plain.param_groups)
    adamw = make_optimizer(make(), Recipe(optimizer="adamw", momentum=0.8))
    assert isinstance(adamw, torch.optim.AdamW) and all(g["betas"] == (0.8, 0.999) for g in adamw.param_groups)


# --- one step ---------------------------------------------------------------------------------------------------------


def test_each_backward_runs_before_the_next_forward_and_the_step_after_all():
    rule, events = make().train(), []
    for index, block in enumerate(rule.network.blocks):
        block.register_forward_hook(lambda *_, index=index: events.append(f"forward {index}"))
    optimizer = make_optimizer(rule, Recipe())
    optimizer.register_step_pre_hook(lambda *_: events.append("step"))
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % K
    train_step(rule, x, y, optimizer, observe=lambda loss: events.append(f"backward {loss.block[5:]}"))
    assert events == [f"{what} {index}" for index in range(3) for what in ("forward", "backward")] + ["step"]
    assert all(p.grad is None for p in rule.parameters())


class NoStatistics(Rule):
    """Local cross-entropy on the first K units of blocks without batch norm: every sample's loss is its own."""

    info = RuleInfo(name="no-statistics", locality="block")

    def losses(self, x, y):
        h = x
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            yield BlockLoss(f"block{index}", F.cross_entropy(h[:, :K], y), {"mean": h.detach().mean()})


def vectors_rule(rule=NoStatistics, **options):
    network = create_network("mlp", in_channels=6, image_size=1, depth=3, hidden=8, norm=False, seed=0)
    return rule(network, num_classes=K, **options).double()


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_accumulated_micro_batches_make_the_step_of_the_whole_batch_even_where_parts_differ_in_size(kind, parts):
    found = []
    for micro_batches in (1, parts):
        rule = vectors_rule()
        recipe = Recipe(optimizer=kind, learning_rate=0.05, micro_batches=micro_batches, batch_size=16, clip=0.5)
        optimizer = make_optimizer(rule, recipe)
        generator = torch.Generator().manual_seed(1)
        for _ in range(4):
            x = torch.randn(16, 6, generator=generator, dtype=torch.float64)
            train_step(rule, x, torch.arange(16) % K, optimizer, recipe=recipe)
        found.append(weights(rule))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["local-heads", "class-goodness", "ff", "bp"])
def test_bf16_computes_blocks_in_bf16_and_keeps_weights_and_their_gradients_in_float32(name):
    rule, seen = make(name).train(), set()
    rule.network.blocks[1].register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    optimizer = make_optimizer(rule, Recipe())
    grads = set()
    optimizer.register_step_pre_hook(lambda *_: grads.update(p.grad.dtype for p in rule.parameters()))
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % K
    losses = []
    train_step(rule, x, y, optimizer, recipe=Recipe(precision="bf16"), observe=losses.append)
    assert seen == {torch.bfloat16} and grads == {torch.float32}
    assert {p.dtype for p in rule.parameters()} == {torch.float32}
    exact = [loss.value.item() for loss in make(name).train().losses(x, y)] if name != "ff" else None
    assert all(loss.value.isfinite() for loss in losses)
    if exact is not None:
        assert [loss.value.item() for loss in losses] == pytest.approx(exact, rel=0.05, abs=0.05)


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["local-heads", "class-goodness", "ff", "bp", "bp-deepsup", "segmented"])
def test_a_run_learns_what_is_easy(name):
    data = make_data()
    records = train_rule(make(name, depth=2), data, Recipe(epochs=8, batch_size=8, learning_rate=0.01))
    assert records[-1].validation.accuracy >= 0.75


@pytest.mark.parametrize("name", ["ff", "class-goodness"])
def test_one_seed_is_one_run_to_the_last_bit_whatever_was_drawn_before(name):
    found = []
    for disturbance in (0, 1):
        torch.manual_seed(disturbance)
        rule = make(name)
        train_rule(rule, make_data(), RECIPE, seed=5)
        found.append(weights(rule))
    assert_equal_bits(*found)
    other = make(name)
    train_rule(other, make_data(), RECIPE, seed=6)
    assert not torch.equal(other.network.blocks[0][0].weight, found[0]["network.blocks.0.0.weight"])


def test_a_run_draws_nothing_from_the_global_generator():
    rule, data = make("ff"), make_data()
    before = torch.get_rng_state()
    train_rule(rule, data, RECIPE)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rule_and_its_twins_are_given_the_same_batches():
    seen = {}
    for name in ("local-heads", "bp", "bp-deepsup"):
        rule, inputs = make(name), []
        training = Training(rule, make_data(), RECIPE, seed=5)
        rule.network.blocks[0].register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].clone()))
        while not training.finished:
            training.run_epoch()
        seen[name] = inputs
    assert len(seen["bp"]) == 2 * (5 + 1)
    for name in ("bp", "bp-deepsup"):
        assert all(torch.equal(a, b) for a, b in zip(seen["local-heads"], seen[name], strict=True))


def test_every_epoch_reports_steps_samples_and_the_time_of_training():
    training, reports = Training(make(), make_data(), RECIPE), []
    record = training.run_epoch(lambda step, samples: reports.append((step, samples)))
    assert reports == [(step, 8 * step) for step in range(1, 6)]  # 40 images in batches of 8
    assert record.epoch == 1 and record.seconds > 0
    assert record.samples_per_s == pytest.approx(40 / record.seconds)
    assert not training.finished
    training.run_epoch()
    assert training.finished


def rates_of(training):
    """The learning rate of every optimizer step that was made, by epoch."""
    made = []
    training.optimizer.register_step_pre_hook(lambda optimizer, *_: made[-1].append(optimizer.param_groups[0]["lr"]))
    while not training.finished:
        made.append([])
        training.run_epoch()
    return made


def in_steps(steps, **changes):
    """`RECIPE`, its length given in steps; there are 5 in an epoch."""
    return RECIPE.model_copy(update={"epochs": 7, "steps": steps, **changes})


@pytest.mark.parametrize(
    ("steps", "by_epoch"), [(1, [1]), (4, [4]), (5, [5]), (6, [5, 1]), (10, [5, 5]), (13, [5, 5, 3])]
)
def test_a_run_makes_exactly_as_many_optimizer_steps_as_its_recipe_says(steps, by_epoch):
    training = Training(make(), make_data(), in_steps(steps))
    assert (training.steps, training.epochs, training.steps_done) == (steps, len(by_epoch), 0)
    assert [len(rates) for rates in rates_of(training)] == by_epoch
    assert training.finished and (training.epoch, training.steps_done) == (len(by_epoch), steps)


def test_a_truncated_last_epoch_reports_and_counts_the_steps_it_made():
    training, reports = Training(make(), make_data(), in_steps(7)), []
    training.run_epoch()
    record = training.run_epoch(lambda step, samples: reports.append((step, samples)))
    assert reports == [(1, 8), (2, 16)]
    assert record.samples_per_s == pytest.approx(16 / record.seconds) and record.validation is not None
    rule = scripted(lambda index, step: float(step))
    records = train_rule(rule, make_data(), Recipe(batch_size=8, steps=7))
    assert [record.losses["block0"] for record in records] == [pytest.approx(3), pytest.approx(6.5)]  # 1 to 5, 6 and 7


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_schedule_runs_over_exactly_the_steps_and_ends_at_the_last(schedule):
    """8 steps, the first two of warm-up, then 6 of decay: the last rate is one sixth of the way from 0."""
    training = Training(make(), make_data(), in_steps(8, warmup=0.25, schedule=schedule))
    left = [n / 6 for n in range(6, 0, -1)]
    fall = left if schedule == "linear" else [(1 - math.cos(math.pi * share)) / 2 for share in left]
    found = [rate for rates in rates_of(training) for rate in rates]
    assert found == pytest.approx([0.005, 0.01, *[0.01 * share for share in fall]])


@pytest.mark.parametrize("name", ["class-goodness", "bp"])
def test_whole_epochs_given_in_steps_are_the_same_run_to_the_last_bit(name):
    found, records = [], []
    for recipe in (RECIPE, in_steps(10)):
        training = Training(make(name), make_data(), recipe, seed=5)
        records.append([training.run_epoch() for _ in range(2)])
        found.append(training.state_tensors())
    assert_equal_bits(*found)
    for one, two in zip(*records, strict=True):
        assert (one.losses, one.metrics, one.validation) == (two.losses, two.metrics, two.validation)


def test_a_last_batch_that_is_not_full_is_left_out():
    data = data_from_splits("odd", split(43, 0), split(12, 1))
    training, reports = Training(make(), data, RECIPE), []
    training.run_epoch(lambda step, samples: reports.append(samples))
    assert reports == [8, 16, 24, 32, 40] and training.steps == 10


def test_order_and_augmentation_are_new_in_every_epoch():
    """Forty times one image: what differs between two epochs is what was drawn."""
    one = split(1, 0).images.expand(40, -1, -1, -1).contiguous()
    data = data_from_splits("one image", Split(one, torch.arange(40) % K), split(12, 1))
    batches = Training(make(), data, RECIPE).batches
    (x0, y0), (x1, y1) = next(batches.epoch(0)), next(batches.epoch(1))
    assert not torch.equal(x0, x1) and not torch.equal(y0, y1)
    still = Training(make(), data, Recipe(batch_size=8)).batches
    assert torch.equal(next(still.epoch(0))[0], next(still.epoch(1))[0]), (
        "a recipe without augmentation changes no pixel"
    )


def test_a_rule_in_evaluation_mode_is_trained_in_training_mode():
    found = []
    for rule in (make(), make().eval()):
        train_rule(rule, make_data(), RECIPE)
        found.append(weights(rule))
    assert_equal_bits(*found)


class Scripted(NoStatistics):
    """Losses and metrics of known value, whatever the weights: block i at step s (from 1) has the loss of ``script(i, s)``."""

    metric = "twice/block{}"

    def __init__(self, network, *, num_classes, script):
        super().__init__(network, num_classes=num_classes)
        self.script = script
        self.step = 0

    def losses(self, x, y):
        self.step += 1
        h = x
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            value = 0 * h.sum() + self.script(index, self.step)
            yield BlockLoss(f"block{index}", value, {self.metric.format(index): 2 * value.detach()})

    def block_scores(self, x):
        return torch.zeros(self.network.depth, len(x), K)


def scripted(script, rule=Scripted):
    network = create_network("mlp", in_channels=3, image_size=8, depth=3, hidden=8, norm=False, seed=0)
    return rule(network, num_classes=K, script=script)


def test_losses_and_metrics_of_an_epoch_are_means_over_its_steps():
    (record,) = train_rule(
        scripted(lambda index, step: 10.0 * index + step), make_data(), Recipe(epochs=1, batch_size=8)
    )
    assert record.losses == {f"block{index}": pytest.approx(10 * index + 3) for index in range(3)}  # steps 1 to 5
    assert record.metrics == {f"twice/block{index}": pytest.approx(20 * index + 6) for index in range(3)}


class SameName(Scripted):
    """The metrics have the names of the losses."""

    metric = "block{}"


def test_a_metric_may_have_the_name_of_a_loss():
    (record,) = train_rule(
        scripted(lambda index, step: float(step), SameName), make_data(), Recipe(epochs=1, batch_size=8)
    )
    assert record.losses == {f"block{index}": pytest.approx(3) for index in range(3)}
    assert record.metrics == {f"block{index}": pytest.approx(6) for index in range(3)}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_a_loss_that_is_not_finite_is_named_by_block_step_and_epoch(bad, micro_batches):
    """Block 1 at the third step of the second epoch, five steps an epoch."""
    forward = 8 * micro_batches  # the first of that step's forwards: 7 steps came before
    first = forward - micro_batches + 1
    rule = scripted(lambda index, step: bad if index == 1 and step == first else 1.0)
    recipe = Recipe(epochs=3, batch_size=8, micro_batches=micro_batches)
    with pytest.raises(InputError, match=r"block1 .*NaN .*step 3 of epoch 2 .*no-statistics"):
        train_rule(rule, make_data(), recipe)


def test_a_loss_that_is_not_finite_stops_a_long_epoch_before_its_end():
    data = data_from_splits("long", split(1000, 0), split(12, 1))
    rule = scripted(lambda index, step: float("nan") if step == 7 else 1.0)
    with pytest.raises(InputError, match=r"block0 .*NaN .*step 7 of epoch 1"):
        train_rule(rule, data, Recipe(epochs=1, batch_size=2))
    assert rule.step == 100


# --- evaluation -------------------------------------------------------------------------------------------------------


class Known(Rule):
    """Answers with fixed parts of the input: block l with features l·K … (l+1)·K."""

    info = RuleInfo(name="known", locality="block")

    def block_scores(self, x):
        assert not self.training and not torch.is_grad_enabled()
        return x.view(len(x), 2, K).transpose(0, 1)

    def fuse(self, block_scores):
        return block_scores.sum(0)


def test_accuracies_are_the_shares_of_right_answers_block_by_block_and_fused():
    x, y = torch.randn(1203, 2 * K), torch.arange(1203) % K  # more than two evaluation batches, the last one short
    rule = Known(Network([nn.Identity(), nn.Identity()], sample_shape=(2 * K,)), num_classes=K).train()
    batches = Batches(Split(x, y), batch_size=500, mean=torch.zeros(2 * K), std=torch.ones(2 * K), shuffle=False)
    found = evaluate_batches(rule, batches)
    right = [(x[:, part].argmax(1) == y).double().mean().item() for part in (slice(0, K), slice(K, 2 * K))]
    fused = ((x[:, :K] + x[:, K:]).argmax(1) == y).double().mean().item()
    assert found.block_accuracies == {"block0": right[0], "block1": right[1]}
    assert (found.accuracy, found.num_samples) == (fused, 1203)
    assert rule.training
    data = data_from_splits("known", Split(x, y), Split(x, y))
    assert evaluate_split(rule.eval(), data, data.train) == found and not rule.training


@pytest.mark.parametrize("name", ["local-heads", "bp-deepsup"])
@pytest.mark.parametrize("recipe", [RECIPE, RECIPE.model_copy(update={"epochs": 1, "steps": 7})])
def test_fusion_weights_are_fitted_on_validation_data_after_the_last_epoch(name, recipe):
    data = make_data()
    rule = make(name, fusion="fitted")
    fitted = next(key for key, _ in rule.named_buffers() if key.endswith("fusion_weights"))
    training = Training(rule, data, recipe)
    training.run_epoch()
    assert torch.equal(rule.get_buffer(fitted), torch.full((3,), 1 / 3))
    training.run_epoch()
    x = (data.validation.images.float() / 255 - data.mean.view(-1, 1, 1)) / data.std.view(-1, 1, 1)
    with torch.no_grad():
        scores = rule.eval().block_scores(x)
    torch.testing.assert_close(
        rule.get_buffer(fitted), fit_fusion_weights(scores, data.validation.labels), rtol=1e-3, atol=1e-3
    )


def test_without_validation_data_there_is_no_validation_accuracy():
    records = train_rule(make(), make_data(validation=False), RECIPE)
    assert [record.validation for record in records] == [None, None]


def test_fitted_fusion_without_validation_data_is_refused():
    """It would silently stay uniform."""
    with pytest.raises(InputError, match="validation"):
        train_rule(make(fusion="fitted"), make_data(validation=False), RECIPE)


# --- the test split ---------------------------------------------------------------------------------------------------


def test_the_test_split_is_read_once_after_the_last_epoch():
    data = make_data()
    training = Training(make(), data, RECIPE)
    training.run_epoch()
    with pytest.raises(RuntimeError, match="after the last epoch"):
        training.test()
    training.run_epoch()
    assert data.test_reads == 0
    found = training.test()
    assert data.test_reads == 1 and found.num_samples == 12


def test_garbage_in_the_test_split_changes_no_weight_and_no_validation_accuracy():
    found = []
    for test in (None, Split(torch.full((5, 3, 8, 8), 255, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))):
        rule = make(fusion="fitted")
        records = train_rule(rule, make_data(test=test), RECIPE)
        found.append((weights(rule), [record.validation for record in records]))
    assert_equal_bits(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 17])  # 20 in four epochs
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("local-heads", {"fusion": "fitted"}),
        ("class-goodness", {}),
        ("ff", {"prediction": "softmax"}),
        ("bp", {"of": "class-goodness"}),
        ("bp-deepsup", {}),
        ("segmented", {}),
    ],
)
def test_a_run_that_was_saved_and_continued_ends_as_one_that_never_stopped(tmp_path, name, options, kind, steps):
    epochs = 4 if steps is None else 1
    recipe = RECIPE.model_copy(update={"epochs": epochs, "steps": steps, "optimizer": kind})
    straight = Training(make(name, **options), make_data(), recipe, seed=5)
    records = [straight.run_epoch() for _ in range(4)]
    first = Training(make(name, **options), make_data(), recipe, seed=5)
    first.run_epoch()
    first.run_epoch()
    with RunStore(tmp_path).open(RunSpec()) as folder:
        folder.save_checkpoint(first.state_tensors(), {"epoch": first.epoch})
        tensors, progress = folder.load_checkpoint()
    again = Training(
        make(name, seed=77, **options), make_data(), recipe, seed=5
    )  # other initial weights, to be overwritten
    again.load_state_tensors(tensors, progress["epoch"])
    rest = [again.run_epoch(), again.run_epoch()]
    assert again.finished
    assert_equal_bits(weights(again.rule), weights(straight.rule))
    assert_equal_bits(again.state_tensors(), straight.state_tensors())
    for found, expected in zip(rest, records[2:], strict=True):
        assert (found.losses, found.metrics, found.validation) == (
            expected.losses,
            expected.metrics,
            expected.validation,
        )
    assert again.test() == straight.test()
    ended = Training(make(name, seed=77, **options), make_data(), recipe, seed=5)
    ended.load_state_tensors(dict(straight.rule.state_dict()), straight.epoch)  # a finished run keeps its weights only
    assert ended.finished
    assert_equal_bits(weights(ended.rule), weights(straight.rule))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(batch_size=41), r"batch_size 41 .*40 training samples"),
        (Recipe(batch_size=8, micro_batches=3), "micro_batches 3 must divide batch_size 8"),
        (Recipe(batch_size=8, micro_batches=8), "parts of 2 or more"),
        (Recipe(batch_size=8, crop=8), "crop=8 must be smaller"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_is_refused_before_any_step(recipe, message):
    with pytest.raises(InputError, match=message):
        Training(make(), make_data(), recipe)


def test_a_rule_for_another_number_of_classes_is_refused():
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, seed=0)
    with pytest.raises(InputError, match=r"5 classes, .*data have 3"):
        Training(create_rule("bp", network, num_classes=5), make_data(), RECIPE)


def test_a_rule_with_nothing_to_train_is_refused():
    with pytest.raises(InputError, match="no trainable parameter"):
        Training(make().requires_grad_(False), make_data(), RECIPE)


# --- data from a file -------------------------------------------------------------------------------------------------


def test_batches_of_a_mapped_file_train_the_same_weights_as_those_in_memory(tmp_path):
    data = make_data()
    np.save(tmp_path / "images.npy", data.train.images.numpy())
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), data.train.labels)
    found = []
    for train in (data.train, mapped):
        training = Training(make(), data_from_splits("toy", train, split(12, 1), validation=split(12, 2)), RECIPE)
        training.run_epoch()
        found.append(weights(training.rule))
    assert training.batches.come_from_far
    assert_equal_bits(*found)
