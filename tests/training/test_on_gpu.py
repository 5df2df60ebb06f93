"""What is true on a GPU, on a GPU: `pytest -m gpu`, or `make gpu`. Everywhere else these are left out; `test_one_device` sees what it can."""

from __future__ import annotations

import contextlib

import pytest
import torch

from layerlocal import Recipe, create_network, load_data
from layerlocal.data import Batches
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.measure import measure_alone, try_budget
from layerlocal.measure import measure_locality, measure_saved_bytes, measure_speed
from layerlocal.rules import create_rule, list_rules
from layerlocal.training.optimizer import Stepper, make_optimizer
from layerlocal.training.train import Training, losses_of, train_step
from rules_by_hand import OF_TOKENS, X, Y, make, rule_on, sizes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:the heads of"),
]
every_rule = pytest.mark.parametrize("name", list_rules())


@contextlib.contextmanager
def exact_products():
    """Convolutions in float32, not TF32; torch multiplies matrices so by itself."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextlib.contextmanager
def waits_refused():
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("recipe", [Recipe(optimizer="sgd"), Recipe(precision="bf16"), Recipe(clip=1.0)])
@pytest.mark.parametrize("fused", [False, True])
@every_rule
def test_no_step_waits_for_the_gpu(name, fused, recipe):
    rule = rule_on(name, sizes(fused=fused, channels_last=True)).to("cuda").train()
    x, y = X.to("cuda"), Y.to("cuda")
    stepper = Stepper(rule, make_optimizer(rule, recipe), recipe)
    train_step(rule, x, y, stepper, recipe=recipe)  # what is made once: handles, kernels, the optimizer's state
    with waits_refused():
        train_step(rule, x, y, stepper, recipe=recipe)
    assert all(parameter.isfinite().all() for parameter in rule.parameters())


DRAWS = {"ff", "symba", "scff", "diffusion-blocks"}
"""Rules whose steps draw: a GPU's generator gives other numbers than the CPU's."""


@pytest.mark.parametrize("fused", [False, True])
@every_rule
def test_losses_and_scores_are_those_of_the_cpu(name, fused):
    with exact_products():
        found = []
        for device in ("cpu", "cuda"):
            rule = rule_on(name, sizes(fused=fused)).to(device)
            rule.eval()
            with torch.no_grad():
                scores = rule.scores(X.to(device)).cpu()
            rule.train()
            losses = [loss.value.detach().cpu() for loss in rule.losses(X.to(device), Y.to(device))]
            found.append((scores, torch.stack(losses)))
    (scores, losses), (other_scores, other_losses) = found
    assert torch.allclose(scores, other_scores, rtol=1e-3, atol=1e-3)
    assert name in DRAWS or torch.allclose(losses, other_losses, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["local-heads", "class-goodness", "dtg-ff", "bp", "bp-deepsup", "committee", "reconstruct", *OF_TOKENS]
)
def test_a_rule_is_certified_there(name):
    rule = make(name).to("cuda")
    found = measure_locality(rule, X.to("cuda"), Y.to("cuda"))
    assert found["certified"], found["problems"]


def test_what_is_saved_for_backward_is_counted_there_too():
    local, whole = (
        measure_saved_bytes(make(name).to("cuda"), X.to("cuda"), Y.to("cuda")) for name in ("local-heads", "bp")
    )
    assert 0 < local["peak_saved_bytes"] < whole["peak_saved_bytes"] and whole["left_saved_bytes"] == 0


def training(epochs=4, **fields):
    data = load_data("fashion_mnist_subset", num_train=1000, num_test=200)
    built = create_network("cnn4", in_channels=1, image_size=28, width=0.125, seed=0, channels_last=True)
    recipe = Recipe(
        **{"epochs": epochs, "batch_size": 50, "learning_rate": 0.01, "crop": 2, "flip": "alternating"} | fields
    )
    return Training(create_rule("local-heads", built, num_classes=10, seed=0), data, recipe, device="cuda")


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"precision": "bf16"}, {"average_every": 2, "norm_rate": 8.0, "optimizer": "sgd", "learning_rate": 0.05},
        {"schedule": "triangular", "step_per_block": True},
    ],
)  # fmt: skip
def test_a_run_learns_is_validated_and_tested_once(fields):
    run = training(**fields)
    records = [run.run_epoch() for _ in range(4)]
    assert all(record.samples_per_s > 0 for record in records)
    assert records[-1].validation.accuracy > 0.2 and run.test().accuracy > 0.2 and run.data.test_reads == 1


def test_a_run_goes_on_from_its_checkpoint():
    whole, half, rest = training(), training(), training()
    for run in (whole, half):
        run.run_epoch()
    rest.load_state_tensors({name: tensor.detach().cpu().clone() for name, tensor in half.state_tensors().items()}, 1)
    one, other = whole.run_epoch(), rest.run_epoch()
    assert one.losses == pytest.approx(other.losses, rel=0.02)


def test_batches_made_ahead_in_a_thread_lie_on_the_same_gpu(monkeypatch):
    monkeypatch.setattr("layerlocal.data.batches.ON_DEVICE_BYTES", 0)
    data = load_data("fashion_mnist_subset", num_train=100, num_test=50)
    batches = Batches(data.train, batch_size=20, mean=data.mean, std=data.std, shuffle=True, device="cuda")
    assert batches.come_from_far and {x.device for x, _ in batches.epoch(0)} == {batches.device}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_checkpointing_gives_the_same_gradients(precision):
    with exact_products():
        found = []
        for cut in (False, True):
            rule = make("bp-deepsup").to("cuda").train()
            if cut:
                rule.use_checkpointing(X.to("cuda")[:4])
            for loss in losses_of(rule, X.to("cuda"), Y.to("cuda"), precision):
                loss.value.backward()
            found.append([parameter.grad for parameter in rule.parameters() if parameter.grad is not None])
    assert all(torch.allclose(a, b, rtol=2e-2, atol=1e-4) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", ["local-heads", "class-goodness", "dtg-ff", "ff", "committee"])
def test_a_plain_module_answers_as_the_rule_does(name):
    rule = make(name).to("cuda").eval()
    with torch.no_grad():
        assert torch.allclose(rule.to_module()(X.to("cuda")), rule.scores(X.to("cuda")), rtol=1e-2, atol=1e-2)


def test_speed_is_measured_once_the_gpu_has_done_its_work():
    x = torch.randn(2048, 2048, device="cuda")
    found = measure_speed({"small": lambda: x[:64, :64] @ x[:64, :64], "large": lambda: [x @ x for _ in range(50)]},
                          batch_size=1, repeats=5, device="cuda")  # fmt: skip
    assert sorted(found["small"])[2] > sorted(found["large"])[2]


def test_memory_of_a_case_is_measured_and_a_budget_is_kept():
    case = CostCase.parse(
        {"device": "cuda", "batch_size": 8, "image_size": 32, "network": {"name": "cnn4", "width": 0.25}}
    )
    found = measure_alone(case, steps=2)
    assert found["allocated_bytes"] > 0 and found["reserved_bytes"] >= 0
    try:
        assert not try_budget(case, budget_bytes=2**20, steps=1)["fits"]
        torch.cuda.set_per_process_memory_fraction(1.0)
        assert try_budget(case, budget_bytes=2**33, steps=1)["fits"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
