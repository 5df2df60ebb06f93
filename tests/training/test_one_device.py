"""A training step stays on its device and waits for nothing, tried on torch's device without numbers, `meta`, as on a GPU without one.

Whatever torch is asked for in a step and in a prediction is seen (`OneDevice`): operations on tensors of two devices, copies between devices
and numbers read from one are refused. Kernels, streams and autocast of a GPU are for the tests with the mark ``gpu``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerlocal.data.batches import Augment, AugmentDraws, crop_and_flip, cutout_mask, normalize
from layerlocal.data.bundle import Split
from layerlocal.devices import cuda_devices, drawn_from, this_device
from layerlocal.kernels.fused import norm_act
from layerlocal.measure import measure_locality
from layerlocal.measure.probe import exact_kernels
from layerlocal.networks import create_network
from layerlocal.rules import create_rule, list_rules
from layerlocal.spec import Recipe
from layerlocal.training.averaging import Average
from layerlocal.training.meter import Meter
from layerlocal.training.optimizer import Stepper, make_optimizer
from layerlocal.training.train import train_step
from layerlocal.types import BlockLoss
from rules_by_hand import K, X, Y, make, rule_on, sizes

AWAY = torch.device("meta")
ATEN = torch.ops.aten


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU refuses, or is slow by: a scalar (0 dimensions) of the CPU may be mixed in, as there."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        copies = operation in (ATEN.copy_.default, ATEN._to_copy.default)
        devices = {tensor.device.type for tensor in tensors if tensor.dim() or copies}
        if copies and kwargs.get("device") is not None:
            devices.add(torch.device(kwargs["device"]).type)
        assert len(devices) < 2, f"{operation} on {sorted(devices)}"
        reads = operation in (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.equal.default)
        assert not (reads and devices | {tensor.device.type for tensor in tensors} != {"cpu"}), f"{operation} waits"
        return operation(*args, **kwargs)


@pytest.fixture(autouse=True)
def _without_autocast(monkeypatch):
    """Which `meta` has none of, so that torch raises where it is asked."""
    asked = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *kind: kind != (AWAY.type,) and asked(*kind))


def step_and_predict(rule, x, y, recipe, steps=2):
    """As `Training` does: steps with sums of their losses and averaged weights, and a prediction."""
    rule = rule.to(AWAY).train()
    x, y = x.to(AWAY), y.to(AWAY)
    stepper, average = Stepper(rule, make_optimizer(rule, recipe), recipe), Average(rule, 1)
    meter = Meter(rule.network.block_names)
    with OneDevice():
        for step in range(1, steps + 1):
            train_step(rule, x, y, stepper, recipe=recipe, observe=meter.add)
            average.after_step(step, steps)
        with torch.no_grad():
            rule.eval()
            found = rule.block_scores(x), rule.scores(x)
    assert meter.counts and all(tensor.device == AWAY for tensor in found)


def test_what_is_refused_here_is_what_a_gpu_refuses_or_waits_for():
    away, here = torch.ones(2, device=AWAY), torch.ones(2)
    with OneDevice():
        assert (away + torch.tensor(1.0)).device == AWAY  # a scalar
        for act in (
            lambda: torch.cat([away, here]), lambda: away.copy_(here), lambda: here.to(AWAY), lambda: away.sum().item(),
            lambda: away.nonzero(), lambda: bool(away.isfinite().all()), lambda: torch.equal(away, away),
        ):  # fmt: skip
            with pytest.raises(AssertionError):
                act()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", list_rules())
def test_a_step_of_every_rule_stays_on_its_device(name, fused):
    step_and_predict(rule_on(name, sizes(fused=fused)), X, Y, Recipe(optimizer="sgd"))


OPTIONS = [
    ("local-heads", {"head": "conv", "label_smoothing": 0.2}),
    ("local-heads", {"head": "mlp", "grid": 3}),
    ("local-heads", {"readout": "max"}),
    ("local-heads", {"readout": "mean", "factors": "1x3", "fusion": "last"}),
    ("bp-deepsup", {"head": "conv", "readout": "max"}),
    ("committee", {"readout": "max", "wide": True, "head_width": 9}),
    ("ff", {"prediction": "softmax"}),
    ("ff", {"label": "one-hot"}),
    ("bp-every", {"every": 3}),
    ("lookahead", {"blocks_ahead": 2, "of": "committee"}),
    ("feedback", {"of": "dtg-ff"}),
    ("segmented", {"of": "reconstruct"}),
    ("diffusion-blocks", {"embeddings": "shared"}),
]


@pytest.mark.filterwarnings("ignore:the heads of")
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_so_does_one_with_other_options(name, options):
    step_and_predict(make(name, **options), X, Y, Recipe())


@pytest.mark.parametrize("fields", [{"micro_batches": 2}, {"clip": 1.0, "step_per_block": True}, {"norm_rate": 64.0}])
def test_so_does_one_of_another_recipe(fields):
    step_and_predict(make("dtg-ff"), X, Y, Recipe(**{"batch_size": 12} | fields))


def test_so_does_the_network_of_the_fastest_training():
    built = create_network("speedrun", in_channels=3, image_size=16, width=0.1, seed=0, channels_last=True)
    step_and_predict(create_rule("local-heads", built, num_classes=K, seed=0), X, Y, Recipe(average_every=1))


def test_augmentation_stays_where_the_images_are():
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8, device=AWAY)
    draws = AugmentDraws.draw(6, Augment(crop=2, flip=True), height=8, width=8, generator=torch.Generator()).to(AWAY)
    with OneDevice():
        found = crop_and_flip(images, draws, crop=2)
        mask = cutout_mask(draws, side=4, height=8, width=8)
        x = normalize(found, torch.zeros(3, device=AWAY), torch.ones(3, device=AWAY)).masked_fill_(mask, 0.0)
    assert x.device == AWAY and x.shape == images.shape


def test_rows_are_gathered_where_they_lie_whatever_says_which():
    split = Split(
        torch.zeros(6, 3, 8, 8, dtype=torch.uint8, device=AWAY), torch.zeros(6, dtype=torch.int64, device=AWAY)
    )
    assert split.gather(torch.tensor([4, 1])).images.device == AWAY


def test_the_counter_of_global_steps_stays_on_the_cpu_wherever_the_rule_goes():
    rule = make("bp-every")
    rule.steps += 5
    assert int(rule.to(AWAY).steps) == 5 and rule.network.blocks[0][0].weight.device == AWAY


def test_sums_of_coarse_metrics_are_fine():
    meter = Meter(["block0"])
    for _ in range(1000):
        meter.add(BlockLoss("block0", torch.tensor(0.5), {"part/block0": torch.tensor(1.0, dtype=torch.bfloat16)}))
    assert meter.means(meter.metrics) == {"part/block0": 1.0}


# --- generators and kernels ---------------------------------------------------------------------------------------------


def test_no_gpu_is_seeded_or_looked_at_by_what_is_drawn_on_the_cpu(monkeypatch):
    def refuse(*_):
        raise AssertionError("a GPU was asked")

    for name in ("manual_seed", "manual_seed_all", "get_rng_state", "set_rng_state", "device_count"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    rule = make("dtg-ff")
    assert measure_locality(rule, X, Y)["certified"]


def test_what_is_drawn_inside_comes_of_the_seed_and_nothing_of_it_is_left():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with drawn_from(3):
        found = torch.rand(4)
    assert torch.equal(found, expected) and torch.equal(torch.get_rng_state(), before)


def test_a_device_has_its_number_and_generators_are_those_of_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert [str(this_device(name)) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda:2", "cuda:1"]
    assert cuda_devices([torch.ones(1), torch.ones(1, device=AWAY)]) == []


def test_on_a_gpu_couplings_are_looked_for_with_kernels_that_give_the_same_bits_each_time():
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()
    with exact_kernels(torch.device("cuda")):
        assert (cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()) == (True, False, 1)
    assert (cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()) == before
    with exact_kernels(torch.device("cpu")):
        assert (cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()) == before


def test_a_fused_block_makes_the_cells_of_its_readout_without_waiting():
    u = torch.randn(4, 3, 9, 9, device=AWAY, requires_grad=True)
    norm = torch.nn.BatchNorm2d(3).to(AWAY)
    with OneDevice():
        found = norm_act(u, norm, pool=True, grid=2)
        (found.cells.sum() + found.sum()).backward()
    assert found.cells.shape == (4, 12) and u.grad.device == AWAY
