"""A task in numbers, known from labels alone before an image is opened. Imports no torch."""

from __future__ import annotations

import functools
import shlex
import warnings
from dataclasses import dataclass

from layerlocal.data.arguments import Request, check_arguments
from layerlocal.data.choice import choose
from layerlocal.data.pairs import Composed, plan_pairs
from layerlocal.data.raw import TEACHER_NAME, Raw, raw_data
from layerlocal.data.shaped import USUAL_NETWORK, Shaped, network_for
from layerlocal.data.teacher_options import TeacherOptions
from layerlocal.data.text import VOCABULARY, TextChoice, choose_text, find_text, is_text, refuse_context
from layerlocal.spec import DataSpec, Recipe
from layerlocal.types import InputError

__all__ = [
    "Task",
    "content_of",
    "refuse_less_than_a_batch",
    "refuse_no_images",
    "refuse_other_content",
    "task_of",
    "usual_network",
]


@dataclass(frozen=True)
class Task(Shaped):
    """A task in numbers.

    Attributes:
        sample_shape: (C, H, W), (D,) for vectors, or (T,) for tokens.
        num_classes: K.
        num_train: samples that are trained on; those that validate are not among them.
        num_validation: 0 where there is no validation split.
        num_test: samples.
        vocabulary: V where samples are tokens.
    """

    sample_shape: tuple[int, ...]
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int
    vocabulary: int | None = None


def task_of(data: DataSpec) -> Task:
    """The task of a spec; of teacher-student data the one that its options say, counts but for rounding by class.

    Raises:
        InputError: as `layerlocal.load_data`, and for data that are not those that the spec records.
    """
    return _task(data.model_dump_json())


@functools.lru_cache(maxsize=4096)
def _task(text: str) -> Task:
    data = DataSpec.model_validate_json(text)
    if data.source == TEACHER_NAME and (data.classes is None or (isinstance(data.classes, int) and data.classes > 1)):
        return _teacher_task(data)
    if data.source == TEACHER_NAME or data.teacher is not None:
        return _loaded_task(data)
    request = Request(**{name: getattr(data, name) for name in Request.__dataclass_fields__})
    request = check_arguments(data.source, request)
    if (found := find_text(data.source, data.labels)) is not None:
        corpus = found(data.test is not None)
        refuse_other_content(data, corpus.content_sha256 if not data.is_fixed else None)
        return _text_task(choose_text(corpus, request))
    refuse_context(request, data.source)
    raw = raw_data(data.source, request)
    refuse_other_content(data, raw.content_sha256)
    if raw.sample_shape is None:
        return _loaded_task(data)
    for note in raw.provenance.get("notes", ()):
        warnings.warn(note, stacklevel=3)
    chosen = choose(raw, request)
    if request.compose is not None:
        return _composed_task(raw, plan_pairs(request, chosen))
    counts = len(chosen.train), len(chosen.validation), len(chosen.test)
    return Task(raw.sample_shape, len(chosen.names), *counts)


def _text_task(chosen: TextChoice) -> Task:
    counts = len(chosen.train), len(chosen.validation), len(chosen.test)
    return Task((chosen.context,), VOCABULARY, *counts, vocabulary=VOCABULARY)


def _composed_task(raw: Raw, composed: Composed) -> Task:
    """A composed image is as large as one that it is made of."""
    assert raw.sample_shape is not None
    counts = composed.num_train, composed.num_validation, composed.num_test
    return Task(raw.sample_shape, composed.plan.num_pairs, *counts)


def _teacher_task(data: DataSpec) -> Task:
    number = 8192 if data.num_train is None else data.num_train
    validation, tested = round(data.validation * number), 2048 if data.num_test is None else data.num_test
    assert data.classes is None or isinstance(data.classes, int)
    return Task(
        TeacherOptions.parse(data.teacher).sample_shape, data.classes or 10, number - validation, validation, tested
    )


def _loaded_task(data: DataSpec) -> Task:
    from layerlocal.data.load import load_data

    found = load_data(**data.model_dump(exclude={"content_sha256"}))
    refuse_other_content(data, found.content_sha256)
    counts = len(found.train), len(found.validation or ()), found.provenance["num_images"]["test"]
    return Task(found.sample_shape, found.num_classes, *counts)


def content_of(spec: DataSpec, *, reread: bool = False) -> str | None:
    """What the data of a spec are: `Data.content_sha256`, read from the decoded copies where they are there, and decoded otherwise.

    Args:
        spec: of which ``source``, ``labels``, ``image_size`` and ``draw`` count (`DataSpec.place`).
        reread: as in `load_data`.

    Returns:
        64 hex digits; ``None`` for sources that the spec alone determines.

    Raises:
        InputError: data that cannot be read.
    """
    if spec.is_fixed:
        return None
    request = Request(**{name: getattr(spec, name) for name in Request.__dataclass_fields__})
    request = check_arguments(spec.source, request)
    if (found := find_text(spec.source, spec.labels, reread=reread)) is not None:
        return found(spec.test is not None).content_sha256
    return raw_data(spec.source, request, reread=reread).content_sha256


def usual_network(data: DataSpec) -> str:
    """`network_for` the data of a spec, told by how they lie: nothing is decoded or fetched.

    Raises:
        InputError: a folder that cannot be read, or options of teacher-student data that are none.
    """
    if data.source == TEACHER_NAME:
        return network_for(task_of(data))
    return USUAL_NETWORK["text" if is_text(data) else "images"]


def refuse_no_images(task: Task, source: str, who: str) -> None:
    """Of what has networks for images and no option for another.

    Args:
        task: of the data.
        source: their name.
        who: ``"the audit"``.

    Raises:
        InputError: the samples are vectors or text.
    """
    if task.kind == "images":
        return
    what = "is text" if task.kind == "text" else f"has vectors of {task.in_channels} numbers"
    raise InputError(
        f"{source} {what}, and {who} trains networks for images: give images with --data or leave it out; `layerlocal train --data "
        f"{shlex.quote(source)} --network {network_for(task)}` trains on {task.kind}"
    )


def refuse_other_content(data: DataSpec, found: str | None) -> None:
    """Of data that are another's than those of a spec.

    Raises:
        InputError: what is there is not what the spec records.
    """
    if data.content_sha256 not in (None, found):
        raise InputError(
            f"the data at {data.source!r} are not those of this run, whose content_sha256 begins with {data.content_sha256[:12]}: "
            "they were changed, or another folder has the name; give the command again (without data.content_sha256) for the data as they are"
        )


def refuse_less_than_a_batch(samples: int, recipe: Recipe) -> None:
    """Training drops what does not fill a batch, so there must be one.

    Raises:
        InputError: fewer training ``samples`` than ``recipe.batch_size``.
    """
    if samples < recipe.batch_size:
        raise InputError(
            f"batch_size {recipe.batch_size} is more than the {samples} training samples; lower recipe.batch_size"
        )
