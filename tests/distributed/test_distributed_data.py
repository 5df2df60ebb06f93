"""Data-parallel training is training on one process with the same whole batch; what cannot be that is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.data import Split, data_from_splits
from layerlocal.distributed import DataParallel, DataParallelTraining
from layerlocal.distributed.group import Traffic
from layerlocal.distributed.sync_norm import SyncBatchNorm, synchronize_norms
from layerlocal.networks import create_network
from layerlocal.rules import LocalHeads, RuleInfo, create_rule
from layerlocal.spec import Recipe
from layerlocal.training.train import Training, make_optimizer, train_step
from layerlocal.types import InputError
from processes import run_on

K, B, STEPS = 3, 12, 3
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": B}
CASES = {
    "bp": ({"name": "bp", "of": "class-goodness"}, SGD),
    "bp-deepsup": ({"name": "bp-deepsup"}, SGD),
    "local-heads": ({"name": "local-heads"}, SGD | {"clip": 0.1}),
    "class-goodness": ({"name": "class-goodness", "temperature_gain": 5.0}, SGD),
    "class-goodness, micro-batches": ({"name": "class-goodness"}, SGD | {"micro_batches": 3}),
    "class-goodness, adamw": ({"name": "class-goodness"}, SGD | {"optimizer": "adamw", "learning_rate": 0.01}),
    "ff": ({"name": "ff"}, SGD),
    "ff, micro-batches": ({"name": "ff", "prediction": "softmax"}, SGD | {"micro_batches": 2}),
    "ff, peers": ({"name": "ff", "peer_normalization": 5.0}, SGD),
    "segmented": ({"name": "segmented", "of": "ff"}, SGD),
    "lookahead": ({"name": "lookahead", "of": "class-goodness"}, SGD),
    "bp-every": ({"name": "bp-every"}, SGD),
    "resnet18": ({"name": "class-goodness", "network": "resnet18", "width": 0.0625, "channels_last": True}, SGD),
}


def make(name="local-heads", network="cnn4", width=0.25, channels_last=False, seed=0, **options):
    sizes = {"depth": 3} if network == "cnn4" else {}
    built = create_network(
        network, in_channels=3, image_size=8, width=width, seed=seed, channels_last=channels_last, fused=True, **sizes
    )
    return create_rule(name, built, num_classes=K, seed=seed, **options)


def batch(step=0):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(B, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(B) % K


def state(rule):
    return {name: value.detach().numpy().copy() for name, value in rule.state_dict().items()}


def train_case(case, group=None, **how):
    options, changes = CASES[case]
    rule, recipe = make(**options).double().train(), Recipe(**changes)
    optimizer = make_optimizer(rule, recipe)
    parallel = DataParallel(rule, group, micro_batches=recipe.micro_batches, **how) if group else None
    for step in range(STEPS):
        torch.manual_seed(step)
        if parallel:
            parallel.step(*batch(step), optimizer, recipe=recipe)
        else:
            train_step(rule, *batch(step), optimizer, recipe=recipe)
    if parallel:
        parallel.release()
    return state(rule)


def many_cases(group):
    found = {case: train_case(case, group) for case in CASES}
    return found | {"own statistics": train_case("local-heads", group, sync_norm=False)}


def split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 256, (K, 3, 8, 8), generator=torch.Generator().manual_seed(99))
    y = torch.arange(number) % K
    noise = torch.randint(-40, 41, (number, 3, 8, 8), generator=generator)
    return Split((patterns[y] + noise).clamp(0, 255).to(torch.uint8), y)


def make_data():
    return data_from_splits("toy", split(48, 0), split(12, 1), validation=split(12, 2))


RUN = Recipe(epochs=2, batch_size=B, learning_rate=0.01, optimizer="sgd", crop=1, flip=True)


def a_run(group):
    training = DataParallelTraining(make("class-goodness"), make_data(), RUN, group=group, seed=3)
    if group.rank:
        training.follow()
        return state(training.rule)
    records = [training.run_epoch() for _ in range(2)]
    facts = training.close()["parallel"]
    return state(training.rule), [(r.losses, r.metrics, r.validation.accuracy) for r in records], facts


class Noisy(LocalHeads):
    info = RuleInfo(name="noisy", locality="block")

    def local_loss(self, index, activity, y):
        return super().local_loss(index, activity + 0.1 * torch.rand_like(activity), y)


class Counts(LocalHeads):
    """Keeps a mean of its own samples that nobody averages."""

    info = RuleInfo(name="counts", locality="block")

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.register_buffer("seen", torch.zeros(()))

    def local_loss(self, index, activity, y):
        self.seen.lerp_(activity.detach().mean(), 0.1)
        return super().local_loss(index, activity, y)


def refused(group):
    """The sentences that two bad rules get, each from its first epoch."""
    found = []
    for rule in (Noisy, Counts):
        training = DataParallelTraining(make(rule), make_data(), RUN, group=group)
        with pytest.raises(InputError) as error:
            training.run_epoch() if group.rank == 0 else training.follow()
        found.append(str(error.value))
    return found


def everything(group):
    return many_cases(group), a_run(group), normalized(group), refused(group)


@pytest.fixture(scope="module")
def on_two():
    first, second = run_on(2, everything)
    return dict(zip(("cases", "run", "norm", "refused"), zip(first, second, strict=True), strict=True))


def assert_close(found, expected, rtol, atol):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


# --- equal ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_steps_on_two_processes_are_those_of_one_with_the_whole_batch(on_two, case):
    expected = train_case(case)
    for found in on_two["cases"]:
        assert_close(found[case], expected, rtol=1e-8, atol=1e-11)
    before = state(make(**CASES[case][0]).double())
    assert any(not np.allclose(before[name], expected[name]) for name in expected), "nothing was trained"


def test_all_processes_end_with_the_same_bits(on_two):
    first, second = on_two["cases"]
    for case in CASES:
        assert_close(first[case], second[case], rtol=0, atol=0)


def test_with_statistics_of_its_own_part_the_result_is_another(on_two):
    expected, found = train_case("local-heads"), on_two["cases"][0]["own statistics"]
    weight = "network.blocks.0.0.weight"
    assert np.abs(found[weight] - expected[weight]).max() > 1e-4


def test_a_run_on_two_processes_is_a_run_on_one_in_weights_losses_and_accuracy(on_two):
    training = Training(make("class-goodness"), make_data(), RUN, seed=3)
    records = [training.run_epoch() for _ in range(2)]
    (found, told, _), other = on_two["run"]
    assert_close(found, state(training.rule), rtol=2e-3, atol=2e-4)  # float32: rounding grows over steps
    assert_close(found, other, rtol=0, atol=0)
    for record, (losses, metrics, accuracy) in zip(records, told, strict=True):
        assert losses == pytest.approx(record.losses, rel=1e-3) and metrics == pytest.approx(record.metrics, rel=1e-3)
        assert accuracy == pytest.approx(record.validation.accuracy, abs=1 / 12 + 1e-9)


# --- batch normalization against torch's own --------------------------------------------------------------------------

NORMS = {
    "images": (lambda: nn.BatchNorm2d(4), (8, 4, 5, 3), torch.contiguous_format),
    "channels last": (lambda: nn.BatchNorm2d(4, momentum=0.3), (8, 4, 5, 3), torch.channels_last),
    "vectors": (lambda: nn.BatchNorm1d(4), (8, 4), torch.contiguous_format),
    "no weights": (lambda: nn.BatchNorm1d(4, affine=False), (8, 4), torch.contiguous_format),
    "cumulative": (lambda: nn.BatchNorm2d(4, momentum=None), (8, 4, 2, 2), torch.contiguous_format),
}


def norm_case(name):
    make_norm, shape, layout = NORMS[name]
    generator = torch.Generator().manual_seed(1)
    norm = make_norm().double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)
    draws = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    x = (5 * draws[0] + torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1))).contiguous(memory_format=layout)
    return norm, x, draws[1]


def normalized(group):
    """Outputs, gradients and buffers of each norm after two steps, of this process's rows."""
    found = {}
    for name in NORMS:
        norm, x, weight = norm_case(name)
        holder = nn.ModuleDict({"norm": norm})
        undo = synchronize_norms(holder, group)
        rows = x.tensor_split(group.size)[group.rank].clone().requires_grad_()
        for _ in range(2):
            out = holder["norm"](rows)
        (out * weight.tensor_split(group.size)[group.rank]).sum().backward()
        undo()
        assert holder["norm"] is norm
        found[name] = [
            t.detach().numpy() for t in (out, rows.grad, *[p.grad for p in norm.parameters()], *norm.buffers())
        ]
    return found


@pytest.mark.parametrize("name", NORMS)
def test_a_synchronized_norm_on_two_processes_is_the_plain_norm_on_all_rows(on_two, name):
    norm, x, weight = norm_case(name)
    x.requires_grad_()
    for _ in range(2):
        out = norm(x)
    (out * weight).sum().backward()
    gradients = [p.grad for p in norm.parameters()]
    first, second = (part[name] for part in on_two["norm"])
    for index, whole in enumerate((out.detach(), x.grad)):
        np.testing.assert_allclose(np.concatenate([first[index], second[index]]), whole, rtol=1e-9, atol=1e-12)
    for index, whole in enumerate(gradients, start=2):
        np.testing.assert_allclose(first[index] + second[index], whole, rtol=1e-9, atol=1e-12)
    for index, whole in enumerate(norm.buffers(), start=2 + len(gradients)):
        np.testing.assert_allclose(first[index], whole, rtol=1e-12)
        np.testing.assert_array_equal(first[index], second[index])


# --- what is sent, and when -------------------------------------------------------------------------------------------


class Alone:
    """A group that sends nothing and writes down what it was asked to do."""

    rank = 0

    def __init__(self, size=1, events=None):
        self.size = size
        self.events = [] if events is None else events
        self.traffic = Traffic()

    def start_sum(self, tensor):
        self.events.append(f"send {tensor.numel()}")
        return SimpleNamespace(numbers=tensor.numel())

    def wait(self, work):
        self.events.append(f"wait {work.numbers}")

    def gather(self, tensor):
        return [tensor] * self.size


@pytest.mark.parametrize("name", ["local-heads", "bp"])
def test_a_blocks_gradients_leave_before_the_next_block_computes(name):
    group = Alone()
    rule = make(name).train()
    numbers = [sum(p.numel() for p in ps) for ps in rule.block_parameters().values()]
    for index, block in enumerate(rule.network.blocks):
        block.register_forward_hook(lambda *_, index=index: group.events.append(f"forward {index}"))
    optimizer = make_optimizer(rule, Recipe())
    optimizer.register_step_pre_hook(lambda *_: group.events.append("step"))
    x, y = batch()
    DataParallel(rule, group).step(x.float(), y, optimizer)
    forward, send = [[f"{what} {n}" for n in ns] for what, ns in (("forward", range(3)), ("send", numbers))]
    if name == "bp":
        begun = [*forward, *send[::-1]]
    else:
        begun = [event for pair in zip(forward, send, strict=True) for event in pair]
    assert group.events == [*begun, *[f"wait {n}" for n in numbers], "step"]


def test_a_run_sends_what_a_ring_sends_for_its_gradients_and_its_statistics(on_two):
    """Two processes: each all-reduced number once, each gathered number once."""
    rule = make("class-goodness")
    gradients = sum(p.numel() for p in rule.parameters())
    norms = [m for m in rule.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    statistics = (
        sum(4 * norm.num_features for norm in norms) + 3 * 2
    )  # mean, variance, two sums backward; margin and spread
    facts = on_two["run"][0][2]
    assert facts["bytes_per_step"] == [4 * (gradients + statistics)] * 2
    assert facts["mode"] == "data" and facts["processes"] == 2 and facts["norm"] == "whole batch"
    assert all(0 <= share < 1 for share in facts["idle_share"])


def test_a_released_rule_is_what_it_was():
    rule = make("ff").train()
    norms = [part for part in rule.modules() if isinstance(part, nn.BatchNorm2d)]
    names = list(rule.state_dict())
    parallel = DataParallel(rule, Alone())
    assert list(rule.state_dict()) == names and not any(block.fused for block in rule.network.blocks)
    assert sum(isinstance(part, SyncBatchNorm) for part in rule.modules()) == 3
    parallel.release()
    assert [part for part in rule.modules() if isinstance(part, nn.BatchNorm2d)] == norms
    assert all(block.fused for block in rule.network.blocks) and "inputs" not in vars(rule)
    assert not any(p._post_accumulate_grad_hooks for p in rule.parameters())


# --- refused ----------------------------------------------------------------------------------------------------------


class Compares(LocalHeads):
    info = RuleInfo(name="compares", locality="block", compares_samples=True)


class Twice(LocalHeads):
    info = RuleInfo(name="twice", locality="block")

    def losses(self, x, y):
        yield from super().losses(x, y)
        yield from super().losses(x, y)


def test_what_would_not_be_equal_is_refused_in_a_sentence(on_two):
    with pytest.raises(InputError, match="compares the samples of a batch"):
        DataParallel(make(Compares), Alone(size=2))
    DataParallel(make(Compares), Alone(size=1))
    for changes, words in [
        ({"batch_size": 9}, "9 cannot be cut into 2"),
        ({"step_per_block": True}, "exclude each other"),
    ]:
        with pytest.raises(InputError, match=words):
            DataParallelTraining(make(), make_data(), Recipe(**{"batch_size": B, **changes}), group=Alone(size=2))
    x, y = batch()
    rule = make(Twice).train()
    with pytest.raises(InputError, match=r"block0 .*more than one loss"):
        DataParallel(rule, Alone()).step(x.float(), y, make_optimizer(rule, Recipe()))
    for noisy, counts in on_two["refused"]:
        assert "random numbers outside of `inputs`" in noisy
        assert "seen of rule 'counts'" in counts


def test_gradients_are_averaged_not_summed():
    """Two processes with the same rows: the mean of their gradients is that of one."""
    rules = [make().train(), make().train()]
    x, y = (part[: B // 2] for part in batch())
    for rule, size in zip(rules, (1, 2), strict=True):
        group = Alone(size)
        group.start_sum = lambda tensor, size=size: tensor.mul_(size)
        group.wait = lambda work: None
        optimizer = make_optimizer(rule, Recipe(optimizer="sgd", learning_rate=0.1))
        DataParallel(rule, group).step(torch.cat([x] * size).float(), torch.cat([y] * size), optimizer)
    weights = [rule.network.blocks[1][0].weight.detach() for rule in rules]
    torch.testing.assert_close(*weights)
    assert F.mse_loss(weights[0], make().network.blocks[1][0].weight) > 0
