"""`load_data`: a name or a folder in, a task's data out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerlocal.data.arguments import Request, check_arguments
from layerlocal.data.assemble import assemble, assemble_text
from layerlocal.data.builtin import EMBEDDED_NAME
from layerlocal.data.bundle import Data
from layerlocal.data.raw import TEACHER_NAME, Raw, RawSplit, content_sum, raw_data
from layerlocal.data.selection import balanced_quota
from layerlocal.data.teacher import create_teacher, draw_balanced
from layerlocal.data.teacher_options import TeacherOptions
from layerlocal.data.text import find_text, refuse_context
from layerlocal.types import InputError

__all__ = ["load_data"]


def load_data(
    source: str | Path = EMBEDDED_NAME,
    *,
    labels: str | None = None,
    classes: int | Sequence[int | str] | None = None,
    image_size: int | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    teacher: TeacherOptions | Mapping[str, Any] | None = None,
    draw: str = "any",
    superclass: int | None = None,
    compose: str | None = None,
    held_out: float = 0.2,
    test: float | None = None,
    context: int | None = None,
    cache_dir: Path | None = None,
    reread: bool = False,
) -> Data:
    """Load data for one task: training split, validation split drawn from it, and the test split under seal.

    ::

        data = load_data("fashion_mnist_subset", classes=5, num_train=1000, seed=1)
        data = load_data("path/to/cifar100", labels="coarse")

    Args:
        source: a name in `list_data` (looked for in the folder ``LAYERLOCAL_DATA`` first, where that is set), a folder of
            Parquet files in the Hugging Face layout (``train-*.parquet`` and ``test-*``, ``validation-*`` or ``valid-*``),
            a folder ``train/<class>/*`` and ``test/<class>/*`` (or ``val``, ``validation``) of images, or a file ``NAME.npz`` of
            arrays as MedMNIST publishes them (``train_images``, ``train_labels``, the same of test and, if there is one, of val,
            whose images join the training images). Text: ``python_library``, which is embedded, a name of the Hub
            such as ``tinystories``, a folder of text files (in ``train/`` and ``test/``, or all in one with ``test``), or Parquet files
            with a column ``text`` and no images. A name goes before a folder of that name: write ``./cifar100``.
        labels: the label column; "fine" and "coarse" for CIFAR-100. None: "label", "fine_label", or the only one. Of text: its column.
        classes: a number K to draw K classes by ``seed`` (teacher_student: K itself, 10 if None), or a list of indices
            and names. Labels become 0..K-1 in the order of the original indices.
        image_size: pixels; the shorter side is resized to it and the middle square taken. None: as stored.
        num_train: training images, class-balanced by ``seed``, counted before the validation split is taken out; of text samples of
            ``context`` bytes.
        num_test: test images, likewise.
        validation: share of the training images, 0 to below 1, drawn by class, of text document by document; 0 for no validation split.
        seed: of every draw here.
        teacher: options of teacher_student.
        draw: how ``classes`` are drawn: "any", "within" one superclass, "across" superclasses, or "groups" of classes (`DataSpec`).
        superclass: the one "within" draws from; None: drawn by ``seed``.
        compose: "side" or "overlay": two images in one, the label their pair of classes; the test split's ``groups`` tell seen
            from unseen pairs.
        held_out: share of the pairs kept from training.
        test: share of the images that is drawn as test split, by class and ``seed``: for folders that have none, which may then be
            ``<class>/*`` too; above 0, below 1. None: the source has a test split.
        context: T, bytes of a sample of text, 128 where left out; each has the byte after it as its label. Not for images.
        cache_dir: for decoded images; None: ``LAYERLOCAL_CACHE``, else ``~/.cache/layerlocal``.
        reread: read files again even where their sizes and times of change are those of their decoded copy.

    Raises:
        InputError: whatever is wrong with the source or the choices, in one sentence.
    """
    request = Request(
        labels=labels,
        classes=classes,
        image_size=image_size,
        num_train=num_train,
        num_test=num_test,
        validation=validation,
        seed=seed,
        draw=draw,
        superclass=superclass,
        compose=compose,
        held_out=held_out,
        test=test,
        context=context,
    )
    request = check_arguments(source, request, cache_dir)
    if source == TEACHER_NAME:
        refuse_context(request, source)
        return assemble(_teacher_raw(request, TeacherOptions.parse(teacher)), _chosen_already(request))
    if teacher is not None:
        raise InputError(f"teacher options belong to {TEACHER_NAME}, not to {str(source)!r}; leave them out")
    if (found := find_text(source, labels, reread=reread)) is not None:
        return assemble_text(found(request.test is not None), request)
    refuse_context(request, source)
    raw = raw_data(source, request, Path(cache_dir) if cache_dir else None, reread=reread)
    for note in raw.provenance.get("notes", ()):
        warnings.warn(note, stacklevel=2)
    return assemble(raw, request)


def _chosen_already(request: Request) -> Request:
    """The same request without what the teacher has already done: classes and numbers of images."""
    return Request(**{**request.__dict__, "classes": None, "num_train": None, "num_test": None, "draw": "any"})


def _teacher_raw(request: Request, options: TeacherOptions) -> Raw:
    """Inputs and labels of teacher-student data: exactly balanced up to one image a class."""
    wrong = next(
        (
            name
            for name in ("labels", "image_size", "superclass", "compose", "test")
            if getattr(request, name) is not None
        ),
        None,
    )
    wrong = "draw" if request.draw != "any" else wrong
    if wrong:
        raise InputError(
            f"{wrong} does not apply to {TEACHER_NAME}; leave it out (its sizes are options of the teacher)"
        )
    num_classes = 10 if request.classes is None else request.classes
    if not isinstance(num_classes, int) or num_classes < 2:
        raise InputError(f"classes={request.classes!r} of {TEACHER_NAME} must be a number of classes, at least 2")
    teacher = create_teacher(options, num_classes=num_classes, seed=request.seed)
    numbers = {"train": 8192 if request.num_train is None else request.num_train}
    numbers["test"] = 2048 if request.num_test is None else request.num_test
    splits = {}
    for split, number in numbers.items():
        if number < num_classes:
            raise InputError(f"num_{split}={number} is too few for {num_classes} classes; ask for at least one a class")
        quota = torch.from_numpy(balanced_quota(np.full(num_classes, number), number))
        x, y = draw_balanced(teacher, quota, shape=options.sample_shape, seed=request.seed, what=split)
        splits[split] = RawSplit(labels=y.numpy(), open_images=lambda x=x: x)  # type: ignore[misc]
    checksum = hashlib.sha256(b"".join(split.labels.tobytes() for split in splits.values())).hexdigest()
    provenance = {
        "kind": "synthetic",
        "source": options.as_json(),
        "licence": "none needed",
        "checksum": checksum,
        "seed": request.seed,
    }
    names = [str(k) for k in range(num_classes)]
    return Raw(
        name=TEACHER_NAME, class_names=names, provenance=provenance, train=splits["train"], test=splits["test"],
        content_sha256=content_sum(checksum, [options.as_json(), request.seed], names),
    )  # fmt: skip
