"""One spec in, one finished run out: train, evaluate, certify, measure, store. Continues where an interrupted one stopped."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from layerlocal.data import Data, load_data
from layerlocal.data.shaped import Shaped
from layerlocal.data.task import refuse_other_content
from layerlocal.devices import Device, find_device
from layerlocal.kernels import kernels_in_use
from layerlocal.measure import measure_separability
from layerlocal.networks import create_network, network_options
from layerlocal.networks.weights import ready
from layerlocal.options import check_kind
from layerlocal.plugins import file_of, own_file_of
from layerlocal.rules import Rule, create_rule, find_rule, rule_options
from layerlocal.runs.environment import describe_environment, environment_of_parts
from layerlocal.runs.pin import changed_file, contents_of, of_other_data, pin_data, pin_plugin
from layerlocal.runs.result import peaks, reset_peaks, result_of
from layerlocal.runs.store import RunBusyError, RunFolder, RunRecord, RunStore
from layerlocal.spec import PROTOCOL, DataSpec, RunSpec
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.loggers import Logger, MetricRow, check_logger, closing, log_rows, rows_of
from layerlocal.training.train import EpochRecord, Training, with_gradients
from layerlocal.types import InputError, describe_error, is_fault, unknown_name

__all__ = [
    "RunEvent", "RunState", "build", "build_rule", "load_task", "pin_plugin", "plugin_errors", "run_spec",
]  # fmt: skip

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


@functools.lru_cache(maxsize=2)
def _load(data: str) -> Data:
    spec = DataSpec.model_validate_json(data)
    found = load_data(**spec.model_dump(exclude={"content_sha256"}))
    refuse_other_content(spec, found.content_sha256)
    return found


def load_task(data: DataSpec) -> Data:
    """The data of a spec, as they are now or as the spec records them; the last two are kept.

    Raises:
        InputError: data that cannot be read, or that are not those the spec records.
    """
    return _load(pin_data(data).model_dump_json())


@functools.lru_cache(maxsize=8)
def _separability(data: str) -> float | None:
    """Of a task, measured once for all runs on it in this process; ``None`` of text."""
    task = load_task(DataSpec.model_validate_json(data))
    return None if task.vocabulary is not None else measure_separability(task)


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
        (
            "network",
            spec.network.options,
            {"in_channels", "image_size", "vocabulary", "context", "seed"},
            network_options(spec.network.name),
        ),
        ("rule", spec.rule.options, {"network", "num_classes", "seed"}, rule_options(find_rule(spec.rule.name))),
    ):
        for key in taken & options.keys():
            raise unknown_name(f"option of {kind} {getattr(spec, kind).name!r}:", key, known)
    return data, build_rule(spec, data)


def build_rule(spec: RunSpec, data: Shaped, *, start: bool = True) -> Rule:
    """The fresh rule of a spec, for data of which only shape and number of classes count.

    Args:
        spec: of a run.
        data: of whatever shape.
        start: read the weights that its network starts from; not where others come in their place.

    Raises:
        InputError: a network, a rule or an option that does not fit.
    """
    options: dict[str, Any] = dict(spec.network.options)
    network = create_network(
        spec.network.name, **data.network_input, width=spec.network.width, seed=spec.seed,
        channels_last=spec.network.channels_last, compile=spec.network.compile, fused=spec.network.fused, **options,
    )  # fmt: skip
    ready(network, spec.network, start=start)
    return create_rule(spec.rule.name, network, num_classes=data.num_classes, seed=spec.seed, **spec.rule.options)


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
    logger: Logger | None = None,
    wait: bool = True,
    look_around: bool = True,
    make_training: Callable[..., Training] = Training,
) -> RunRecord:
    """Finish a run: at once where it is finished, from its last checkpoint where it was interrupted.

    Where another process is working on the same run, say so once (an event of state ``"waiting"``) and wait for it.

    A run is of its data: those that the spec's source holds now are looked at first, and a run of the same words on other data is neither
    taken for this one nor continued.

    Args:
        spec: what to run.
        store: where it is kept.
        device: where it is trained.
        listen: gets an event a step and an epoch.
        logger: gets the numbers of every epoch, of a run that is continued those before too; of one that is finished already none. It is
            closed at the end.
        wait: ``False`` raises instead of waiting for another process.
        look_around: warn of runs of the same words on other data, where this one is begun anew.
        make_training: takes the arguments of `Training`; how training is spread over processes (`layerlocal.distributed`).

    Raises:
        InputError: the spec does not fit its data, a loss is not finite, the store cannot be written, a file is damaged.
        RunBusyError: another process is working on the run, and ``wait`` is false.
    """
    device = find_device(device)
    check_kind("spec", spec, RunSpec)
    check_kind("store", store, RunStore)
    if listen is not None and not callable(listen):
        raise InputError(f"listen must be a function that takes an event, got {type(listen).__name__}")
    check_logger(logger)
    spec = spec.with_content(contents_of([spec]))
    if not store.is_done(spec):
        spec = _pin_or_refuse(spec)
        if not store.is_done(spec):  # a finished run is read from a store that cannot be written, too
            store.prepare()
            if look_around and not (store.root / spec.hash).exists():
                for sentence in of_other_data(store, [spec]):
                    warnings.warn(sentence, stacklevel=2)
    waiting = False
    with closing(logger):
        while not store.is_done(spec):
            try:
                with store.open(spec) as folder:
                    if not store.is_done(spec):
                        with plugin_errors(spec):
                            return _train_run(spec, folder, device, listen, logger, make_training)
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
    if (file := changed_file(spec, found)) is not None:
        raise InputError(f"{file} has changed since this run was planned; run the command again")
    return found


@contextlib.contextmanager
def plugin_errors(spec: RunSpec) -> Iterator[None]:
    """Whatever a rule or network of the user's own raises is the user's to mend: one sentence that says where."""
    try:
        yield
    except BaseException as error:
        if not spec.has_own_code or isinstance(error, InputError) or not is_fault(error):
            raise
        if _is_of_network(spec, error):
            raise InputError(f"network {spec.network.name} {describe_error(error)}") from error
        raise InputError(f"rule {spec.rule.name} {describe_error(error)}; `layerlocal check` shows more") from error


def _is_of_network(spec: RunSpec, error: BaseException) -> bool:
    """Whose code an exception came out of, where the rule's or the network's is the user's own."""
    if spec.rule.source_sha256 is None or spec.network.source_sha256 is None:
        return spec.rule.source_sha256 is None
    files = file_of(spec.network.name), file_of(str(spec.rule.options.get("of", spec.rule.name)))
    return files[0] != files[1] and own_file_of(error) == files[0]


@with_gradients()
def _train_run(
    spec: RunSpec,
    folder: RunFolder,
    device: str,
    listen: Listener | None,
    logger: Logger | None,
    make_training: Callable[..., Training],
) -> RunRecord:
    data, rule = build(spec)
    training = make_training(rule, data, spec.recipe, seed=spec.seed, device=device)
    rows: list[MetricRow] = []
    seconds = 0.0
    parts: list[dict[str, Any]] = []
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        try:
            tensors, found = checkpoint
            rows = [(int(epoch), metric, block, value) for epoch, metric, block, value in found["rows"]]
            seconds = found["seconds"]
            parts = found.get("parts") or [{"instructions": str(name)} for name in found.get("instructions", ())]
            training.load_state_tensors(tensors, found["epoch"])
        except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise folder.damaged_checkpoint(error) from error
    if not training.finished:
        here = _environment(spec, device)
        if not parts or any(parts[-1].get(key) != value for key, value in here.items()):
            parts.append(here | {"from_epoch": training.epoch + 1})

    def progress() -> dict[str, Any]:
        return {"epoch": training.epoch, "rows": rows, "seconds": seconds, "parts": parts}

    log_rows(logger, rows)
    reset_peaks(training.device)
    while not training.finished:
        record = training.run_epoch(_step_report(spec, training, listen))
        rows += (news := rows_of(record))
        seconds += record.seconds
        folder.save_checkpoint(training.state_tensors(), progress())
        log_rows(logger, news)
        if listen is not None:
            done, rate = training.steps_done, record.samples_per_s
            listen(RunEvent(spec.hash, done, training.steps, record.epoch, training.epochs, rate, record))
    memory = peaks(training.device)  # before anything else is measured
    kept = training.close()
    result, answers = result_of(spec, training, seconds, rows, lambda: _separability(spec.data.model_dump_json()))
    result |= memory | kept
    folder.save_checkpoint(dict(rule.state_dict()), progress())  # enough to finish from, should DONE not be reached
    environment = environment_of_parts(parts) if parts else _environment(spec, device)
    return folder.finish(env=environment, result=result, metrics=rows, answers=answers)


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
