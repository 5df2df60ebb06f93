"""The fused operation: the numbers and gradients of the plain modules one after another, for less kept."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.kernels import cells_of, fuses, grid_rms, native, norm_act
from layerlocal.kernels.fused import _Native
from layerlocal.measure import measure_saved_bytes
from layerlocal.networks import Network, create_network
from layerlocal.networks.resnet import ResidualBlock, large_stem
from layerlocal.networks.vgg import conv_block
from layerlocal.rules import create_rule

N, C = 5, 12
WAYS = ["torch", "native"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Torch's operations in float64, and the compiled ones in float32."""
    if request.param == "native" and native.library() is None:
        pytest.skip("no C compiler")
    if request.param == "torch":
        monkeypatch.setattr(_Native, "takes", staticmethod(lambda u, residual: False))
    return request.param


def numbers(*shape, seed, dtype):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


def normalization(dtype, weight_shift=0.0):
    norm = nn.BatchNorm2d(C, dtype=dtype)
    norm.weight.data = numbers(C, seed=2, dtype=dtype) + weight_shift
    norm.bias.data = numbers(C, seed=3, dtype=dtype)
    return norm


def plain(u, norm, pool, residual):
    z = norm(u)
    a = F.relu(z if residual is None else z + residual)
    return F.max_pool2d(a, 2, ceil_mode=True) if pool else a


def outcome(operation, dtype, shape, pool, with_residual, grid, uses_map, weight_shift):
    """Output, loss, gradients, running statistics of one forward and backward."""
    u = numbers(N, C, *shape, seed=1, dtype=dtype).requires_grad_()
    norm = normalization(dtype, weight_shift)
    residual = numbers(N, C, *shape, seed=4, dtype=dtype).requires_grad_() if with_residual else None
    p, rms = operation(u, norm, pool, residual, grid)
    loss = torch.zeros((), dtype=dtype)
    if uses_map:
        loss = loss + (p * numbers(*p.shape, seed=5, dtype=dtype)).sum()
    if grid:
        loss = loss + (rms * numbers(*rms.shape, seed=6, dtype=dtype)).sum()
    loss.backward()
    found = [p, rms, u.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    return [*found, residual.grad] if with_residual else found


def by_modules(u, norm, pool, residual, grid):
    p = plain(u, norm, pool, residual)
    return p, grid_rms(p, grid) if grid else p.sum()


def fused(u, norm, pool, residual, grid):
    p = norm_act(u, norm, pool=pool, residual=residual, grid=grid)
    return p, cells_of(p, grid) if grid else p.sum()


@pytest.mark.parametrize("grid, uses_map", [(0, True), (1, False), (2, False), (4, False), (2, True)])
@pytest.mark.parametrize("pool, with_residual", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1), (3, 2)])
def test_it_is_the_modules_one_after_another_with_their_gradients(way, shape, pool, with_residual, grid, uses_map):
    dtype, tolerance = (torch.float64, 1e-10) if way == "torch" else (torch.float32, 3e-5)
    for weight_shift in (
        0.0,
        2.5,
    ):  # some weights near or below zero; all well above: the gradient then comes from sums in cells
        case = (shape, pool, with_residual, grid, uses_map, weight_shift)
        expected = outcome(by_modules, torch.float64, *case)
        for found, right in zip(outcome(fused, dtype, *case), expected, strict=True):
            torch.testing.assert_close(
                found.double(), right, rtol=tolerance, atol=tolerance * float(right.detach().abs().max())
            )


def test_equal_maxima_of_a_window_send_the_gradient_to_the_first(way):
    u = torch.ones(2, C, 4, 4).contiguous(memory_format=torch.channels_last)
    u[1] = 0
    norm = nn.BatchNorm2d(C)
    results = []
    for operation in (by_modules, fused):
        leaf = u.clone(memory_format=torch.preserve_format).requires_grad_()
        p, _ = operation(leaf, copy.deepcopy(norm), True, None, 0)
        p.sum().mul(p.detach().sum()).backward()
        results.append(leaf.grad)
    torch.testing.assert_close(results[1], results[0])


def test_not_a_number_stays_not_a_number(way):
    u = numbers(N, C, 4, 4, seed=1, dtype=torch.float32)
    u[0, 3, 1, 1] = float("nan")
    norm = nn.BatchNorm2d(C)
    for pool in (False, True):
        p = norm_act(u, norm, pool=pool, grid=2)
        assert p[:, 3].isnan().all() and cells_of(p, 2).view(N, 4, C)[..., 3].isnan().all()
        assert not p[:, 4].isnan().any()


def test_a_graph_that_is_kept_gives_the_same_gradient_again(way):
    u = numbers(N, C, 6, 6, seed=1, dtype=torch.float32)
    conv, norm = nn.Conv2d(C, C, 1), nn.BatchNorm2d(C)
    loss = cells_of(norm_act(conv(u), norm, grid=2), 2).square().sum()
    first = torch.autograd.grad(loss, conv.weight, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, conv.weight, retain_graph=True)[0])
    assert torch.equal(first, torch.autograd.grad(loss, conv.weight)[0])


def test_the_cells_of_a_detached_activity_are_computed_anew(way):
    p = norm_act(numbers(N, C, 6, 6, seed=1, dtype=torch.float32), nn.BatchNorm2d(C), grid=2)
    assert cells_of(p, 2) is p.cells and type(p * 1) is torch.Tensor
    torch.testing.assert_close(cells_of(p.detach(), 2), p.cells, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cells_of(p, 3), grid_rms(p.detach(), 3))


def test_the_number_of_threads_changes_no_bit():
    if native.library() is None:
        pytest.skip("no C compiler")
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(outcome(fused, torch.float32, (9, 9), True, False, 2, True, 0.0))
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --- blocks ------------------------------------------------------------------------------------------------------------

BLOCKS = {
    "conv": lambda: conv_block(3, 8),
    "conv and pooling": lambda: conv_block(3, 8, pool=True),
    "without normalization": lambda: conv_block(3, 8, norm=False),
    "stem": lambda: large_stem(3, 8),
    "residual": lambda: ResidualBlock(3, 8, stride=2),
    "residual, identity": lambda: ResidualBlock(3, 3),
    "bottleneck": lambda: ResidualBlock(3, 8, bottleneck=True),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_fused_block_is_the_block(way, name, training):
    torch.manual_seed(0)
    block = BLOCKS[name]().double().to(memory_format=torch.channels_last).train(training)
    other = copy.deepcopy(block)
    other.fused, other.cells = True, 2
    x = numbers(N, 3, 9, 9, seed=1, dtype=torch.float64)
    with torch.set_grad_enabled(training):
        found, right = other(x), block(x)
    torch.testing.assert_close(found, right)
    if training:
        pull = numbers(*found.shape, seed=2, dtype=torch.float64)
        for output in (found, right):
            (output * pull).sum().backward()
        for (key, a), b in zip(other.named_parameters(), block.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, msg=lambda text, key=key: f"{key}: {text}")
    for (key, a), b in zip(other.state_dict().items(), block.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, key=key: f"{key}: {text}")


def test_it_stands_aside_where_modules_do_something_else():
    norm = nn.BatchNorm2d(C)
    assert fuses(norm)
    assert not fuses(nn.BatchNorm2d(C, affine=False)) and not fuses(nn.BatchNorm2d(C, momentum=None))
    assert not fuses(nn.SyncBatchNorm(C)) and not fuses(nn.GroupNorm(2, C)) and not fuses(norm.eval())
    with torch.no_grad():
        assert fuses(norm)
    norm.train()
    with torch.autocast("cpu", torch.bfloat16):
        assert not fuses(norm)
    norm.register_forward_hook(lambda *_: None)
    assert not fuses(norm)


def test_without_a_compiler_torch_does_the_work(monkeypatch):
    native.library.cache_clear()
    monkeypatch.setenv("CC", "/no/such/compiler")
    try:
        with pytest.warns(UserWarning, match="torch's own operations do the work"):
            assert native.library() is None
        rule = made("class-goodness")
        assert all(loss.value.isfinite() for loss in rule.losses(torch.randn(4, 3, 16, 16), torch.arange(4)))
    finally:
        native.library.cache_clear()


# --- what a rule keeps -------------------------------------------------------------------------------------------------


def made(name, fused=True, network="cnn4", **options):
    built = create_network(network, in_channels=3, image_size=16, width=0.5, seed=0, channels_last=True, fused=fused)
    return create_rule(name, built, num_classes=4, seed=0, **options).train()


@pytest.mark.parametrize("name", ["class-goodness", "local-heads", "bp", "bp-deepsup"])
@pytest.mark.parametrize("network", ["cnn4", "resnet18"])
def test_losses_and_gradients_of_a_rule_are_those_of_plain_layers(way, name, network):
    x, y = numbers(8, 3, 16, 16, seed=0, dtype=torch.float64), torch.arange(8) % 4
    gradients = []
    for fused_ in (False, True):
        rule = made(name, fused_, network).double()
        for loss in rule.losses(x, y):
            loss.value.backward()
        gradients.append({key: p.grad for key, p in rule.named_parameters()})
    for key, right in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], right, rtol=1e-6, atol=1e-9)


def test_a_local_block_keeps_its_input_and_its_convolution_and_a_few_numbers_a_cell(way):
    """cnn4 at width 0.5 on 16 px: block 1 holds most: 16 channels in, 32 out, both at 8 × 8; block 0: 3 in, 16 out at 16 × 16."""
    batch = 8
    x, y = numbers(batch, 3, 16, 16, seed=0, dtype=torch.float32), torch.arange(batch) % 4
    maps = 4 * batch * max(3 * 256 + 16 * 256, (16 + 32) * 64)
    found = measure_saved_bytes(made("class-goodness"), x, y)["peak_saved_bytes"]
    cells = 4 * batch * 4 * 32  # one number a cell and channel, of the wider block
    assert maps < found < maps + 8 * cells


def test_a_users_own_blocks_stay_as_they_are():
    network = Network([nn.Sequential(nn.Flatten(), nn.Linear(12, 4))], sample_shape=(3, 2, 2)).use_fused()
    assert not hasattr(network.blocks[0], "fused")


def test_a_residual_block_with_another_normalization_runs_its_modules():
    block = ResidualBlock(3, 8).train()
    x = torch.randn(N, 3, 6, 6)
    block.branch[1] = nn.GroupNorm(2, 8)
    right = block(x)
    block.fused = True
    assert torch.equal(block(x), right)
