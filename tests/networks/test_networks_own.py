"""Networks of a user's own by ``FILE.py:FUNCTION``: made like ours from a seed, its parameters are options, and each mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from layerlocal import LayerLocalClassifier, Recipe, create_rule, data_from_arrays, fit
from layerlocal.measure import measure_locality
from layerlocal.networks import create_network, network_options
from layerlocal.networks.own import OwnNetwork
from layerlocal.training.train import losses_of
from layerlocal.types import InputError

EXAMPLE = f"{Path(__file__).parents[2]}/examples/my_network.py:small_cnn"
FILE = """
import torch
from torch import nn
from layerlocal import Network, create_network


def conv(inside, outside):
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU())


def shape(in_channels, image_size):
    return (in_channels, image_size, image_size)


def plain(in_channels, image_size):
    return Network([conv(in_channels, 4), conv(4, 6)], sample_shape=shape(in_channels, image_size))


def cut(in_channels, image_size):
    return nn.Sequential(conv(in_channels, 4), conv(4, 6)), ["0", "1"]


def seeded(in_channels, image_size, *, seed, width=1, depth=2):
    return create_network("cnn4", in_channels=in_channels, image_size=image_size, seed=seed, width=width, depth=depth)


def any_option(in_channels, image_size, **options):
    return create_network("cnn4", in_channels=in_channels, image_size=image_size, **options)


class Chain(Network):
    def __init__(self, in_channels, image_size):
        super().__init__([conv(in_channels, 4)], sample_shape=shape(in_channels, image_size))


def module(in_channels, image_size):
    return nn.Sequential(conv(in_channels, 4))


def raises(in_channels, image_size):
    raise ValueError("of moonlight")


def leaves(in_channels, image_size):
    raise SystemExit


def unchained(in_channels, image_size):
    return Network([conv(in_channels, 4), conv(5, 6)], sample_shape=shape(in_channels, image_size))


def lossy(in_channels, image_size):
    return nn.Sequential(conv(in_channels, 4), nn.Sigmoid(), conv(4, 6)), ["0", "2"]


def other_shape(in_channels, image_size):
    return Network([conv(7, 4)], sample_shape=(7, 5, 5))


def takes_nothing():
    return None


def without_default(in_channels, image_size, depth):
    return None


def channels_as_width(in_channels, image_size, width=64):
    return None


KEPT = conv(3, 4)


def kept(in_channels, image_size):
    return Network([KEPT], sample_shape=shape(in_channels, image_size))


def huge(in_channels, image_size):
    return Network([nn.Sequential(nn.Flatten(), nn.Linear(10**9, 10**9))], sample_shape=shape(in_channels, image_size))
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes a network of `FILE`."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FILE)

    def made(function, **given):
        return create_network(f"net.py:{function}", **{"in_channels": 3, "image_size": 8} | given)

    return made


def weights(network):
    return [p.detach().clone() for p in network.parameters()]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))


@pytest.mark.parametrize("function", ["plain", "cut"])
def test_a_network_and_a_module_with_its_blocks_make_the_same_network(make, function):
    network = make(function, seed=1)
    assert network.sample_shape == (3, 8, 8) and network.activity_shapes == [(4, 8, 8), (6, 8, 8)]
    assert same(network, make("plain", seed=1)), "the seed is set around the call, whatever the function returns"


def test_a_class_made_from_network_is_a_function_too(make):
    assert make("Chain").activity_shapes == [(4, 8, 8)]


@pytest.mark.parametrize("function", ["plain", "seeded"])
def test_equal_seeds_give_equal_weights_and_others_do_not(make, function):
    state = torch.get_rng_state()
    assert same(make(function, seed=1), make(function, seed=1)) and not same(
        make(function, seed=1), make(function, seed=2)
    )
    assert torch.equal(torch.get_rng_state(), state), "the global generator is as it was"


def test_what_a_file_draws_as_it_is_imported_is_the_same_in_every_process(tmp_path):
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        (tmp_path / f"net{seed}.py").write_text(FILE)
        drawn.append(OwnNetwork(tmp_path / f"net{seed}.py", "kept").function.__globals__["KEPT"])
    assert same(*drawn)


def test_without_a_seed_torch_s_own_generator_draws(make):
    torch.manual_seed(3)
    one = make("plain")
    torch.manual_seed(3)
    assert same(one, make("plain")) and not same(one, make("plain"))


def test_a_function_that_hands_the_seed_on_makes_the_same_weights_as_ours(make):
    ours = create_network("cnn4", in_channels=3, image_size=8, seed=5, width=0.5, depth=3)
    assert same(make("seeded", seed=5, width=0.5, depth=3), ours)


def test_one_block_of_ours_begins_as_it_does_without_a_file(tmp_path, monkeypatch):
    """Block 0 of ours draws from a seed of its own, and so does a function."""
    monkeypatch.chdir(tmp_path)
    Path("one.py").write_text(
        "from layerlocal import create_network\n\ndef seeded(in_channels, image_size):\n"
        "    return create_network('cnn4', in_channels=in_channels, image_size=image_size, depth=1)\n"
    )
    one = create_network("one.py:seeded", in_channels=3, image_size=8, seed=5)
    assert same(one, create_network("cnn4", in_channels=3, image_size=8, seed=5, depth=1))


def test_the_other_parameters_are_options_with_their_defaults(make):
    assert network_options("net.py:plain") == {} and network_options("net.py:seeded") == {"depth": 2}
    assert network_options(EXAMPLE) == {"depth": 3, "channels": 32}
    assert make("seeded", depth=4).depth == 4
    assert make("any_option", depth=3, norm=False).depth == 3, "what a function collects it gets"


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_layout_compilation_and_fusion_are_as_for_ours(make):
    network = make("seeded", channels_last=True, fused=True, compile=True)
    assert network.channels_last and network.fused and network.compiled
    assert not make("plain", fused=True).fused, "no block of ours in it"


@pytest.mark.parametrize(("width", "channels"), [(1.0, 32), (0.25, 8)])
def test_a_width_goes_to_a_function_that_takes_it(width, channels):
    network = create_network(EXAMPLE, in_channels=1, image_size=8, width=width)
    assert network.width == width and network.activity_shapes == [(channels, 4, 4), (channels, 2, 2), (channels, 2, 2)]


def test_vectors_have_an_image_size_of_1(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef mlp(in_channels, image_size):\n"
        "    return nn.Sequential(nn.Linear(in_channels, 4), nn.ReLU()), [['0', '1']]\n"
    )
    assert create_network(f"{tmp_path}/net.py:mlp", in_channels=9, image_size=1).sample_shape == (9,)


REFUSED = {
    "net.py:nothing": r"^net\.py .*'nothing'; .*conv, shape",
    "net.py": r"^net\.py .*FILE\.py:FUNCTION, .*conv",
    "net.py:KEPT": r"has no function 'KEPT'",
    "away.py:net": r"network file away\.py: No such file",
    "broken.py:net": r"^broken\.py .*ZeroDivisionError: division by zero$",
    "net": r"^unknown network 'net'; known: .*FILE\.py:FUNCTION",
    "net.py:module": r"'net\.py:module' .*returns Sequential",
    "net.py:raises": r"'net\.py:raises' .*ValueError at net\.py:\d+: of moonlight$",
    "net.py:leaves": r"SystemExit at net\.py:\d+",
    "net.py:unchained": r"block1 .*input of shape \(4, 8, 8\)",
    "net.py:lossy": r"Sequential does '1' between '0' and '2'",
    "net.py:other_shape": r"\(7, 5, 5\) .*\(3, 8, 8\)",
    "net.py:takes_nothing": r"in_channels; .*def takes_nothing",
    "net.py:without_default": r"depth without a default",
    "net.py:channels_as_width": r"width of network 'net\.py:channels_as_width'",
    "net.py:huge": r"network 'net\.py:huge' .* memory",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_network_is_refused_in_one_sentence(make, name):
    Path("broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match=REFUSED[name]) as error:
        create_network(name, in_channels=3, image_size=8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("function", "given", "sentence"), [
    ("plain", {"width": 0.5}, r"width .*0\.5; .*parameter width"),
    ("plain", {"depth": 3}, r"network 'net\.py:plain': 'depth'; known: none"),
    ("seeded", {"dept": 3}, r"Did you mean 'depth'\?"),
    ("seeded", {"depth": "three"}, r"depth of network 'net\.py:seeded' .*got 'three'"),
    ("seeded", {"depth": 0}, r"cannot be made: depth .*got 0"),
])  # fmt: skip
def test_what_the_function_does_not_take_is_refused(make, function, given, sentence):
    with pytest.raises(InputError, match=sentence):
        make(function, **given)


def test_modules_that_were_made_before_are_refused_as_they_may_be_trained(make):
    assert make("kept").depth == 1
    with pytest.raises(InputError, match=r"modules .*returned before"):
        make("kept")


def test_twins_on_it_are_exact_and_the_rule_is_certified():
    x, y = torch.randn(6, 3, 8, 8), torch.arange(6) % 3

    def built(rule, **options):
        network = create_network(EXAMPLE, in_channels=3, image_size=8, width=0.25, seed=0)
        return create_rule(rule, network, num_classes=3, seed=0, **options)

    local, bp, deepsup = (
        built("class-goodness"),
        built("bp", of="class-goodness"),
        built("bp-deepsup", of="class-goodness"),
    )
    assert same(local.network, bp.network) and same(local.network, deepsup.network)
    sums = {rule: [loss.value.item() for loss in losses_of(rule.train(), x, y)] for rule in (local, bp, deepsup)}
    assert len(sums[local]) == 3
    assert sums[bp] == pytest.approx(sums[local][-1:], rel=1e-5)
    assert sums[deepsup] == pytest.approx([sum(sums[local])], rel=1e-5)
    certificate = measure_locality(built("class-goodness"), x, y)
    assert certificate["certified"] and certificate["measured"] == "block"
    assert measure_locality(built("bp", of="class-goodness"), x, y)["measured"] == "global"


def test_fit_and_the_estimator_take_it_by_name():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 1, 8, 8, generator=generator), torch.arange(60) % 3
    options = {"channels": 8, "depth": 2}
    fitted = fit(
        "class-goodness",
        data_from_arrays(x, y),
        Recipe(epochs=1, batch_size=16),
        network=EXAMPLE,
        network_options=options,
    )
    assert fitted.rule.network.activity_shapes == [(8, 4, 4), (8, 2, 2)]
    module = fitted.to_module()
    assert module(x[:2]).shape == (2, 3)
    assert not [part for part in module.modules() if type(part).__module__.startswith("layerlocal.networks")], (
        "plain modules"
    )
    found = LayerLocalClassifier(network=EXAMPLE, network_options=options, epochs=1, batch_size=16, random_state=0)
    assert found.fit(x.numpy(), y.numpy()).rule_.network.activity_shapes == [(8, 4, 4), (8, 2, 2)]
