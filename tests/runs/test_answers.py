"""Which test images a run answered right: one bit an image, in the order of the test split, and which images of the source these are."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import torch

from layerlocal import DataSpec, InputError, NetworkSpec, Recipe, RuleSpec, RunSpec, RunStore
from layerlocal.runs.run import build, run_spec
from layerlocal.training.train import Training

DATA = DataSpec(source="fashion_mnist_subset", classes=3, num_train=96, num_test=45, seed=1)
SPEC = RunSpec(
    data=DATA,
    network=NetworkSpec(name="mlp", width=0.25, options={"depth": 2}),
    rule=RuleSpec(name="class-goodness"),
    recipe=Recipe(epochs=1, batch_size=32),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = RunStore(tmp_path_factory.mktemp("answers"))
    return store, run_spec(SPEC, store)


def trained(spec):
    """The rule of a run, trained once more: the same bits."""
    data, rule = build(spec)
    training = Training(rule, data, spec.recipe, seed=spec.seed)
    while not training.finished:
        training.run_epoch()
    return data, rule.eval()


def samples(data, split):
    return (split.images.float() / 255 - data.mean.view(-1, 1, 1)) / data.std.view(-1, 1, 1)


def test_each_bit_says_whether_the_fused_prediction_of_that_test_image_is_right(made):
    store, record = made
    data, rule = trained(SPEC)
    split = data.take_test()
    with torch.no_grad():
        right = rule.scores(samples(data, split)).argmax(1) == split.labels
    found = store.answers(record)
    assert found.right.tolist() == right.tolist()
    assert found.right.mean() == record.result["test_accuracy"]
    assert store.answers(record.hash[:6]).right.tolist() == right.tolist()


def test_places_are_those_images_of_the_source(made):
    store, record = made
    whole = build(SPEC.model_copy(update={"data": DataSpec(source="fashion_mnist_subset", num_train=96)}))[
        0
    ].take_test()
    split = build(SPEC)[0].take_test()
    assert torch.equal(whole.images[torch.tensor(store.answers(record).places)], split.images)


def test_one_bit_an_image_is_written_and_named_in_done(made):
    store, record = made
    folder = store.root / record.hash
    assert (folder / "answers.bin").stat().st_size == 6, "45 bits"
    sums = json.loads((folder / "DONE").read_text())
    for name in ("answers.bin", "images.bin"):
        assert sums[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_they_are_written_before_done(tmp_path, monkeypatch):
    written, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (written.append(os.path.basename(b)), replace(a, b))[1])
    run_spec(SPEC, RunStore(tmp_path))
    assert written[-1] == "DONE" and {"answers.bin", "images.bin"} < set(written[:-1])


def test_a_run_cut_off_before_done_has_the_same_answers_in_the_end(made, tmp_path):
    store, record = made
    cut = RunStore(tmp_path)
    shutil.copytree(store.root / record.hash, cut.root / record.hash)
    for name in ("DONE", "answers.bin"):
        (cut.root / record.hash / name).unlink()
    run_spec(SPEC, cut)
    assert np.array_equal(cut.answers(record.hash).right, store.answers(record).right)


def test_a_run_judged_on_validation_data_keeps_the_answers_there(tmp_path):
    spec = SPEC.model_copy(update={"judged_on": "validation", "data": DATA.model_copy(update={"validation": 0.25})})
    store = RunStore(tmp_path)
    record = run_spec(spec, store)
    found = store.answers(record)
    assert len(found.right) == record.result["num_validation"] == 24
    assert found.right.mean() == record.result["validation_accuracy"]
    (store.root / record.hash / "DONE").unlink()  # cut off after its last epoch: nothing is trained again
    run_spec(spec, store)
    assert np.array_equal(store.answers(record.hash).right, found.right)


def test_runs_without_answers_open_as_before(made, tmp_path):
    store, record = made
    folder = shutil.copytree(store.root / record.hash, tmp_path / record.hash)
    sums = json.loads((folder / "DONE").read_text())
    for name in ("answers.bin", "images.bin"):
        (folder / name).unlink()
        del sums[name]
    (folder / "DONE").write_text(json.dumps(sums))
    old = RunStore(tmp_path)
    assert old.load(record.hash) == record and old.answers(record) is None


@pytest.mark.parametrize("name", ["answers.bin", "images.bin"])
@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\x00" * 6)])
def test_damaged_answers_are_refused_and_the_run_still_opens(made, tmp_path, name, harm):
    store, record = made
    folder = shutil.copytree(store.root / record.hash, tmp_path / record.hash)
    harm(folder / name)
    assert RunStore(tmp_path).load(record.hash) == record
    with pytest.raises(InputError, match=f"{record.hash} is damaged .*{name}"):
        RunStore(tmp_path).answers(record)


@pytest.mark.parametrize(("name", "content"), [("answers.bin", b"\xff" * 7), ("images.bin", b"\xff" * 7)])
def test_bits_that_do_not_fit_the_number_of_test_images_are_refused(made, tmp_path, name, content):
    store, record = made
    folder = shutil.copytree(store.root / record.hash, tmp_path / record.hash)
    (folder / name).write_bytes(content)
    sums = json.loads((folder / "DONE").read_text()) | {name: hashlib.sha256(content).hexdigest()}
    (folder / "DONE").write_text(json.dumps(sums))
    with pytest.raises(InputError, match=f"{name} of run .* has 56 bits.* 45 test images"):
        RunStore(tmp_path).answers(record)


def test_composed_images_have_answers_and_no_places(tmp_path):
    data = DataSpec(source="fashion_mnist_subset", classes=2, num_train=64, num_test=40, compose="side", held_out=0.3)
    spec = SPEC.model_copy(update={"data": data, "rule": RuleSpec(name="class-goodness", options={"factors": "2x2"})})
    store = RunStore(tmp_path)
    record = run_spec(spec, store)
    assert not (store.root / record.hash / "images.bin").exists()
    assert store.answers(record).right.mean() == record.result["test_accuracy"]
    assert "compose" in store.answers(record).source, "known only as what was asked for"
