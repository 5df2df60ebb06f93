"""Networks: published shapes and counts, initial weights block by block, and cutting a module of one's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from layerlocal.networks import Network, create_network, list_networks
from layerlocal.networks.resnet import NarrowShortcut
from layerlocal.types import InputError


def count(module):
    return sum(p.numel() for p in module.parameters())


def convolution(channels, width, side):
    return nn.Sequential(nn.Conv2d(channels, width, side, padding=side // 2, bias=False), nn.BatchNorm2d(width))


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "sides"),
    [
        ("vgg8", [128, 256, 256, 512, 512, 512], [32, 16, 16, 8, 4, 2]),  # 128-256-P-256-512-P-512-P-512-P
        ("vgg11", [64, 128, 256, 256, 512, 512, 512, 512], [16, 8, 8, 4, 4, 2, 2, 1]),
        (
            "vgg16",
            [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
            [32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2, 1],
        ),
    ],
)
def test_vgg_plans_have_one_convolution_a_block_and_pool_inside_blocks(name, channels, sides):
    network = create_network(name, in_channels=3, image_size=32)
    assert network.activity_shapes == [(c, side, side) for c, side in zip(channels, sides, strict=True)]
    sizes = zip([3, *channels], channels, strict=False)
    assert count(network) == sum(9 * before * after + 2 * after for before, after in sizes)
    assert all(sum(isinstance(m, nn.Conv2d) for m in block.modules()) == 1 for block in network.blocks)


def test_resnet18_with_the_cifar_stem_has_the_published_number_of_parameters():
    """11,173,962 with the classifier of 512 × 10 + 10; every residual block is one block."""
    network = create_network("resnet18", in_channels=3, image_size=32)
    assert count(network) == 11_173_962 - 5_130
    assert network.depth == 1 + 8 and network.activity_shapes[-1] == (512, 4, 4)


@pytest.mark.parametrize(
    ("name", "parameters", "blocks"),
    [("resnet18", 11_176_512, 9), ("resnet50", 23_508_032, 17), ("resnet34", 21_284_672, 17)],
)
def test_resnets_with_the_large_stem_have_the_published_number_of_parameters(name, parameters, blocks):
    """torchvision's 11,689,512, 25,557,032 and 21,797,672 without their classifiers (512 or 2048 × 1000 + 1000)."""
    network = create_network(name, in_channels=3, image_size=32, stem="imagenet")
    assert count(network) == parameters and network.depth == blocks


def test_large_images_get_the_large_stem_and_small_ones_the_small():
    large = create_network("resnet18", in_channels=3, image_size=128, width=1 / 16)
    assert large.activity_shapes[0] == (4, 32, 32) and large.activity_shapes[-1] == (32, 4, 4)
    small = create_network("resnet18", in_channels=3, image_size=64, width=1 / 16)
    assert small.activity_shapes[0] == (4, 64, 64)


class PlainResidual(nn.Module):
    """A basic residual block as in 1512.03385, figure 5, written out."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.project = None
        if stride != 1 or before != after:
            self.project = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(out + (x if self.project is None else self.project(x)))


def test_resnet18_computes_what_a_residual_network_written_out_computes():
    network = create_network("resnet18", in_channels=3, image_size=16, width=1 / 8, seed=0)
    stem = nn.Sequential(*convolution(3, 8, 3), nn.ReLU())
    sizes = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    plain = nn.Sequential(stem, *[PlainResidual(*size) for size in sizes])
    for value, source in zip(plain.state_dict().values(), network.state_dict().values(), strict=True):
        value.copy_(source)  # same order: convolutions and norms as they are applied, the projection last
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(network(x), plain(x))


def test_resnet_gradients_survive_the_addition_in_place():
    network = create_network("resnet18", in_channels=3, image_size=8, width=1 / 16, seed=0)
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_mlp_is_linear_norm_relu_blocks_of_the_asked_width():
    network = create_network("mlp", in_channels=3, image_size=8, width=0.5, depth=3, hidden=20)
    assert network.activity_shapes == [(10,)] * 3 and network.sample_shape == (3, 8, 8)
    assert count(network) == 192 * 10 + 20 + 2 * (10 * 10 + 20)
    vectors = create_network("mlp", in_channels=7, image_size=1, depth=1, hidden=4, norm=False)
    assert vectors.sample_shape == (7,) and count(vectors) == 7 * 4 + 4
    linear = vectors.blocks[0][0]
    x = torch.randn(2, 7)
    torch.testing.assert_close(vectors(x), torch.relu(x @ linear.weight.T + linear.bias))


def test_depth_cuts_a_plan_or_repeats_its_last_block_without_pooling():
    assert create_network("vgg8", in_channels=3, image_size=32, width=1 / 64, depth=2).activity_shapes == [
        (2, 32, 32),
        (4, 16, 16),
    ]
    deep = create_network("vgg8", in_channels=3, image_size=32, width=1 / 64, depth=8)
    assert deep.activity_shapes[5:] == [(8, 2, 2)] * 3


@pytest.mark.parametrize("size", [1, 5, 7, 30])
def test_any_image_size_fits_a_vgg(size):
    side, expected = size, []
    for pool in (False, True, False, True, True, True):
        side = -(-side // 2) if pool else side
        expected.append(side)
    assert [
        shape[1] for shape in create_network("vgg8", in_channels=1, image_size=size, width=1 / 64).activity_shapes
    ] == expected


# --- initial weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn4", "vgg8", "vgg16"])
def test_block_i_starts_the_same_at_every_depth_and_differs_by_seed(name):
    def weights(depth, seed):
        network = create_network(name, in_channels=3, image_size=8, width=1 / 32, depth=depth, seed=seed)
        return network.blocks.state_dict()

    shallow, deep, other = weights(2, 0), weights(5, 0), weights(5, 1)
    assert all(torch.equal(shallow[key], deep[key]) for key in shallow)
    linear = [key for key, value in deep.items() if value.dim() > 1]
    assert len(linear) == 5 and not any(torch.equal(deep[key], other[key]) for key in linear)


def test_blocks_of_equal_shape_start_with_weights_of_their_own():
    blocks = create_network("plain", in_channels=8, image_size=8, width=1 / 8, depth=3, seed=0).blocks
    assert not torch.equal(blocks[0][0].weight, blocks[1][0].weight)
    assert not torch.equal(blocks[1][0].weight, blocks[2][0].weight)


def test_a_seeded_network_draws_nothing_from_the_global_generator_and_an_unseeded_one_does():
    before = torch.get_rng_state()
    create_network("cnn4", in_channels=3, image_size=8, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    create_network("cnn4", in_channels=3, image_size=8)
    assert not torch.equal(torch.get_rng_state(), before)


def test_initial_weights_keep_the_variance_of_a_relu_network():
    """Kaiming: Var = 2 / fan, fan_out for convolutions, fan_in for linear maps."""
    conv = create_network("vgg8", in_channels=3, image_size=8, seed=0).blocks[1][0].weight
    assert conv.var().item() == pytest.approx(2 / (9 * 256), rel=0.02)
    linear = create_network("mlp", in_channels=500, image_size=1, seed=0).blocks[0][0].weight
    assert linear.var().item() == pytest.approx(2 / 500, rel=0.02)


# --- layout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn4", "resnet18"])
def test_channels_last_gives_the_same_output_in_another_layout(name):
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    options = {"in_channels": 3, "image_size": 8, "width": 1 / 8, "seed": 0}
    plain, last = (create_network(name, channels_last=layout, **options).double() for layout in (False, True))
    out = last(last.prepare(x))
    torch.testing.assert_close(out, plain(x))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.prepare(x), x) and last.prepare(x).is_contiguous(memory_format=torch.channels_last)


def test_making_a_network_leaves_its_running_statistics_untouched_and_its_mode_training():
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25)
    assert network.training and all(m.training for m in network.modules())
    assert all(int(b) == 0 for key, b in network.named_buffers() if key.endswith("num_batches_tracked"))


# --- a module of one's own --------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A user's module: a residual written in ``forward`` where ``skip`` is set."""

    def __init__(self, skip=False, head=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.top = nn.Flatten()
        self.skip, self.head = skip, head

    def forward(self, x):
        h = self.stem(x)
        h = self.top(self.body(h) + h if self.skip else self.body(h))
        return {"logits": h} if self.head else h


def test_from_module_cuts_a_sequential_by_names_and_shares_its_weights():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    network = Network.from_module(module, [["0", "1"], ["2", "3"]], sample_shape=(6,))
    x = torch.randn(3, 6)
    assert network.depth == 2 and network.activity_shapes == [(5,), (4,)]
    assert torch.equal(network(x), module(x))
    assert next(network.parameters()) is module[0].weight


def test_from_module_takes_named_submodules_and_leaves_the_module_as_it_was():
    module = Own().train()
    module.body.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    network = Network.from_module(module, ["stem", ["body.0", "body.1"], "top"], sample_shape=(3, 4, 4))
    assert network.block_names == ["block0", "block1", "block2"]
    assert module.training and module.stem.training and not module.body.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "blocks", "message"),
    [
        (Own(skip=True), ["stem", "body", "top"], r"Own does x \+ y between 'body' and 'top'"),
        (Own(), ["stem", "top"], r"Own does 'body' between 'stem' and 'top'.*\[\.\.\., 'stem', 'body', 'top', "),
        (Own(), ["stem", "bodi", "top"], r"no submodule 'bodi'; .*body, .*stem"),
        (Own(), ["body", "stem", "top"], r"Own does 'stem' between its input and 'body'"),
        (Own(), [], "at least one block"),
    ],
)
def test_a_cut_that_is_not_the_module_is_refused_with_the_reason(module, blocks, message):
    with pytest.raises(InputError, match=message):
        Network.from_module(module, blocks, sample_shape=(3, 4, 4))


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_list_networks_names_what_create_network_makes():
    assert {"mlp", "vgg8", "vgg11", "vgg16", "resnet18", "resnet50"} <= set(list_networks())
    assert list_networks() == sorted(list_networks())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg9", {}, r"'vgg9'; known: .*Did you mean 'vgg"),
        ("vgg8", {"stem": "cifar"}, r"option of network 'vgg8'.*depth, first"),
        ("vgg8", {"depth": "deep"}, r"depth of network 'vgg8' .*got 'deep'"),
        ("vgg8", {"norm": "False"}, r"norm of network 'vgg8' .*got 'False'"),
        ("resnet18", {"stem": "tall"}, "stem must be"),
        ("vgg8", {"depth": 0}, r"depth .*got 0"),
        ("mlp", {"depth": 0}, r"depth .*got 0"),
        ("mlp", {"depth": 1001}, r"depth .*got 1001"),
        ("vgg8", {"depth": 100_000}, r"depth .*got 100000"),
        ("mlp", {"width": 0.0}, "width must be positive, got 0.0"),
        ("mlp", {"width": -1.0}, "width"),
        ("vgg8", {"width": 0.0}, "width must be positive"),
        ("resnet18", {"width": 0.0}, "width must be positive"),
        ("mlp", {"depth": "two"}, "depth"),
        ("vgg8", {"depth": "two"}, "depth"),
    ],
)
def test_bad_sizes_and_names_are_one_sentence(name, options, message):
    with pytest.raises(InputError, match=message):
        create_network(name, in_channels=3, image_size=8, **options)


@pytest.mark.parametrize("side", [7, 8])
def test_a_narrow_shortcut_is_the_strided_convolution(side):
    """In the layout in which torch's own is sound."""
    narrow = NarrowShortcut(6, 13, 1, stride=2, bias=False)
    plain = nn.Conv2d(6, 13, 1, stride=2, bias=False)
    plain.load_state_dict(narrow.state_dict())
    x = torch.randn(4, 6, side, side)
    grads = []
    for conv, given in ((narrow, x), (narrow, x.contiguous(memory_format=torch.channels_last)), (plain, x)):
        given = given.detach().requires_grad_()
        out = conv(given)
        out.square().sum().backward()
        grads.append((out, given.grad, conv.weight.grad.clone()))
        conv.weight.grad = None
    for found in grads[:2]:
        for one, other in zip(found, grads[2], strict=True):
            torch.testing.assert_close(one, other)


def test_a_very_narrow_resnet_trains_channels_last():
    """Torch 2.13 corrupts memory in the plain layer's backward; in a process of its own, which would die of it."""
    code = """
import torch
from layerlocal.networks import create_network
network = create_network("resnet18", in_channels=3, image_size=16, width=0.1, seed=0, channels_last=True)
for _ in range(12):
    h = network.prepare(torch.randn(6, 3, 16, 16))
    for block in network.blocks:
        h = block(h)
    h.square().mean().backward()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
