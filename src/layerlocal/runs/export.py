"""A finished run as one file for others: an ONNX model or a `torch.export` program, held against the rule before it gets its name."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from layerlocal.data import DataFacts
from layerlocal.data.batches import as_inputs
from layerlocal.plugins import file_of
from layerlocal.rules import Rule
from layerlocal.runs.pin import changed_file, pin_plugin
from layerlocal.runs.run import build_rule, load_task
from layerlocal.runs.store import RunFolder, RunRecord, RunStore
from layerlocal.types import InputError, first_line

__all__ = ["FORMATS", "Exported", "export_run", "load_trained"]

CHECKED = 16
"""Made-up samples, with the data's mean and deviation, on which a file is held against the rule; it was traced on the first two, so the
batch size is checked too."""
TOLERANCE = 1e-4
"""Largest difference that is let through, as a share of the largest score, or of 1 where that is less."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
Scorer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        format: a key of `FORMATS`.
        path: where it is.
        num_bytes: its size.
        run: hash of the run.
        input: type and shape of what it takes, e.g. ``"uint8 (B, 1, 28, 28)"``.
        output: of what it gives.
        checked: samples on which it was compared with the rule.
        largest_difference: between its scores and the rule's.
        largest_score: in absolute value, for scale.
    """

    format: str
    path: str
    num_bytes: int
    run: str
    input: str
    output: str
    checked: int
    largest_difference: float
    largest_score: float


def export_run(
    store: RunStore, name: str, files: dict[str, Path], *, force: bool = False, trust_rule_files: bool = False
) -> list[Exported]:
    """Write a finished run's network with its fused readout, taking raw samples: uint8 pixels, or float32 vectors as the data hold them.

    Classes and normalization are those that the run stored; the data need not be at hand.

    Args:
        store: where the run is.
        name: its hash, or a beginning of it that is unique.
        files: by a key of `FORMATS`.
        force: replace files that exist.
        trust_rule_files: run the Python files that the run names as its rule and its network; of a store that was received, look at them first.

    Raises:
        InputError: no such run, its weights are not at hand, a file of code that is not trusted, a file that exists, a package that is
            missing, a rule that cannot be traced, or a file whose scores are not the rule's (it is not kept).
    """
    if len(set(files.values())) < len(files):
        raise InputError("one file was named for two formats; name two files")
    for path in files.values():
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file to write")
        if path.exists() and not force:
            raise InputError(f"{path} exists; add --force to replace it")
    if "onnx" in files:
        _require_onnx()
    record, data, rule = load_trained(store, name, trust_rule_files=trust_rule_files)
    samples = data.made_up_samples(CHECKED)
    with torch.no_grad():
        expected = rule.scores(as_inputs(samples, data))
    with _quiet():
        program = _trace(rule.to_module(mean=data.mean, std=data.std, scale=data.scale), samples[:2])
    facts = {"run": record.hash, "rule": record.spec.rule.name, "classes": json.dumps(data.class_names)}
    found = []
    for kind, path in files.items():
        difference, scale = _write(kind, program, path, facts, samples, expected)
        size, taken, given = path.stat().st_size, _describe(samples), _describe(expected)
        found.append(Exported(kind, str(path), size, record.hash, taken, given, len(samples), difference, scale))
    return found


def files_of(record: RunRecord) -> dict[str, str]:
    """What of a run is a Python file, ``"rule"`` or ``"network"``, and which: building the run's rule would run it."""
    spec = record.spec
    names = {"rule": (spec.rule.name, str(spec.rule.options.get("of", ""))), "network": (spec.network.name,)}
    found = {kind: next(filter(None, map(file_of, several)), None) for kind, several in names.items()}
    return {kind: file for kind, file in found.items() if file is not None}


def load_trained(store: RunStore, name: str, *, trust_rule_files: bool = False) -> tuple[RunRecord, DataFacts, Rule]:
    """A finished run, what it kept of its data, and its rule with the weights it ended with, in evaluation mode on the CPU.

    Raises:
        InputError: no such run, a file of code that is not trusted, or weights, data or plug-in that are not what they were.
    """
    record = store.load(name)
    for kind, file in files_of(record).items():
        if not trust_rule_files:
            raise InputError(
                f"the {kind} of run {record.hash} is the file {file}, and building it runs that file; look at it, then give "
                "--trust-rule-files (Python: trust_rule_files=True)"
            )
    if (changed := changed_file(record.spec, pin_plugin(record.spec))) is not None:
        raise InputError(f"{changed} has changed since run {record.hash} was trained")
    folder = RunFolder(store.root / record.hash, record.spec)
    folder.refuse_damaged_checkpoint()
    checkpoint = folder.load_checkpoint()
    if checkpoint is None:
        raise InputError(
            f"run {record.hash} in {store.root} has no checkpoint, so its weights are gone; train it again"
        )
    data = _facts_of(record)
    rule = build_rule(record.spec, data, start=False)
    try:
        rule.load_state_dict(checkpoint[0])
    except RuntimeError as error:
        raise folder.damaged_checkpoint(error) from error
    return record, data, rule.eval()


def _facts_of(record: RunRecord) -> DataFacts:
    """As the run stored them; of a run of 0.1.0, which stored no normalization, from its data, if they are those it was trained on."""
    stored = record.result.get("data") or {}
    facts = DataFacts.parse(stored)
    if facts is not None:
        return facts
    data = load_task(record.spec.data)
    before = (stored.get("provenance") or {}).get("checksum"), stored.get("class_names")
    if before != (data.provenance["checksum"], list(data.class_names)):
        raise InputError(
            f"run {record.hash} was made by a version that kept no normalization, and the data at {record.spec.data.source!r} are not those "
            "it was trained on; put them back, or train it again"
        )
    return DataFacts.of(data)


def _write(
    kind: str,
    program: torch.export.ExportedProgram,
    path: Path,
    facts: dict[str, str],
    samples: Tensor,
    expected: Tensor,
) -> tuple[float, float]:
    """Write beside the file, read it back, compare, and only then give it its name: largest difference and largest score."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            made = Path(folder) / f"model{SUFFIXES[kind]}"
            with _quiet():
                scores = FORMATS[kind](program, made, facts)(samples)
            found = _compare(scores, expected, path)
            os.replace(made, path)
            return found
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; name another file") from error


def _trace(module: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """For any batch size."""
    try:
        with torch.no_grad():
            return torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    except Exception as error:  # each of torch's many; the module itself has just been built
        raise InputError(
            f"torch.export cannot trace this network or rule: {type(error).__name__}: {first_line(error)}"
        ) from error


def _write_onnx(program: torch.export.ExportedProgram, path: Path, facts: dict[str, str]) -> Scorer:
    """Weights inside the one file."""
    import onnxruntime

    try:
        converted = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=["samples"], output_names=["scores"]
        )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(f"ONNX cannot express this network or rule: {first_line(error.__cause__ or error)}") from error
    assert converted is not None
    converted.model.metadata_props.update(facts)
    converted.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda samples: torch.from_numpy(session.run(["scores"], {"samples": samples.numpy()})[0])


def _write_torch(program: torch.export.ExportedProgram, path: Path, facts: dict[str, str]) -> Scorer:
    """Read back by ``torch.export.load(FILE).module()``, without layerlocal."""
    torch.export.save(program, path, extra_files={"layerlocal.json": json.dumps(facts)})
    return torch.no_grad()(torch.export.load(path).module())


FORMATS: dict[str, Callable[[torch.export.ExportedProgram, Path, dict[str, str]], Scorer]] = {
    "onnx": _write_onnx,
    "torch": _write_torch,
}
"""What can be written, and how: (traced program, file, facts to write beside) → the scores of the file as it was read back."""
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def _compare(scores: Tensor, expected: Tensor, path: Path) -> tuple[float, float]:
    """Largest difference and largest score."""
    difference, scale = float((scores - expected).abs().max()), float(expected.abs().max())
    if not difference <= TOLERANCE * max(1.0, scale):
        raise InputError(
            f"the scores of the exported file differ from the rule's by up to {difference:.3g} (scores reach {scale:.3g}); "
            f"{path} was not written"
        )
    return difference, scale


def _require_onnx() -> None:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {', '.join(missing)}; pip install 'layerlocal[onnx]'")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of packages that are not needed here, of changes to come in themselves, and of errors that they also raise."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _describe(batch: Tensor) -> str:
    """``"uint8 (B, 1, 28, 28)"``."""
    return f"{str(batch.dtype).removeprefix('torch.')} ({', '.join(['B', *map(str, batch.shape[1:])])})"
