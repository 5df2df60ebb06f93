"""One spec in, one finished run out: train, evaluate, certify, measure, store. Continues where an interrupted one stopped."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from layerlocal.data import Data, load_data
from layerlocal.data.batches import normalize
from layerlocal.devices import Device, find_device
from layerlocal.environment import describe_environment, vector_instructions
from layerlocal.evaluate import Evaluation
from layerlocal.kernels import kernels_in_use
from layerlocal.measure import (
    measure_flops,
    measure_locality,
    measure_saved_bytes,
    measure_separability,
    peak_resident_bytes,
    reset_peak_resident,
)
from layerlocal.networks import create_network, network_options
from layerlocal.rules import Rule, create_rule, find_rule, rule_options
from layerlocal.spec import PROTOCOL, DataSpec, RuleSpec, RunSpec
from layerlocal.store import MetricRow, RunBusyError, RunFolder, RunRecord, RunStore
from layerlocal.train import EpochRecord, Training
from layerlocal.types import InputError, describe_error, is_fault, unknown_name

__all__ = ["RunEvent", "RunState", "build", "file_sha256", "load_task", "pin_plugin", "plugin_errors", "run_spec"]

LOCALITY_BATCH = 8
LOSS_SECONDS = 5.0
MUCH_PIXELS, FEW_PIXELS = 64, 32
BUSY_SECONDS = 0.5

RunState = Literal["started", "training", "waiting", "lost"]
"""A worker took the run; it trains; another process has it and ours waits; its worker died and it will be taken over."""


@dataclass(frozen=True)
class RunEvent:
    """How far a run is: sent after each step (``record`` is None) and after each epoch, with its record.

    ``step`` and ``total_steps`` count the whole run; ``epoch`` counts from 1; ``loss`` is the mean so far in this epoch, over steps and over
    the blocks that have one, and comes with a step every few seconds only, as it is read off the device. An event that only says what
    became of the run, in ``state``, has 0 for them and for ``epochs`` (`of_state`): how long a run is, is known only with its data.
    """

    run: str
    step: int
    total_steps: int
    epoch: int
    epochs: int
    samples_per_s: float
    record: EpochRecord | None = None
    state: RunState = "training"
    loss: float | None = None

    @classmethod
    def of_state(cls, spec: RunSpec, state: RunState) -> RunEvent:
        """The event that tells what became of a run, and no step."""
        return cls(spec.hash, 0, 0, 0, 0, 0.0, state=state)

    @property
    def validation(self) -> Evaluation | None:
        """Accuracy on the validation split, after an epoch."""
        return self.record.validation if self.record is not None else None


Listener = Callable[[RunEvent], None]


def file_sha256(name: str) -> str | None:
    """SHA-256 of the source of a rule given as ``FILE.py:CLASS``; ``None`` for a rule of ours."""
    path = name.rpartition(":")[0]
    if not path.endswith(".py"):
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read the rule file {path}: {error.strerror}") from error


def pin_plugin(spec: RunSpec) -> RunSpec:
    """The spec with the hash of the plug-in's source, where the rule (or the rule it is the twin of) is a file."""
    source = file_sha256(spec.rule.name) or file_sha256(str(spec.rule.options.get("of", "")))
    if source == spec.rule.source_sha256:
        return spec
    rule = RuleSpec(name=spec.rule.name, options=spec.rule.options, source_sha256=source)
    return spec.model_copy(update={"rule": rule})


@functools.lru_cache(maxsize=2)
def _load(data: str) -> Data:
    return load_data(**DataSpec.model_validate_json(data).model_dump())


def load_task(data: DataSpec) -> Data:
    """The data of a spec; the last two are kept."""
    return _load(data.model_dump_json())


@functools.lru_cache(maxsize=8)
def _separability(data: str) -> float:
    """Of a task, measured once for all runs on it in this process."""
    return measure_separability(_load(data))


def build(spec: RunSpec) -> tuple[Data, Rule]:
    """The data and the fresh rule of a spec.

    Raises:
        InputError: whatever in the spec does not fit.
    """
    if spec.protocol != PROTOCOL:
        raise InputError(
            f"the spec is of protocol {spec.protocol}, this version runs protocol {PROTOCOL}; they do not compare"
        )
    data = load_task(spec.data)
    if spec.judged_on == "validation" and data.validation is None:
        raise InputError("judged_on 'validation' needs a validation split; set data.validation above 0")
    _warn_of_large_images(spec, data)
    for kind, options, taken, known in (
        ("network", spec.network.options, {"in_channels", "image_size", "seed"}, network_options(spec.network.name)),
        ("rule", spec.rule.options, {"network", "num_classes", "seed"}, rule_options(find_rule(spec.rule.name))),
    ):
        for key in taken & options.keys():
            raise unknown_name(f"option of {kind} {getattr(spec, kind).name!r}:", key, known)
    network = create_network(
        spec.network.name, in_channels=data.in_channels, image_size=data.image_size, width=spec.network.width, seed=spec.seed,
        channels_last=spec.network.channels_last, compile=spec.network.compile, fused=spec.network.fused, **spec.network.options,
    )  # fmt: skip
    rule = create_rule(spec.rule.name, network, num_classes=data.num_classes, seed=spec.seed, **spec.rule.options)
    return data, rule


def _warn_of_large_images(spec: RunSpec, data: Data) -> None:
    """Where nobody chose their size: it is quickly the dearest setting of all."""
    side = data.image_size
    if (
        spec.data.image_size is None
        and spec.data.teacher is None
        and len(data.sample_shape) == 3
        and side > MUCH_PIXELS
    ):
        warnings.warn(
            f"the images of {spec.data.source} are {side} px and no size was asked for: a step takes about "
            f"{(side / FEW_PIXELS) ** 2:.0f} times as long as at {FEW_PIXELS} px; choose one with --set data.image_size={MUCH_PIXELS} "
            f"(in Python DataSpec(image_size={MUCH_PIXELS})), or {side} for these",
            stacklevel=2,
        )


def run_spec(
    spec: RunSpec,
    store: RunStore,
    *,
    device: Device = "cpu",
    listen: Listener | None = None,
    wait: bool = True,
    make_training: Callable[..., Training] = Training,
) -> RunRecord:
    """Finish a run: at once where it is finished, from its last checkpoint where it was interrupted.

    Where another process is working on the same run, say so once (an event of state ``"waiting"``) and wait for it.

    Args:
        spec: what to run.
        store: where it is kept.
        device: where it is trained.
        listen: gets an event a step and an epoch.
        wait: ``False`` raises instead of waiting for another process.
        make_training: takes the arguments of `Training`; how training is spread over processes (`layerlocal.distributed`).

    Raises:
        InputError: the spec does not fit its data, a loss is not finite, the store cannot be written, a file is damaged.
        RunBusyError: another process is working on the run, and ``wait`` is false.
    """
    device = find_device(device)
    if not store.is_done(spec):
        spec = _pin_or_refuse(spec)
        if not store.is_done(spec):  # a finished run is read from a store that cannot be written, too
            store.prepare()
    waiting = False
    while not store.is_done(spec):
        try:
            with store.open(spec) as folder:
                if not store.is_done(spec):
                    with plugin_errors(spec):
                        return _train_run(spec, folder, device, listen, make_training)
        except RunBusyError:
            if not wait:
                raise
            if listen is not None and not waiting:
                listen(RunEvent.of_state(spec, "waiting"))
            waiting = True
            time.sleep(BUSY_SECONDS)
    return store.load(spec.hash)


def _pin_or_refuse(spec: RunSpec) -> RunSpec:
    found = pin_plugin(spec)
    if spec.rule.source_sha256 not in (None, found.rule.source_sha256):
        file = spec.rule.options.get("of", spec.rule.name)
        raise InputError(f"the rule file of {file} has changed since this run was planned; run the command again")
    return found


@contextlib.contextmanager
def plugin_errors(spec: RunSpec) -> Iterator[None]:
    """Whatever a rule of the user's own raises is the user's to mend: one sentence that says where."""
    try:
        yield
    except BaseException as error:
        if spec.rule.source_sha256 is None or isinstance(error, InputError) or not is_fault(error):
            raise
        raise InputError(f"rule {spec.rule.name} {describe_error(error)}; `layerlocal check` shows more") from error


def _train_run(
    spec: RunSpec, folder: RunFolder, device: str, listen: Listener | None, make_training: Callable[..., Training]
) -> RunRecord:
    data, rule = build(spec)
    training = make_training(rule, data, spec.recipe, seed=spec.seed, device=device)
    rows: list[MetricRow] = []
    seconds = 0.0
    instructions: list[str] = []
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        try:
            tensors, found = checkpoint
            rows = [(int(epoch), metric, block, value) for epoch, metric, block, value in found["rows"]]
            seconds = found["seconds"]
            instructions = [str(name) for name in found.get("instructions", ())]
            training.load_state_tensors(tensors, found["epoch"])
        except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise folder.damaged_checkpoint(error) from error
    if not training.finished and instructions[-1:] != [vector_instructions()]:
        instructions.append(vector_instructions())

    def progress() -> dict[str, Any]:
        return {"epoch": training.epoch, "rows": rows, "seconds": seconds, "instructions": instructions}

    _reset_peaks(training.device)
    while not training.finished:
        record = training.run_epoch(_step_report(spec, training, listen))
        rows += _rows(record)
        seconds += record.seconds
        folder.save_checkpoint(training.state_tensors(), progress())
        if listen is not None:
            done, rate = training.steps_done, record.samples_per_s
            listen(RunEvent(spec.hash, done, training.steps, record.epoch, training.epochs, rate, record))
    peaks = _peaks(training.device)  # before anything else is measured
    kept = training.close()
    result = _result(spec, training, seconds, rows) | peaks | kept
    folder.save_checkpoint(dict(rule.state_dict()), progress())  # enough to finish from, should DONE not be reached
    environment = _environment(spec, device) | ({"instructions": ", then ".join(instructions)} if instructions else {})
    return folder.finish(env=environment, result=result, metrics=rows)


def _environment(spec: RunSpec, device: str) -> dict[str, Any]:
    return describe_environment(device) | ({"kernels": kernels_in_use(device)} if spec.network.fused else {})


def _step_report(spec: RunSpec, training: Training, listen: Listener | None) -> Callable[[int, int], None] | None:
    if listen is None:
        return None
    start = time.perf_counter()
    before = training.steps_done
    epoch, read = training.epoch + 1, start

    def report(step: int, samples: int) -> None:
        nonlocal read
        now = time.perf_counter()
        rate, loss = samples / max(1e-9, now - start), None
        if now - read >= LOSS_SECONDS:
            read, loss = now, training.meter.mean_loss()
        listen(RunEvent(spec.hash, before + step, training.steps, epoch, training.epochs, rate, loss=loss))

    return report


def _rows(record: EpochRecord) -> list[MetricRow]:
    """An epoch's record as rows of the long table."""
    rows: list[MetricRow] = [
        (record.epoch, "train_seconds", "all", record.seconds),
        (record.epoch, "samples_per_s", "all", record.samples_per_s),
        (record.epoch, "learning_rate", "all", record.learning_rate),
    ]
    rows += [(record.epoch, "train_loss", block, value) for block, value in record.losses.items()]
    for name, value in record.metrics.items():
        metric, _, block = name.partition("/")
        rows.append((record.epoch, metric, block or "all", value))
    if record.validation is not None:
        rows.append((record.epoch, "validation_accuracy", "fused", record.validation.accuracy))
        rows += [
            (record.epoch, "validation_accuracy", block, v) for block, v in record.validation.block_accuracies.items()
        ]
    return rows


def _result(spec: RunSpec, training: Training, seconds: float, rows: list[MetricRow]) -> dict[str, Any]:
    """Everything a report needs: the one look at the test split, the certificate, the costs."""
    if spec.judged_on == "validation":
        return _trial_result(spec, training, seconds, rows)
    rule, data = training.rule, training.data
    test = training.test()
    samples = data.train.gather(torch.arange(min(spec.recipe.batch_size, len(data.train))))
    x = normalize(samples.images, data.mean, data.std).to(training.device)
    y = samples.labels.to(training.device)
    validation = [value for _, metric, block, value in rows if metric == "validation_accuracy" and block == "fused"]
    return {
        "run": spec.hash,
        "rule": spec.rule.name,
        "test_accuracy": test.accuracy,
        "block_accuracies": test.block_accuracies,
        "validation_accuracy": validation[-1] if validation else None,
        "num_test": test.num_samples,
        "num_classes": data.num_classes,
        "chance": data.chance,
        "group_accuracies": test.group_accuracies,
        "data": {
            "name": data.name,
            "class_names": list(data.class_names),
            "provenance": data.provenance,
            "separability": _separability(spec.data.model_dump_json()),
        },
        "steps": training.steps,
        "train_seconds": seconds,
        "samples_per_s": training.steps * spec.recipe.batch_size / seconds,
        "num_parameters": sum(p.numel() for p in rule.parameters()),
        "passes_per_step": rule.passes_per_step,
        "passes_per_prediction": rule.passes_per_prediction,
        "locality": measure_locality(rule, x[:LOCALITY_BATCH], y[:LOCALITY_BATCH], seed=spec.seed),
        **measure_saved_bytes(rule, x, y),
        **measure_flops(rule, x, y),
    }


def _trial_result(spec: RunSpec, training: Training, seconds: float, rows: list[MetricRow]) -> dict[str, Any]:
    """What a search needs, as the last epoch found it; nothing of the test split is read."""
    assert training.data.validation is not None  # `build` refuses a spec without one
    last = {
        block: value
        for epoch, metric, block, value in rows
        if (epoch, metric) == (training.epoch, "validation_accuracy")
    }
    return {
        "run": spec.hash,
        "rule": spec.rule.name,
        "judged_on": "validation",
        "validation_accuracy": last.pop("fused"),
        "block_accuracies": last,
        "num_validation": len(training.data.validation),
        "steps": training.steps,
        "train_seconds": seconds,
        "samples_per_s": training.steps * spec.recipe.batch_size / seconds,
    }


def _reset_peaks(device: str) -> None:
    reset_peak_resident()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def _peaks(device: str) -> dict[str, int | None]:
    """The most memory that training took since `_reset_peaks`: of the process, and on CUDA of its allocator."""
    found = {"process_peak_resident_bytes": peak_resident_bytes()}
    if device.startswith("cuda"):
        found["cuda_peak_allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        found["cuda_peak_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    return found
