"""What is kept of a run when its training is over: accuracies, the certificate, costs, and what its data were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from layerlocal.data import Data, DataFacts
from layerlocal.data.batches import as_inputs
from layerlocal.measure import (
    measure_flops,
    measure_locality,
    measure_saved_bytes,
    peak_resident_bytes,
    reset_peak_resident,
)
from layerlocal.runs.answers import ANSWERS, IMAGES
from layerlocal.spec import RunSpec
from layerlocal.training.evaluate import Evaluation, evaluate_split
from layerlocal.training.loggers import MetricRow
from layerlocal.training.train import Training

__all__ = ["peaks", "reset_peaks", "result_of"]

LOCALITY_BATCH = 8


def result_of(
    spec: RunSpec, training: Training, seconds: float, rows: list[MetricRow], separability: Callable[[], float | None]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Everything a report needs: the one look at the test split, the certificate, the costs.

    Args:
        spec: of the run.
        training: finished.
        seconds: it took, without evaluation.
        rows: of every epoch (`layerlocal.training.loggers.rows_of`).
        separability: of the task's classes; not asked for where the run is judged on the validation split.

    Returns:
        What goes into ``result.json``, and the files of answers.
    """
    if spec.judged_on == "validation":
        return _trial_result(spec, training, seconds, rows), _answers(_validated(training))
    rule, data = training.rule, training.data
    test = training.test()
    samples = data.train.gather(torch.arange(min(spec.recipe.batch_size, len(data.train))))
    x = as_inputs(samples.images, data).to(training.device)
    y = samples.labels.to(training.device)
    validation = [value for _, metric, block, value in rows if metric == "validation_accuracy" and block == "fused"]
    result = {
        "run": spec.hash,
        "rule": spec.rule.name,
        "test_accuracy": test.accuracy,
        "block_accuracies": test.block_accuracies,
        "validation_accuracy": validation[-1] if validation else None,
        **_nats_result(test),
        "num_test": test.num_samples,
        "num_classes": data.num_classes,
        "chance": data.chance,
        "group_accuracies": test.group_accuracies,
        "data": _data_result(data) | {"separability": separability()},
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
    return result, _answers(test)


def _nats_result(test: Evaluation) -> dict[str, Any]:
    """Where every token has a label."""
    return {} if test.nats is None else {"test_nats": test.nats, "block_nats": test.block_nats}


def _validated(training: Training) -> Evaluation:
    """The last evaluation on the validation split; made again where the run was cut off after its last epoch."""
    assert training.data.validation is not None
    found = training.validated
    return found or evaluate_split(training.rule, training.data, training.data.validation, device=training.device)


def _answers(found: Evaluation) -> dict[str, bytes]:
    """The files of `layerlocal.runs.answers`."""
    if found.answers is None:
        return {}
    return {ANSWERS: found.answers} | ({} if found.places is None else {IMAGES: found.places})


def _data_result(data: Data) -> dict[str, Any]:
    """What is kept of the data: enough to use the trained network without them, and to tell them from others."""
    known = {"name": data.name, "provenance": data.provenance, "content_sha256": data.content_sha256}
    return known | DataFacts.of(data).as_json()


def _trial_result(spec: RunSpec, training: Training, seconds: float, rows: list[MetricRow]) -> dict[str, Any]:
    """What a search needs, as the last epoch found it; nothing of the test split is read."""
    assert training.data.validation is not None  # `build` refuses a spec without one
    last, nats = (
        {block: value for epoch, metric, block, value in rows if (epoch, metric) == (training.epoch, wanted)}
        for wanted in ("validation_accuracy", "validation_nats")
    )
    return {
        "run": spec.hash,
        "rule": spec.rule.name,
        "judged_on": "validation",
        "validation_accuracy": last.pop("fused"),
        "block_accuracies": last,
        **({"validation_nats": nats["fused"]} if nats else {}),
        "num_validation": len(training.data.validation),
        "data": _data_result(training.data),
        "steps": training.steps,
        "train_seconds": seconds,
        "samples_per_s": training.steps * spec.recipe.batch_size / seconds,
    }


def reset_peaks(device: str) -> None:
    """Begin to watch the most memory that is taken."""
    reset_peak_resident()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: str) -> dict[str, int | None]:
    """The most memory that training took since `reset_peaks`: of the process, and on CUDA of its allocator."""
    found = {"process_peak_resident_bytes": peak_resident_bytes()}
    if device.startswith("cuda"):
        found["cuda_peak_allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        found["cuda_peak_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    return found
