"""How a step may be run (micro-batches, a step a block, bf16, compiled blocks) and what a local step holds in memory."""

from __future__ import annotations

import gc
import math
import weakref
from functools import partial

import pytest
import torch
from torch import nn

from layerlocal.data import Split, data_from_splits
from layerlocal.measure import measure_saved_bytes
from layerlocal.networks import Network, create_network
from layerlocal.rules import Rule, RuleInfo, create_rule
from layerlocal.spec import Recipe
from layerlocal.training.optimizer import Stepper
from layerlocal.training.train import Training, make_optimizer, train_step
from layerlocal.types import BlockLoss, InputError

K = 3
EVERY = [
    ("local-heads", {}),
    ("class-goodness", {}),
    ("ff", {}),
    ("ff", {"prediction": "softmax"}),
    ("bp", {}),
    ("bp-deepsup", {"of": "class-goodness"}),
    ("segmented", {}),
    ("segmented", {"segment_size": 3}),
    ("bp-every", {"every": 2}),
    ("feedback", {}),
    ("feedback", {"of": "class-goodness", "strength": 3.0}),
    ("lookahead", {}),
    ("lookahead", {"blocks_ahead": 3, "of": "class-goodness"}),
]
LOCAL = [("local-heads", {}), ("class-goodness", {}), ("ff", {}), ("ff", {"prediction": "softmax"})]


def make(name, network="cnn4", depth=4, width=0.25, fused=False, compile=False, **options):
    built = create_network(
        network, in_channels=3, image_size=8, width=width, depth=depth, seed=0, fused=fused, compile=compile
    )
    return create_rule(name, built, num_classes=K, seed=0, **options)


def batch(size):
    return torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(5)), torch.arange(size) % K


def batches(steps, size=12):
    generator = torch.Generator().manual_seed(5)
    for step in range(steps):
        torch.manual_seed(step)  # the rule's own draws
        yield torch.randn(size, 3, 8, 8, generator=generator), torch.arange(size) % K


def trained(rule, recipe, steps=4):
    """Weights, buffers and the optimizer's state after a few steps."""
    optimizer = make_optimizer(rule.train(), recipe)
    for x, y in batches(steps):
        train_step(rule, x, y, optimizer, recipe=recipe)
    state = {
        f"{index}/{key}": torch.as_tensor(value)
        for index, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
        if value is not None
    }
    return {key: value.clone() for key, value in (rule.state_dict() | state).items()}


def assert_equal_bits(found, expected):
    assert set(found) == set(expected)
    assert not [key for key in expected if not torch.equal(found[key], expected[key])]


# --- a step a block ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_step_a_block_is_one_step_at_the_end_to_the_last_bit(name, options, optimizer):
    recipe = Recipe(optimizer=optimizer, learning_rate=0.05, clip=0.05)
    expected = trained(make(name, **options), recipe)
    found = trained(make(name, **options), recipe.model_copy(update={"step_per_block": True}))
    assert_equal_bits(found, expected)


def grads(rule):
    return {name for name, group in rule.block_parameters().items() if any(p.grad is not None for p in group)}


@pytest.mark.parametrize(
    ("name", "options", "held"),
    [
        ("class-goodness", {}, [["block0"], ["block1"], ["block2"], ["block3"]]),
        ("segmented", {"segment_size": 3}, [["block0", "block1", "block2"], ["block3"]]),
    ],
)
def test_with_a_step_a_block_only_the_gradients_of_one_segment_exist(name, options, held):
    rule, seen, stepped = make(name, **options).train(), [], []
    recipe = Recipe(step_per_block=True)
    optimizer = make_optimizer(rule, recipe)
    optimizer.register_step_pre_hook(lambda o, *_: stepped.append({group["block"] for group in o.param_groups}))
    for block in rule.network.blocks:
        block.register_forward_pre_hook(lambda *_: seen.append(grads(rule)))
    after = []
    for x, y in batches(2):
        train_step(rule, x, y, optimizer, recipe=recipe, observe=lambda _: after.append(sorted(grads(rule))))
    assert after == held + held, "gradients at the time a loss has had its backward"
    assert not any(seen), "none left at the next forward"
    assert [sorted(blocks) for blocks in stepped] == held + held and not grads(rule)
    assert {group["block"] for group in optimizer.param_groups} == set(rule.network.block_names), "all groups are back"


def test_without_it_gradients_wait_for_the_end_of_the_step():
    rule, after = make("class-goodness").train(), []
    (x, y), *_ = batches(1)
    train_step(rule, x, y, make_optimizer(rule, Recipe()), observe=lambda _: after.append(len(grads(rule))))
    assert after == [1, 2, 3, 4]


class Custom(Rule):
    """Losses by name, each of the sum of one block's activity; blocks without batch norm."""

    info = RuleInfo(name="custom", locality="block")
    plan: tuple = ()

    def losses(self, x, y):
        for name, block in self.plan:
            yield BlockLoss(name, self.network.blocks[block](x).square().mean(), {})


def custom(*plan):
    network = Network([nn.Linear(6, 6), nn.Linear(6, 6)], sample_shape=(6,))
    rule = Custom(network, num_classes=K)
    rule.plan = plan
    return rule


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([("block0", 0), ("block0", 0)], r"two losses .*block0"),
        ([("block0", 0), ("all", 1)], r"two losses .*block0"),
        ([("block0", 1)], r"a loss .*block1 .*naming"),
    ],
)
def test_losses_that_do_not_each_train_blocks_of_their_own_are_refused(plan, message):
    rule = custom(*plan)
    recipe = Recipe(step_per_block=True)
    with pytest.raises(InputError, match=message):
        train_step(rule, torch.randn(4, 6), torch.arange(4) % K, make_optimizer(rule, recipe), recipe=recipe)


def test_one_block_may_be_stepped_again_in_the_next_step():
    rule, recipe = custom(("block0", 0), ("block1", 1)), Recipe(step_per_block=True)
    stepper = Stepper(rule, make_optimizer(rule, recipe), recipe)
    for _ in range(3):
        train_step(rule, torch.randn(4, 6), torch.arange(4) % K, stepper, recipe=recipe)


# --- micro-batches ----------------------------------------------------------------------------------------------------


def toy(number=24):
    images = torch.randint(0, 256, (number, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(number) % K)
    return data_from_splits("noise", split, split)


class Contrast(Rule):
    """Compares the samples of a batch."""

    info = RuleInfo(name="contrast", locality="global", compares_samples=True)


@pytest.mark.parametrize(
    ("make_rule", "recipe", "message"),
    [
        (
            lambda: Contrast(make("bp").network, num_classes=K),
            {"micro_batches": 2},
            r"'contrast' .*samples of a batch",
        ),
        (
            lambda: make("bp-every", every=2),
            {"micro_batches": 2},
            r"'bp-every' .*counts steps",
        ),
        (lambda: make("class-goodness"), {"micro_batches": 2, "step_per_block": True}, "set recipe.micro_batches to 1"),
        (lambda: make("class-goodness"), {"checkpointing": True}, "no effect on 'class-goodness'"),
    ],
)
def test_options_that_a_rule_cannot_have_are_refused_before_any_step(make_rule, recipe, message):
    with pytest.raises(InputError, match=message):
        Training(make_rule(), toy(), Recipe(batch_size=8, **recipe))


@pytest.mark.parametrize(
    ("name", "options"), [("bp-every", {"every": 1}), ("bp-every", {"every": 0}), ("segmented", {})]
)
def test_rules_whose_steps_are_alike_take_micro_batches(name, options):
    training = Training(make(name, **options), toy(), Recipe(batch_size=8, epochs=1, micro_batches=2))
    assert training.run_epoch().losses


def test_running_averages_move_once_a_micro_batch():
    """As batch normalization does everywhere: after n moves of momentum m a share m^n of the old average is left."""
    (x, y), *_ = batches(1)
    for parts in (1, 2, 3):
        rule = make("class-goodness", clarity_momentum=0.5).train()
        for head in rule.heads.values():
            head.clarity.fill_(1e6)
        recipe = Recipe(micro_batches=parts)
        train_step(rule, x, y, make_optimizer(rule, recipe), recipe=recipe)
        assert [head.clarity.item() / 1e6 for head in rule.heads.values()] == pytest.approx([0.5**parts] * 4, rel=1e-4)
        assert {part.num_batches_tracked.item() for part in rule.modules() if isinstance(part, nn.BatchNorm2d)} == {
            parts
        }


# --- strictly local in memory -----------------------------------------------------------------------------------------


class Alive:
    """Which storages still exist, each by the name it was first seen under."""

    def __init__(self):
        self.known = weakref.WeakValueDictionary()

    def see(self, name, tensor):
        storage = tensor.untyped_storage()
        if all(storage is not other for other in self.known.values()):
            assert name not in self.known, f"the {name} of the pass before still exists"
            self.known[name] = storage

    @property
    def names(self):
        return sorted(self.known)


class Watched(nn.Module):
    """A block whose backward needs its input and its output, and not the map between them."""

    def __init__(self, index, alive, at_forward):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.index = index
        self.alive = alive
        self.at_forward = at_forward

    def forward(self, x):
        self.alive.see(f"in{self.index}", x)
        self.at_forward.append(self.alive.names)
        h = self.linear(x)
        self.alive.see(f"map{self.index}", h)
        h = torch.tanh(h)
        self.alive.see(f"out{self.index}", h)
        return h


@pytest.fixture
def no_collector():
    """Memory must be freed by reference counts at once, not some time later by the collector of cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


OUTPUTS = [["out0", "x"], ["out1", "x"], ["out2", "x"], ["out3", "x"]]
FED = [["x"], ["in1", "x"], ["in2", "x"], ["in3", "x"]]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("step_per_block", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "at_forward", "after_backward"),
    [
        ("local-heads", {}, [["x"], *OUTPUTS[:3]], OUTPUTS),  # a block's activity is the next one's input
        ("class-goodness", {}, FED, OUTPUTS),  # the next block is fed another tensor
        ("ff", {}, [["in0", "x"], *FED[1:]], OUTPUTS),
        ("feedback", {"of": "class-goodness"}, FED + FED, OUTPUTS),
        (
            "segmented",
            {"of": "class-goodness"},
            [["x"], ["in1", "out0", "x"], ["in2", "x"], ["in2", "in3", "out2", "x"]],
            [["out1", "x"], ["out3", "x"]],
        ),
    ],
)
def test_at_any_moment_one_segments_graph_its_input_and_its_output_exist(
    name, options, at_forward, after_backward, step_per_block
):
    alive, found, seen = Alive(), [], []
    blocks = [Watched(index, alive, found) for index in range(4)]
    rule = create_rule(name, Network(blocks, sample_shape=(6,)), num_classes=K, seed=0, **options).train()
    found.clear()
    x, y = torch.randn(12, 6), torch.arange(12) % K
    alive.see("x", x)
    recipe = Recipe(step_per_block=step_per_block)
    train_step(rule, x, y, make_optimizer(rule, recipe), recipe=recipe, observe=lambda _: seen.append(alive.names))
    assert found == at_forward
    assert seen == after_backward
    assert alive.names == ["x"]


@pytest.mark.usefixtures("no_collector")
def test_prediction_holds_one_activity_at_a_time():
    alive, found = Alive(), []
    blocks = [Watched(index, alive, found) for index in range(4)]
    rule = create_rule("class-goodness", Network(blocks, sample_shape=(6,)), num_classes=K, seed=0).eval()
    found.clear()
    x = torch.randn(12, 6)
    alive.see("x", x)
    with torch.no_grad():
        rule.scores(x)
    assert found == FED


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("name", "options"), LOCAL)
def test_peak_saved_bytes_of_sixty_four_blocks_are_those_of_four(name, options, fused):
    x, y = batch(16)
    peaks = []
    for depth in (4, 64):
        rule = make(name, "plain", depth, 1 / 8, fused, **options)
        peaks.append(measure_saved_bytes(rule, x, y)["peak_saved_bytes"])
    assert peaks[1] <= 1.05 * peaks[0]


@pytest.mark.parametrize(("name", "options"), LOCAL)
def test_no_gradient_is_computed_at_a_blocks_input(name, options):
    rule, asked = make(name, **options).train(), []
    for block in rule.network.blocks:
        block.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].requires_grad))
    for loss in rule.losses(*batch(8)):
        loss.value.backward()
    assert asked == [False] * 4


# --- precision and compilation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["cnn4", "resnet18"])
@pytest.mark.parametrize(("name", "options"), [*LOCAL, ("bp", {}), ("bp-deepsup", {"of": "class-goodness"})])
def test_rules_train_in_bf16_and_channels_last_and_stay_finite(name, options, network):
    built = create_network(network, in_channels=3, image_size=8, width=1 / 8, channels_last=True, seed=0)
    rule = create_rule(name, built, num_classes=K, seed=0, **options).train()
    recipe, seen = Recipe(precision="bf16", learning_rate=0.05, optimizer="sgd"), []
    optimizer = make_optimizer(rule, recipe)
    x, y = batch(12)
    for _ in range(12):
        train_step(
            rule, x, y, optimizer, recipe=recipe, observe=lambda loss: seen.append((loss.block, loss.value.item()))
        )
    assert all(math.isfinite(value) for _, value in seen)
    assert all(tensor.isfinite().all() for tensor in rule.state_dict().values())
    last = [value for name, value in seen if name == seen[-1][0]]
    assert last[-1] < last[0], "the loss of a batch that is shown again and again falls"


@pytest.fixture
def graphs(monkeypatch):
    """Compile without generating code: every captured graph is listed here and run as it is."""
    found = []

    def backend(graph, _):
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    yield found
    torch._dynamo.reset()


def steps(rule, precision="float32", number=2):
    recipe = Recipe(precision=precision)
    optimizer = make_optimizer(rule.train(), recipe)
    for x, y in batches(number):
        train_step(rule, x, y, optimizer, recipe=recipe)
    return {key: value.clone() for key, value in rule.state_dict().items()}


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("name", "options"), [*LOCAL[:3], ("bp", {})])
def test_equal_blocks_are_compiled_once_and_give_the_run_of_plain_ones(name, options, precision, graphs):
    """The first block takes the image; all others are equal, so two graphs are made."""
    compiled = make(name, "plain", 8, 1 / 8, compile=True, **options)
    found = steps(compiled, precision)
    assert len(graphs) == 2
    assert_equal_bits(found, steps(make(name, "plain", 8, 1 / 8, **options), precision))


def variable_sizes(graph):
    """Inputs of a captured graph that are sizes to be filled in, not tensors."""
    return [
        node
        for node in graph.graph.nodes
        if node.op == "placeholder" and isinstance(node.meta["example_value"], torch.SymInt)
    ]


@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_block_is_compiled_for_its_own_sizes_however_many_there_are(graphs):
    """Ten kinds, where torch stops after eight compilations of one function and then takes every size for variable."""
    blocks = [nn.Sequential(nn.Linear(4 + index, 5 + index), nn.ReLU()) for index in range(10)]
    network = Network(blocks, sample_shape=(4,)).compile_blocks()
    rule = create_rule("local-heads", network, num_classes=K, seed=0)
    optimizer = make_optimizer(rule.train(), Recipe())
    x, y = torch.randn(12, 4), torch.arange(12) % K
    for _ in range(2):
        train_step(rule, x, y, optimizer)
    assert len(graphs) == 10 and not any(map(variable_sizes, graphs))
    rule.eval()
    with torch.no_grad():
        for size in (20, 20, 7, 5, 20):  # batches and last batches
            rule.scores(torch.randn(size, 4))
    assert len(graphs) == 20, "prediction is compiled once, for batches of any size"
    train_step(rule.train(), x, y, optimizer)
    assert len(graphs) == 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bp", "bp-deepsup"])
def test_checkpointing_a_compiled_network_compiles_nothing_more(name, graphs):
    plain = make(name, "plain", 8, 1 / 8, compile=True, of="class-goodness")
    rule = make(name, "plain", 8, 1 / 8, compile=True, of="class-goodness")
    rule.use_checkpointing(batch(4)[0])
    assert rule.cuts and not graphs, "planning is done on what is not compiled"
    expected = steps(plain)
    number = len(graphs)
    torch._dynamo.reset()
    graphs.clear()
    assert_equal_bits(steps(rule), expected)
    assert len(graphs) == number
