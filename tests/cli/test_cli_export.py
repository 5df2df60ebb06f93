"""`layerlocal export`: a finished run as a file whose scores are the rule's, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from layerlocal.data.batches import normalize
from layerlocal.runs import export as exporting
from layerlocal.runs.export import load_trained
from layerlocal.runs.run import load_task, run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

IMAGES = RunSpec(
    data=DataSpec(num_train=60, num_test=20), network=NetworkSpec(name="cnn4", width=0.125, options={"depth": 2}),
    recipe=Recipe(epochs=1, batch_size=16),
)  # fmt: skip
VECTORS = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=64, num_test=32),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}), rule=RuleSpec(name="ff"),
    recipe=Recipe(epochs=1, batch_size=16),
)  # fmt: skip
PLUGIN = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")
    def block_score(self, index, activity):
        return 2 * super().block_score(index, activity)

class Stubborn(Mine):
    info = RuleInfo(name="stubborn", locality="block")
    def block_score(self, index, activity):
        scale = 1.0 if float(activity.detach().sum()) > 0 else 2.0
        return scale * super().block_score(index, activity)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of two finished runs."""
    root = tmp_path_factory.mktemp("store")
    for spec in (IMAGES, VECTORS):
        run_spec(spec, RunStore(root))
    return root


@pytest.fixture
def store(trained, tmp_path):
    """A copy of it to spoil."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def raw_and_scores(store, spec, count):
    """Samples as the data hold them, and the scores of the rule with the weights of its checkpoint, normalized by hand."""
    _, data, rule = load_trained(RunStore(store), spec.hash)
    samples = load_task(spec.data).train.gather(torch.arange(count)).images
    with torch.no_grad():
        return samples, rule.scores(normalize(samples, data.mean, data.std))


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_loaded_rule_has_the_accuracy_that_the_run_recorded(trained):
    for spec in (IMAGES, VECTORS):
        record, data, rule = load_trained(RunStore(trained), spec.hash[:6])
        test = load_task(spec.data).take_test()
        with torch.no_grad():
            answers = rule.scores(normalize(test.images, data.mean, data.std)).argmax(1)
        assert float((answers == test.labels).double().mean()) == pytest.approx(record.result["test_accuracy"])
        assert not rule.training


@pytest.mark.parametrize("spec", [IMAGES, VECTORS], ids=["uint8 images", "vectors, every label tried"])
def test_a_torch_file_takes_raw_samples_of_any_number_and_gives_the_scores_of_the_rule(cli, store, spec):
    code, out, _ = cli("export", spec.hash[:8], "--torch", "made/model.pt2")
    assert code == 0 and out.startswith("made/model.pt2  ")
    facts = {"layerlocal.json": ""}
    program = torch.export.load("made/model.pt2", extra_files=facts).module()
    for count in (1, 7):
        samples, expected = raw_and_scores(store, spec, count)
        torch.testing.assert_close(program(samples), expected, rtol=1e-4, atol=1e-4)
    assert json.loads(facts["layerlocal.json"])["run"] == spec.hash
    assert os.listdir("made") == ["model.pt2"]


def test_an_onnx_file_takes_pixels_and_gives_the_scores_of_the_rule_and_names_the_classes(cli, store):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    code, out, err = cli("export", IMAGES.hash, "--onnx", "m.onnx", "--torch", "m.pt2", "--json")
    assert code == 0 and err == ""
    onnx, program = json.loads(out)
    assert (onnx["format"], program["format"], onnx["run"]) == ("onnx", "torch", IMAGES.hash)
    assert onnx["input"] == "uint8 (B, 1, 28, 28)" and onnx["output"] == "float32 (B, 10)" and onnx["checked"] == 16
    assert onnx["num_bytes"] == os.path.getsize("m.onnx") and 0 <= onnx["largest_difference"] < 1e-3
    session = runtime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    samples, expected = raw_and_scores(store, IMAGES, 5)
    (found,) = session.run(["scores"], {"samples": samples.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"])[0] == "T-shirt/top"


def test_a_rule_from_a_file_is_exported_while_the_file_is_as_it_was(cli, refused, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = [
        "--rule",
        "mine.py:Mine",
        "--data",
        "teacher_student",
        "--set",
        "data.classes=3",
        "--set",
        "data.num_train=64",
    ]
    words += ["--set", "data.num_test=32", "--network", "mlp", "--set", "network.depth=2", "--epochs", "1", "--json"]
    code, out, err = cli("train", *words, "--set", "recipe.batch_size=16")
    assert code == 0, err
    run = json.loads(out)["run"]
    asked = refused("export", run, "--torch", "m.pt2")
    assert "is the file mine.py" in asked and "--trust-rule-files" in asked, "a received store could name any file"
    assert cli("export", run, "--torch", "m.pt2", "--trust-rule-files")[0] == 0
    with open("mine.py", "a") as file:
        file.write("# another one now\n")
    assert "rule file of mine.py:Mine has changed" in refused("export", run, "--torch", "n.pt2", "--trust-rule-files")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_file_that_exists_is_kept_unless_forced(cli, refused, store, tmp_path):
    (tmp_path / "m.pt2").write_text("mine")
    assert "m.pt2 exists; add --force" in refused("export", VECTORS.hash, "--torch", "m.pt2")
    assert (tmp_path / "m.pt2").read_text() == "mine"
    assert cli("export", VECTORS.hash, "--torch", "m.pt2", "--force")[0] == 0
    assert torch.export.load("m.pt2") is not None


def test_a_wrong_command_is_one_sentence(refused, store):
    run = VECTORS.hash
    assert "say what to write" in refused("export", run)
    assert "there is no run 'zzzz'" in refused("export", "zzzz", "--torch", "m.pt2")
    assert "two formats" in refused("export", run, "--torch", "m.pt2", "--onnx", "m.pt2")
    assert "cannot write" in refused("export", run, "--torch", "/dev/null/m.pt2")
    assert "no run" in refused("export", run, "--torch", "m.pt2", "--out", "elsewhere")


def test_a_run_without_its_weights_or_with_others_is_refused(refused, store):
    path = store / VECTORS.hash / "checkpoint" / "state.safetensors"
    shutil.copy(store / IMAGES.hash / "checkpoint" / "state.safetensors", path)
    assert "is damaged" in refused("export", VECTORS.hash, "--torch", "m.pt2")
    path.unlink()
    assert "has no checkpoint" in refused("export", VECTORS.hash, "--torch", "m.pt2")


def test_weights_of_which_bytes_changed_are_refused(refused, store):
    path = store / VECTORS.hash / "checkpoint" / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)
    assert "is damaged" in refused("export", VECTORS.hash, "--torch", "m.pt2")


def test_missing_packages_are_named_before_anything_is_done(refused, store, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    monkeypatch.setattr(exporting, "load_trained", None)
    assert (
        refused("export", VECTORS.hash, "--onnx", "m.onnx") == "ONNX needs onnxruntime; pip install 'layerlocal[onnx]'"
    )


@pytest.mark.parametrize("difference", [0.01, float("nan")])
def test_a_file_whose_scores_are_not_the_rules_is_not_kept(refused, store, monkeypatch, difference, tmp_path):
    (tmp_path / "kept").mkdir()
    write = exporting.FORMATS["torch"]

    def off(program, path, facts):
        scores = write(program, path, facts)
        return lambda samples: scores(samples) * (1 + difference)

    monkeypatch.setitem(exporting.FORMATS, "torch", off)
    sentence = refused("export", VECTORS.hash, "--torch", "kept/m.pt2")
    assert "differ from the rule's" in sentence and "was not written" in sentence
    assert os.listdir("kept") == []


def test_a_rule_that_cannot_be_traced_is_refused_and_nothing_is_left_behind(cli, refused, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = ["--rule", "mine.py:Stubborn", "--data", "teacher_student", "--set", "data.classes=3", "--epochs", "1"]
    words += ["--set", "data.num_train=64", "--set", "data.num_test=32", "--network", "mlp", "--set", "network.depth=2"]
    code, out, err = cli("train", *words, "--set", "recipe.batch_size=16", "--json")
    assert code == 0, err
    before = sorted(os.listdir())
    assert "torch.export cannot trace" in refused(
        "export", json.loads(out)["run"], "--torch", "m.pt2", "--trust-rule-files"
    )
    assert sorted(os.listdir()) == before
