"""One spec in, one finished run out: whatever happens on the way (kill -9, a full disk, another process), the same bits at the end."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import multiprocessing
import os
import random
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from layerlocal.data import Data, load_data
from layerlocal.networks import create_network
from layerlocal.plugins import file_sha256
from layerlocal.rules import create_rule, list_rules
from layerlocal.runs.progress import Tally
from layerlocal.runs.run import RunEvent, build, pin_plugin, run_spec
from layerlocal.runs.store import RunFolder, RunStore
from layerlocal.spec import PROTOCOL, DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.training.train import Training, train_rule
from layerlocal.types import InputError
from rules_by_hand import OF_TOKENS

VECTORS = DataSpec(source="teacher_student", classes=3, num_train=256, num_test=64)
IMAGES = DataSpec(num_train=200, num_test=100)
TOKENS_OF = DataSpec(num_train=256, num_test=64)
MLP = NetworkSpec(name="mlp", options={"depth": 3, "hidden": 18})
SPEC = RunSpec(data=VECTORS, network=MLP, recipe=Recipe(epochs=3, batch_size=32))
STEPS = (256 - 27) // 32
"""Steps an epoch: 27 of 256 images, 9 of each class, are the validation split; the last batch is whole or left out."""
TIMED = {"train_seconds", "samples_per_s", "process_peak_resident_bytes"}

COUNTING = """
import time
from pathlib import Path
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

class Counting(LocalHeads):
    info = RuleInfo(name="counting", locality="block")

    def __init__(self, network, *, num_classes, seed=None, folder="", wait_for: int = 0):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.folder, self.wait_for = Path(folder), wait_for

    def inputs(self, x, y):
        end = time.monotonic() + 30
        while len(list(self.folder.glob("started-*"))) < self.wait_for and time.monotonic() < end:
            time.sleep(0.01)
        with open(self.folder / "calls", "a") as file:
            file.write("x")
        return x, y
"""

BAD = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

class Bad(LocalHeads):
    info = RuleInfo(name="bad", locality="block")

    def __init__(self, network, *, num_classes, seed=None, block: int = 1, at: int = 1, value: float = 0.0):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.block, self.at, self.value, self.calls = block, at, value, 0

    def local_loss(self, index, activity, y):
        loss, metrics = super().local_loss(index, activity, y)
        self.calls += index == self.block
        bad = index == self.block and self.calls == self.at
        return (loss * (float("inf") if self.value else float("nan")) if bad else loss), metrics
"""


class Stopped(BaseException):
    """Stands for a Ctrl-C at a chosen moment."""


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`SPEC` run without interruption: its store and its record."""
    store = RunStore(tmp_path_factory.mktemp("whole") / "runs")
    return store, run_spec(SPEC, store)


@pytest.fixture(scope="module")
def forks():
    """Real processes, started within milliseconds because torch is imported once; one thread, as in these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["layerlocal.runs.run", "layerlocal.runs.many", "torch._dynamo", "torch.export", "pandas"]
        )
        process = context.Process(target=time.sleep, args=(0,))  # the server takes its environment from here
        process.start()
        process.join()
        yield context


def plugin(folder, source, name="rule.py"):
    path = folder / name
    path.write_text(source)
    return path


def weights_of(store, spec):
    """The one weights file of a finished run."""
    [path] = (store.root / spec.hash / "checkpoint").glob("*.safetensors")
    return load_file(path)


def rows_of(store, spec):
    rows = store.metrics(spec.hash).to_pylist()
    return [row for row in rows if row["metric"] not in ("train_seconds", "samples_per_s")]


def assert_same_run(left, right, spec):
    """Weights to the last bit, metrics and result; times and the process's memory aside."""
    ours, theirs = weights_of(left, spec), weights_of(right, spec)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rows_of(left, spec) == rows_of(right, spec)
    results = [json.loads((store.root / spec.hash / "result.json").read_text()) for store in (left, right)]
    assert results[0].keys() == results[1].keys()
    ours, theirs = ({k: v for k, v in result.items() if k not in TIMED} for result in results)
    assert ours == theirs


# --- what a finished run says -----------------------------------------------------------------------------------------


def test_the_stored_weights_have_the_stored_accuracies_on_the_test_split(whole):
    store, record = whole
    data = load_data("teacher_student", classes=3, num_train=256, num_test=64)
    network = create_network("mlp", in_channels=64, image_size=1, depth=3, hidden=18)
    rule = create_rule("class-goodness", network, num_classes=3)
    rule.load_state_dict(weights_of(store, SPEC))
    test = data.take_test()
    with torch.no_grad():
        blocks = rule.eval().block_scores(test.images)
        answers = rule.fuse(blocks).argmax(1)
    assert record.result["test_accuracy"] == (answers == test.labels).double().mean().item()
    for block, scores in zip(["block0", "block1", "block2"], blocks, strict=True):
        assert record.result["block_accuracies"][block] == (scores.argmax(1) == test.labels).double().mean().item()


def test_a_run_trains_what_fit_trains(whole):
    store, _ = whole
    data, rule = build(SPEC)
    train_rule(rule, data, SPEC.recipe, seed=SPEC.seed)
    weights = weights_of(store, SPEC)
    assert weights.keys() == rule.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in rule.state_dict().items())


def test_a_result_holds_every_promised_field_with_values_counted_by_hand(whole):
    store, record = whole
    result = record.result
    assert result == json.loads((store.root / SPEC.hash / "result.json").read_text())
    assert (result["run"], result["rule"]) == (SPEC.hash, "class-goodness")
    assert (result["num_test"], result["num_classes"], result["chance"]) == (64, 3, 22 / 64)
    assert list(result["block_accuracies"]) == ["block0", "block1", "block2"]
    for value in (result["test_accuracy"], *result["block_accuracies"].values()):
        assert 0 <= value <= 1 and value * 64 == round(value * 64)
    assert result["data"]["name"] == "teacher_student" and result["data"]["class_names"] == ["0", "1", "2"]
    assert result["data"]["provenance"]["num_images"] == {"train": 229, "validation": 27, "test": 64}
    linear, norm, head = 64 * 18 + 2 * 18 * 18, 3 * 2 * 18, 3 * (18 * 3 + 3)
    assert result["num_parameters"] == linear + norm + head
    assert (result["passes_per_step"], result["passes_per_prediction"]) == (1, 1)
    assert result["left_saved_bytes"] == 0 < result["peak_saved_bytes"]
    assert 2 * 32 * (linear + 3 * 18 * 3) <= result["flops_per_prediction"] < result["flops_per_step"]
    assert result["train_seconds"] > 0
    assert math.isclose(result["samples_per_s"] * result["train_seconds"], 3 * STEPS * 32)
    assert result["process_peak_resident_bytes"] > 10_000_000


def test_the_environment_names_versions_hardware_and_threads(whole):
    env = whole[1].env
    assert env["torch"] == str(torch.__version__)
    assert (env["threads"], env["device"], env["cores"]) == (1, "cpu", os.cpu_count())
    assert env["layerlocal"] and env["python"] and env["processor"]
    assert env["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_the_table_has_every_metric_of_every_epoch(whole):
    store, record = whole
    rows = store.metrics(SPEC.hash).to_pylist()
    for epoch in (1, 2, 3):
        found = {(row["metric"], row["block"]) for row in rows if row["epoch"] == epoch}
        blocks = ["block0", "block1", "block2"]
        expected = {(metric, "all") for metric in ("train_seconds", "samples_per_s", "learning_rate")}
        expected |= {(metric, block) for metric in ("train_loss", "validation_accuracy") for block in blocks}
        assert expected | {("validation_accuracy", "fused")} <= found
    last = [r["value"] for r in rows if (r["metric"], r["block"]) == ("validation_accuracy", "fused")]
    assert record.result["validation_accuracy"] == last[-1] and len(last) == 3
    seconds = [r["value"] for r in rows if r["metric"] == "train_seconds"]
    assert math.isclose(sum(seconds), record.result["train_seconds"])


LOCALITY = {
    "bp": "global", "bp-deepsup": "global", "segmented": "segment", "local-heads": "block", "ff": "block", "class-goodness": "block",
    "bp-every": "global", "feedback": "global", "lookahead": "segment", "dtg-ff": "block", "dtg-ff-shared": "global",
    **dict.fromkeys(
        ("asge", "committee", "cwcomp", "deeperforward", "hcl-ff", "mono-forward", "panel", "predsim", "scff", "sigprop", "symba",
         "blockwise-decoder", "diffusion-blocks", "reconstruct"), "block"
    ),
}  # fmt: skip


def spec_of(rule, **settings):
    """`SPEC` with this rule; on images, and a network that it is for, where vectors will not do."""
    if rule in OF_TOKENS:
        vit = NetworkSpec(name="vit", options={"depth": 3, "hidden": 18, "patch": 7})
        return SPEC.model_copy(update={"data": TOKENS_OF, "network": vit}).with_settings(
            {"rule.name": rule, **settings}
        )
    return SPEC.with_settings({"rule.name": rule, **settings})


@pytest.mark.parametrize("rule", list_rules())
def test_every_run_of_every_rule_is_stored_with_its_certificate(store, rule):
    spec = spec_of(rule, **{"recipe.epochs": 1})
    certificate = run_spec(spec, store).result["locality"]
    assert certificate["certified"] and certificate["problems"] == []
    assert certificate["declared"] == certificate["measured"] == LOCALITY[rule]
    assert certificate["blocks"] == ["block0", "block1", "block2"]
    assert len(certificate["reach"]) == len(certificate["losses"])
    assert len(certificate["intervention"]) == 3


def test_a_run_without_a_validation_split_has_no_validation_accuracy(store):
    record = run_spec(SPEC.with_settings({"data.validation": 0, "recipe.epochs": 1}), store)
    assert record.result["validation_accuracy"] is None and record.result["num_test"] == 64


def test_the_test_split_is_read_once_and_after_the_last_epoch(store, monkeypatch):
    log = []
    take, train = Data.take_test, Training.run_epoch
    monkeypatch.setattr(Data, "take_test", lambda self: log.append("test") or take(self))
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: log.append("epoch") or train(self, *a))
    run_spec(SPEC, store)
    assert log == ["epoch"] * 3 + ["test"]
    run_spec(SPEC, store)
    assert log == ["epoch"] * 3 + ["test"]


def test_the_test_split_is_read_once_also_when_the_run_was_interrupted(store, monkeypatch):
    log = []
    take = Data.take_test
    monkeypatch.setattr(Data, "take_test", lambda self: log.append("test") or take(self))
    interrupt(SPEC, store, step=2 * STEPS + 1)
    assert log == []
    run_spec(SPEC, store)
    assert log == ["test"]


def test_events_count_the_steps_of_the_whole_run_and_carry_the_validation_of_each_epoch(store):
    events = []
    run_spec(SPEC, store, listen=events.append)
    steps = [event for event in events if event.validation is None]
    assert [event.step for event in steps] == list(range(1, 3 * STEPS + 1))
    assert {event.total_steps for event in events} == {3 * STEPS} and {event.run for event in events} == {SPEC.hash}
    epochs = [event for event in events if event.validation is not None]
    assert [(event.epoch, event.epochs, event.step) for event in epochs] == [(e, 3, e * STEPS) for e in (1, 2, 3)]
    assert list(epochs[0].validation.block_accuracies) == ["block0", "block1", "block2"]


def test_events_and_result_of_a_run_given_in_steps_count_those_steps(store):
    total, events = 2 * STEPS + 3, []
    spec = SPEC.with_settings({"recipe.epochs": 1, "recipe.steps": total})
    result = run_spec(spec, store, listen=events.append).result
    assert [event.step for event in events if event.record is None] == list(range(1, total + 1))
    assert {(event.total_steps, event.epochs) for event in events} == {(total, 3)}
    epochs = [event for event in events if event.record is not None]
    assert [(event.epoch, event.step) for event in epochs] == [(1, STEPS), (2, 2 * STEPS), (3, total)]
    assert math.isclose(result["samples_per_s"] * result["train_seconds"], total * 32)
    assert RunEvent.of_state(spec, "lost").epochs == 0, "not known without the data"
    tally = Tally(2)
    tally.take(epochs[1], 0.0)  # the first that is heard of: one epoch came before
    tally.end(spec.hash, 10.0, failed=False)
    assert tally.seconds_a_run == pytest.approx(10 / (1 - STEPS / total))


def test_a_spec_of_another_protocol_is_refused(store):
    with pytest.raises(InputError, match=f"protocol {PROTOCOL + 1}.*protocol {PROTOCOL}"):
        run_spec(SPEC.model_copy(update={"protocol": PROTOCOL + 1}), store)


# --- done is done -----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_run_again(store, monkeypatch):
    record = run_spec(SPEC, store)
    before = {path: path.stat().st_mtime_ns for path in (store.root / SPEC.hash).rglob("*") if path.is_file()}

    def refuse(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "run_epoch", refuse)
    again = run_spec(SPEC, store)
    assert (again.hash, again.spec, again.result, again.env) == (record.hash, SPEC, record.result, record.env)
    assert before == {path: path.stat().st_mtime_ns for path in (store.root / SPEC.hash).rglob("*") if path.is_file()}


def test_runs_of_other_seeds_are_other_runs(whole, store):
    other = SPEC.model_copy(update={"seed": 1})
    run_spec(other, store)
    first, second = weights_of(whole[0], SPEC), weights_of(store, other)
    assert not torch.equal(first["network.blocks.0.0.weight"], second["network.blocks.0.0.weight"])


def start_and_run(spec, root, folder):
    """In another process: say that we are there, then ask for the run."""
    Path(folder, f"started-{os.getpid()}").touch()
    record = run_spec(spec, RunStore(root))
    return os.getpid(), record.result


def test_two_processes_asked_for_the_same_run_train_it_once_and_both_get_its_result(store, tmp_path, forks):
    name = f"{plugin(tmp_path, COUNTING)}:Counting"
    folders = [tmp_path / "alone", tmp_path / "together"]
    for folder in folders:
        folder.mkdir()
    alone = pin_plugin(SPEC.with_settings({"rule.name": name, "rule.options": {"folder": str(folders[0])}}))
    run_spec(alone, RunStore(tmp_path / "other"))
    options = {"folder": str(folders[1]), "wait_for": 2}
    spec = pin_plugin(SPEC.with_settings({"rule.name": name, "rule.options": options}))
    with ProcessPoolExecutor(2, forks) as pool:
        jobs = [pool.submit(start_and_run, spec, str(store.root), str(folders[1])) for _ in range(2)]
        (first, left), (second, right) = [job.result(timeout=60) for job in jobs]
    assert first != second and left == right
    assert (folders[1] / "calls").read_text() == (folders[0] / "calls").read_text()


class FinishedInTheLastMoment(RunStore):
    """Another process finishes the run after we looked and before we have its lock."""

    def open(self, spec):
        run_spec(spec, RunStore(self.root))
        return super().open(spec)


def test_a_run_that_another_process_finished_in_the_last_moment_is_not_made_again(store, monkeypatch):
    log = []
    take, train = Data.take_test, Training.run_epoch
    monkeypatch.setattr(Data, "take_test", lambda self: log.append("test") or take(self))
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: log.append("epoch") or train(self, *a))
    record = run_spec(SPEC, FinishedInTheLastMoment(store.root))
    assert log == ["epoch"] * 3 + ["test"] and record.result == store.load(SPEC.hash).result


# --- interrupted and continued ----------------------------------------------------------------------------------------


def interrupt(spec, store, *, step):
    """Run until so many optimizer steps are done, then stop as Ctrl-C would."""

    def listen(event):
        if event.step >= step:
            raise Stopped

    with pytest.raises(Stopped):
        run_spec(spec, store, listen=listen)
    assert not store.is_done(spec)


def test_a_run_continued_with_other_instructions_says_all_of_them(store, monkeypatch):
    for name, step in (("AVX2", STEPS + 3), ("AVX2", STEPS + 4), ("AVX512", 2 * STEPS + 1)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda name=name: name)
        interrupt(SPEC, store, step=step)
    assert run_spec(SPEC, store).env["instructions"] == "AVX2, then AVX512"


@pytest.mark.parametrize("rule", list_rules())
def test_a_run_of_any_rule_continued_after_an_interrupt_is_the_run_never_interrupted(tmp_path, rule):
    spec = spec_of(rule)
    left, right = RunStore(tmp_path / "left"), RunStore(tmp_path / "right")
    interrupt(spec, left, step=STEPS + 3)
    interrupt(spec, left, step=2 * STEPS + 1)
    run_spec(spec, left)
    run_spec(spec, right)
    assert_same_run(left, right, spec)


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe.optimizer": "sgd", "recipe.clip": 0.1, "rule.fusion": "fitted"},
        {"recipe.optimizer": "sgd", "recipe.momentum": 0, "recipe.micro_batches": 2},
        {"recipe.precision": "bf16", "recipe.schedule": "linear", "recipe.warmup": 0.5},
        {"recipe.epochs": 1, "recipe.steps": 2 * STEPS + 3, "rule.fusion": "fitted"},
    ],
)
def test_a_run_with_any_recipe_continued_after_an_interrupt_is_the_run_never_interrupted(tmp_path, settings):
    spec = SPEC.with_settings(settings)
    left, right = RunStore(tmp_path / "left"), RunStore(tmp_path / "right")
    interrupt(spec, left, step=2 * STEPS + 1)
    run_spec(spec, left)
    run_spec(spec, right)
    assert_same_run(left, right, spec)


def test_a_run_on_augmented_images_continued_after_an_interrupt_is_the_run_never_interrupted(tmp_path):
    recipe = Recipe(epochs=2, batch_size=32, crop=2, flip=True, cutout=4)
    spec = RunSpec(data=IMAGES, network=NetworkSpec(name="cnn4", width=0.125), recipe=recipe, rule=RuleSpec(name="ff"))
    left, right = RunStore(tmp_path / "left"), RunStore(tmp_path / "right")
    interrupt(spec, left, step=180 // 32 + 2)
    run_spec(spec, left)
    run_spec(spec, right)
    assert_same_run(left, right, spec)


@pytest.mark.parametrize("moment", ["last epoch", "test", "result"])
def test_a_run_given_in_steps_stopped_in_or_after_its_truncated_last_epoch_is_the_run_never_stopped(
    tmp_path, monkeypatch, moment
):
    spec = SPEC.with_settings({"recipe.epochs": 9, "recipe.steps": STEPS + 3})
    left, right = RunStore(tmp_path / "left"), RunStore(tmp_path / "right")

    def stop(*_, **__):
        raise Stopped

    if moment == "last epoch":
        interrupt(spec, left, step=STEPS + 3)  # after its last step, before its checkpoint
    else:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(*((Training, "test", stop) if moment == "test" else (RunFolder, "finish", stop)))
            run_spec(spec, left)
        monkeypatch.setattr(Training, "run_epoch", lambda *_: pytest.fail("trained again"))
    run_spec(spec, left)
    monkeypatch.undo()
    run_spec(spec, right)
    assert_same_run(left, right, spec)


def test_the_first_epochs_of_a_continued_run_are_not_trained_again(store, monkeypatch):
    interrupt(SPEC, store, step=2 * STEPS + 2)
    epochs = []
    train = Training.run_epoch
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: epochs.append(self.epoch) or train(self, *a))
    run_spec(SPEC, store)
    assert epochs == [2]


def test_a_run_stopped_at_its_very_end_still_ends_with_its_weights(whole, store, monkeypatch):
    """Stopped after ``DONE``, before whatever comes after it."""
    import layerlocal.runs.store

    write = layerlocal.runs.store.write_atomic

    def stop_after_done(path, content):
        if (store.root / SPEC.hash / "DONE").exists():
            raise Stopped
        write(path, content)

    monkeypatch.setattr(layerlocal.runs.store, "write_atomic", stop_after_done)
    try:
        run_spec(SPEC, store)
    except Stopped:
        monkeypatch.setattr(layerlocal.runs.store, "write_atomic", write)
        run_spec(SPEC, store)
    assert_same_run(store, whole[0], SPEC)


def wait_for_checkpoints(process, path, count):
    """Until so many new checkpoints appeared, or the process ended."""
    seen, last = 0, None
    end = time.monotonic() + 60
    while seen < count and process.is_alive():
        assert time.monotonic() < end, "no checkpoint in a minute"
        try:
            found = (path.stat().st_ino, path.stat().st_mtime_ns)
        except FileNotFoundError:
            found = last
        seen += found != last
        last = found
        time.sleep(0.001)


def test_a_run_killed_again_and_again_at_random_moments_is_the_run_never_killed(tmp_path, forks):
    spec = SPEC.with_settings({"recipe.epochs": 24, "rule.fusion": "fitted"})
    left, right = RunStore(tmp_path / "left"), RunStore(tmp_path / "right")
    checkpoint = left.root / spec.hash / "checkpoint" / "state.safetensors"
    chance = random.Random(0)
    kills = 0
    while not left.is_done(spec):
        process = forks.Process(target=run_spec, args=(spec, left))
        process.start()
        wait_for_checkpoints(process, checkpoint, 2 + chance.randrange(7) if kills else 1)
        time.sleep(chance.uniform(0, 0.04))
        process.kill()
        process.join()
        kills += process.exitcode == -9
        assert process.exitcode in (0, -9)
    assert kills >= 4
    never_killed = forks.Process(target=run_spec, args=(spec, right))  # fresh, as those that were killed
    never_killed.start()
    never_killed.join()
    assert right.is_done(spec)
    assert_same_run(left, right, spec)


# --- plug-ins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"rule.name": "bp", "of": True}])
def test_an_edited_plugin_is_another_run_for_itself_and_for_its_twins(tmp_path, options):
    path = plugin(tmp_path, COUNTING)
    name = f"{path}:Counting"
    settings = {"rule.name": "bp", "rule.of": name} if options else {"rule.name": name}
    spec = SPEC.with_settings(settings)
    first = pin_plugin(spec)
    assert first.rule.source_sha256 == hashlib.sha256(COUNTING.encode()).hexdigest()
    assert pin_plugin(spec).hash == pin_plugin(first).hash == first.hash
    path.write_text(COUNTING + "# edited\n")
    assert pin_plugin(spec).hash == pin_plugin(first).hash != first.hash


def test_rules_of_ours_are_not_pinned():
    assert pin_plugin(SPEC) == SPEC and file_sha256("class-goodness") is None


def test_a_plugin_that_is_not_there_is_one_sentence(store):
    with pytest.raises(InputError, match=r"rule file /nowhere/rule\.py: .*No such file"):
        pin_plugin(SPEC.with_settings({"rule.name": "/nowhere/rule.py:X"}))


def constant(margin):
    return COUNTING.replace("return x, y", f"return x * {margin}, y")


def test_an_edited_plugin_is_trained_again_also_where_the_spec_was_not_pinned(tmp_path, store):
    path = plugin(tmp_path, constant(1))
    spec = SPEC.with_settings({"rule.name": f"{path}:Counting", "rule.folder": str(tmp_path), "recipe.epochs": 1})
    run_spec(spec, store)
    calls = len((tmp_path / "calls").read_text())
    path.write_text(constant(2))
    record = run_spec(spec, store)
    assert len((tmp_path / "calls").read_text()) == 2 * calls
    assert record.spec.rule.source_sha256 == hashlib.sha256(constant(2).encode()).hexdigest()


def test_an_edited_plugin_is_never_stored_under_the_name_of_the_old_one(tmp_path, store):
    path = plugin(tmp_path, constant(1))
    settings = {"rule.name": f"{path}:Counting", "rule.folder": str(tmp_path), "recipe.epochs": 1}
    pinned = pin_plugin(SPEC.with_settings(settings))
    path.write_text(constant(2))
    try:
        record = run_spec(pinned, store)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert record.spec.rule.source_sha256 == hashlib.sha256(constant(2).encode()).hexdigest()
    assert not store.is_done(pinned)


# --- losses that are not finite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "at", "batch_size", "value", "where"),
    [
        (1, STEPS + 4, 32, 0.0, "block1 .* step 4 of epoch 2"),
        (0, 1, 32, 1.0, r"block0 .* is inf"),
        (2, 5, 2, 0.0, "block2 .* step 5 of epoch 1"),
    ],
)
def test_a_loss_that_is_not_finite_names_block_step_and_epoch_and_leaves_no_done(
    tmp_path, store, block, at, batch_size, value, where
):
    run_spec(SPEC, store)
    settings = {"rule.block": block, "rule.at": at, "rule.value": value, "recipe.batch_size": batch_size}
    spec = pin_plugin(SPEC.with_settings({"rule.name": f"{plugin(tmp_path, BAD)}:Bad", **settings}))
    with pytest.raises(InputError, match=where) as error:
        run_spec(spec, store)
    assert "\n" not in str(error.value) and "bad" in str(error.value)
    assert not store.is_done(spec)
    assert [record.hash for record in store.finished()] == [SPEC.hash]


# --- damage, full disks, folders that cannot be written ---------------------------------------------------------------


@pytest.mark.parametrize("part", ["DONE", "result.json"])
def test_a_damaged_finished_run_is_one_sentence_and_other_runs_still_load(store, part):
    other = SPEC.model_copy(update={"seed": 1})
    run_spec(SPEC, store)
    expected = run_spec(other, store)
    path = store.root / SPEC.hash / part
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{SPEC.hash} is damaged .*delete that folder"):
        run_spec(SPEC, store)
    assert run_spec(other, store).result == store.load(other.hash).result == expected.result


def test_a_checkpoint_cut_short_is_one_sentence_and_its_folder_can_be_deleted(whole, store):
    interrupt(SPEC, store, step=STEPS + 1)
    path = store.root / SPEC.hash / "checkpoint" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"checkpoint .*{SPEC.hash}.* is damaged .*delete"):
        run_spec(SPEC, store)


def of_a_smaller_network(tensors, progress):
    return {name: value[:1].clone() if value.dim() else value for name, value in tensors.items()}, progress


def without_a_tensor(tensors, progress):
    return {name: value for name, value in tensors.items() if name != "rule/network.blocks.0.0.weight"}, progress


def without_progress(tensors, progress):
    return tensors, {}


@pytest.mark.parametrize("harm", [of_a_smaller_network, without_a_tensor, without_progress])
def test_a_checkpoint_that_is_not_of_this_run_is_one_sentence(store, harm):
    interrupt(SPEC, store, step=STEPS + 1)
    path = store.root / SPEC.hash / "checkpoint" / "state.safetensors"
    with store.open(SPEC) as folder:
        tensors, progress = harm(*folder.load_checkpoint())
    save_file(tensors, path, metadata={"progress": json.dumps(progress)})
    with pytest.raises(InputError, match=rf"checkpoint .*{SPEC.hash}.*delete"):
        run_spec(SPEC, store)


def test_a_run_whose_done_was_lost_is_refused_or_comes_out_the_same(whole, store):
    run_spec(SPEC, store)
    (store.root / SPEC.hash / "DONE").unlink()
    try:
        run_spec(SPEC, store)
    except InputError as error:
        assert SPEC.hash in str(error)
    else:
        assert_same_run(store, whole[0], SPEC)


@pytest.mark.parametrize("write", [1, 3, 4, 5, 8, 9, 10])
def test_a_disk_that_fills_up_at_any_write_is_one_sentence_and_the_run_goes_on_when_there_is_space(
    whole, store, monkeypatch, write
):
    sync, writes = os.fsync, []

    def fill_up(handle):
        writes.append(handle)
        if len(writes) >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(InputError, match=r"disk is full: .*runs"):
        run_spec(SPEC, store)
    monkeypatch.setattr(os, "fsync", sync)
    run_spec(SPEC, store)
    assert_same_run(store, whole[0], SPEC)


@pytest.mark.parametrize("where", ["", "below", "run"])
def test_a_store_that_cannot_be_written_is_one_sentence_before_anything_is_trained(tmp_path, monkeypatch, where):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    root = {"": blocked, "below": blocked / "runs", "run": tmp_path / "runs"}[where]
    if where == "run":
        root.mkdir()
        (root / SPEC.hash).write_text("not a folder")
    monkeypatch.setattr(Training, "run_epoch", lambda *_: pytest.fail("trained"))
    with pytest.raises(InputError, match=r"cannot write .*--out"):
        run_spec(SPEC, RunStore(root))
    assert blocked.read_text() == "not a folder"


@pytest.mark.parametrize(
    ("side", "asked", "times"), [(80, None, "6"), (128, None, "16"), (128, 128, ""), (64, None, "")]
)
def test_large_images_whose_size_nobody_chose_are_pointed_out(tmp_path, side, asked, times):
    """(side / 32)² times the cost of 32 px."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = np.random.default_rng(index).integers(0, 255, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "d" / split / name / f"{index}.png")
    data = DataSpec(source=str(tmp_path / "d"), image_size=asked, validation=0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        build(RunSpec(data=data, network=NetworkSpec(name="cnn4", width=0.125), recipe=Recipe(batch_size=2)))
    said = [str(warning.message) for warning in found if "no size was asked for" in str(warning.message)]
    assert len(said) == bool(times)
    if times:
        assert f"are {side} px" in said[0] and f"about {times} times as long as at 32 px" in said[0]
        assert "--set data.image_size=64" in said[0]
