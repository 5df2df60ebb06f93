"""One reading of ``device`` for every call that takes one, and gradients wherever `fit` is called."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal import (
    DataSpec,
    LayerLocalClassifier,
    NetworkSpec,
    Recipe,
    RuleSpec,
    RunSpec,
    RunStore,
    create_network,
    create_rule,
    data_from_arrays,
    evaluate_split,
    fit,
    measure_flops,
    measure_locality,
    measure_saved_bytes,
    measure_speed,
    run_many,
    run_spec,
)
from layerlocal.devices import device_name, find_device
from layerlocal.training.train import Training
from layerlocal.types import InputError

X = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
Y = np.arange(24) % 3
RECIPE = Recipe(epochs=1, batch_size=8)
SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=2, num_train=32, num_test=16, teacher={"inputs": 4}),
    network=NetworkSpec(name="mlp", width=0.02, options={"depth": 1}), rule=RuleSpec(name="local-heads"), recipe=RECIPE,
)  # fmt: skip


def make(features=5):
    network = create_network("mlp", in_channels=features, image_size=1, width=0.05, depth=2, seed=0)
    return create_rule("local-heads", network, num_classes=3, seed=0)


def data():
    return data_from_arrays(X, Y, validation=0)


CALLS = {
    "fit": lambda device, _: fit("local-heads", (X, Y), RECIPE, width=0.05, device=device),
    "estimator": lambda device, _: LayerLocalClassifier("local-heads", width=0.05, epochs=1, device=device).fit(X, Y),
    "Training": lambda device, _: Training(make(), data(), RECIPE, device=device),
    "evaluate_split": lambda device, _: evaluate_split(make(), data(), data().train, device=device),
    "measure_speed": lambda device, _: measure_speed({"a": lambda: None}, batch_size=1, device=device),
    "run_spec": lambda device, folder: run_spec(SPEC, RunStore(folder / "store"), device=device),
    "run_many": lambda device, folder: run_many([SPEC], RunStore(folder / "store"), device=device),
}
"""Every public call that takes a device."""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_device_object_is_the_device_of_its_name(call, tmp_path):
    call(torch.device("cpu"), tmp_path)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("mps", "device 'mps'; known: cpu, cuda"),
        ("gpu", r"device 'gpu'; .*Did you mean 'cuda'"),
        (torch.device("mps"), "^unknown device 'mps'; known: cpu"),
        ("cuda:107", "^device 'cuda:107' cannot be used: "),
        (None, r"'cuda:N' .*got None"),
    ],
)
def test_a_device_that_is_not_known_or_not_here_is_one_sentence_and_leaves_no_store(call, device, words, tmp_path):
    with pytest.raises(InputError, match=words) as caught:
        call(device, tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "CPU", "cpu:1", "cuda:", "cuda:-1", "cuda:x", "cuda: 0", " cpu", "meta", "hip", "cuda:0\n"]
)
def test_no_other_spelling_is_taken(name):
    with pytest.raises(InputError, match="unknown device"):
        device_name(name)


@pytest.mark.parametrize("given", [0, 1.5, ["cpu"], torch.float32, np.array("cpu")])
def test_a_device_is_text_or_a_device(given):
    with pytest.raises(InputError, match="a device is 'cpu'"):
        device_name(given)


def test_names_are_those_that_torch_gives():
    given = [torch.device("cpu"), torch.device("cpu", 0), torch.device("cuda"), torch.device("cuda", 3)]
    assert [device_name(device) for device in given] == ["cpu", "cpu", "cuda", "cuda:3"]


@pytest.mark.parametrize(("count", "name", "words"), [
    (0, "cuda", "no CUDA GPU here"),
    (1, "cuda:1", "only 'cuda:0' is here"),
    (4, "cuda:4", "only 'cuda:0' to 'cuda:3' are here"),
])  # fmt: skip
def test_a_gpu_is_looked_for_before_anything_is_done(count, name, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=words):
        find_device(name)
    if count:
        assert [find_device(given) for given in ("cuda", f"cuda:{count - 1}")] == ["cuda", f"cuda:{count - 1}"]


def test_a_ray_cluster_may_have_gpus_that_are_not_here(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("layerlocal.runs.many.run_on_ray", lambda left, store, ray, on, listen: seen.append(on) or (_ for _ in ()))  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run_many([SPEC], RunStore(tmp_path), ray="auto", device=torch.device("cuda", 0))
    assert seen[0].device == "cuda:0"


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_fit_makes_its_own_gradients_and_gives_the_same_weights(off):
    expected = fit("class-goodness", (X, Y), RECIPE, width=0.05, validation=0.25, fusion="fitted").rule.state_dict()
    with off():
        found = fit(
            "class-goodness", (torch.tensor(X), torch.tensor(Y)), RECIPE, width=0.05, validation=0.25, fusion="fitted"
        )
        assert not torch.is_grad_enabled() and torch.is_inference_mode_enabled() == (off is torch.inference_mode)
    assert all(torch.equal(value, expected[name]) for name, value in found.rule.state_dict().items())
    fit(found.rule, found.data, RECIPE)  # its weights are ordinary ones


@pytest.mark.parametrize(
    "switched",
    [lambda: torch.autocast("cpu", torch.bfloat16), lambda: torch.device("meta")],
    ids=["autocast", "default device"],
)
def test_what_the_caller_has_switched_in_torch_does_not_change_what_fit_gives(switched):
    expected = fit("class-goodness", (X, Y), RECIPE, width=0.05, validation=0.25, fusion="fitted")
    with switched():
        found = fit("class-goodness", (X, Y), RECIPE, width=0.05, validation=0.25, fusion="fitted")
    assert found.records[-1].losses == expected.records[-1].losses
    weights = found.rule.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in expected.rule.state_dict().items())


def test_data_that_were_made_under_inference_mode_are_trained_on():
    with torch.inference_mode():
        made = data()
    fit("class-goodness", made, RECIPE, width=0.05)


def test_weights_that_were_made_under_inference_mode_are_refused():
    with torch.inference_mode():
        rule = make()
    with pytest.raises(InputError, match=r"made under torch\.inference_mode"):
        fit(rule, data(), RECIPE)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("measure", [measure_flops, measure_locality, measure_saved_bytes])
def test_what_is_measured_of_a_step_does_not_hang_on_the_callers_gradients(measure, off):
    x, y = torch.tensor(X), torch.tensor(Y)
    expected = measure(make(), x, y)
    rule = make()
    with off():
        assert measure(rule, x, y) == expected
