"""`load_data`: a name or a folder in, a task's data out."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerlocal.data.arguments import check_arguments
from layerlocal.data.assemble import Raw, RawSplit, Request, assemble
from layerlocal.data.benchmarks import BENCHMARKS
from layerlocal.data.builtin import EMBEDDED_NAME, EMBEDDED_SHA256, FASHION_CLASSES, load_embedded
from layerlocal.data.bundle import Data, content_sum
from layerlocal.data.cache import CachedSplit, decoded_split, default_cache_dir
from layerlocal.data.hub import hub_sources
from layerlocal.data.selection import balanced_quota, split_test
from layerlocal.data.sources import SplitSource, find_folder, pick_label
from layerlocal.data.teacher import TeacherOptions, create_teacher, draw_balanced
from layerlocal.data.views import find_superclasses
from layerlocal.spec import DataSpec
from layerlocal.types import InputError, shown, unknown_name

__all__ = ["TEACHER_NAME", "content_of", "list_data", "load_data"]

TEACHER_NAME = "teacher_student"


def list_data() -> list[str]:
    """The names `load_data` knows: the embedded default, the nine benchmarks on the Hub, the synthetic one."""
    return [EMBEDDED_NAME, *BENCHMARKS, TEACHER_NAME]


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
            or a folder ``train/<class>/*`` and ``test/<class>/*`` (or ``val``, ``validation``) of images. A name goes
            before a folder of that name: write ``./cifar100``.
        labels: the label column; "fine" and "coarse" for CIFAR-100. None: "label", "fine_label", or the only one.
        classes: a number K to draw K classes by ``seed`` (teacher_student: K itself, 10 if None), or a list of indices
            and names. Labels become 0..K-1 in the order of the original indices.
        image_size: pixels; the shorter side is resized to it and the middle square taken. None: as stored.
        num_train: training images, class-balanced by ``seed``, counted before the validation split is taken out.
        num_test: test images, likewise.
        validation: share of the training images, 0 to below 1, drawn by class; 0 for no validation split.
        seed: of every draw here.
        teacher: options of teacher_student.
        draw: how ``classes`` are drawn: "any", "within" one superclass, "across" superclasses, or "groups" of classes (`DataSpec`).
        superclass: the one "within" draws from; None: drawn by ``seed``.
        compose: "side" or "overlay": two images in one, the label their pair of classes; the test split's ``groups`` tell seen
            from unseen pairs.
        held_out: share of the pairs kept from training.
        test: share of the images that is drawn as test split, by class and ``seed``: for folders that have none, which may then be
            ``<class>/*`` too; above 0, below 1. None: the source has a test split.
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
    )
    request = check_arguments(source, request, cache_dir)
    if source == TEACHER_NAME:
        return assemble(_teacher_raw(request, TeacherOptions.parse(teacher)), _chosen_already(request))
    if teacher is not None:
        raise InputError(f"teacher options belong to {TEACHER_NAME}, not to {str(source)!r}; leave them out")
    if source == EMBEDDED_NAME:
        return assemble(_embedded_raw(request), request)
    raw = _decoded_raw(source, request, Path(cache_dir) if cache_dir else default_cache_dir(), reread=reread)
    for note in raw.provenance.get("notes", ()):
        warnings.warn(note, stacklevel=2)
    return assemble(raw, request)


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
    return _decoded_raw(spec.source, request, default_cache_dir(), reread=reread).content_sha256


def _embedded_raw(request: Request) -> Raw:
    pick_label(["label"], request.labels)
    _refuse_share(request, EMBEDDED_NAME)
    embedded = load_embedded()
    splits = {
        split: RawSplit(
            labels=embedded.labels(split), open_images=embedded.reader(split, image_size=request.image_size)
        )
        for split in ("train", "test")
    }
    provenance = {
        "kind": "embedded",
        "source": "Fashion-MNIST (Zalando SE, 2017)",
        "licence": "MIT",
        "checksum": EMBEDDED_SHA256,
    }
    return Raw(
        name=EMBEDDED_NAME,
        class_names=FASHION_CLASSES,
        provenance=provenance,
        train=splits["train"],
        test=splits["test"],
        content_sha256=content_sum(EMBEDDED_SHA256, [request.image_size], FASHION_CLASSES),
    )


def _decoded_raw(source: str | Path, request: Request, cache_dir: Path, *, reread: bool) -> Raw:
    """A benchmark on the Hub or a folder, through the cache of decoded images."""
    info = BENCHMARKS.get(source) if isinstance(source, str) else None
    own = _own_copy(source)
    _tell_of_namesake(source, own, named=info is not None)
    if info is not None and own is not None:
        name, licence, default = info.name, info.licence, None
        kind, train, test = find_folder(own, labels=request.labels, test_share=request.test is not None)
        provenance: dict[str, Any] = {"source": f"own copy of {info.name}"}
    elif info is not None:
        name, licence = info.name, info.licence
        kind, default = "hub", info.label_column
        train, test = hub_sources(info, cache_dir=cache_dir)
        provenance = {"source": info.hub_id, "config": info.config}
    else:
        folder = own or _existing_folder(source)
        name, licence, default = folder.resolve().name, "unknown", None
        kind, train, test = find_folder(folder, labels=request.labels, test_share=request.test is not None)
        provenance = {"source": name}
    if test is not None:
        _refuse_share(request, name)
    splits, class_names, facts, superclasses = _decode_both(
        train, test, request, cache_dir=cache_dir, default=default, reread=reread
    )
    shape = facts.pop("shape")
    provenance = {"kind": kind, **provenance, "licence": licence, **facts}
    return Raw(
        name=name,
        class_names=class_names,
        provenance=provenance,
        superclasses=superclasses,
        train=splits["train"],
        test=splits["test"],
        content_sha256=content_sum(facts["checksum"], shape, class_names, superclasses),
    )


def _refuse_share(request: Request, name: str) -> None:
    if request.test is not None:
        raise InputError(f"test={request.test:g} draws a test split, but {name} has its own; leave it out")


def _own_copy(source: str | Path) -> Path | None:
    """The folder of that name in ``LAYERLOCAL_DATA``, if there is one: the same spec then runs with and without the Hub."""
    place = os.environ.get("LAYERLOCAL_DATA")
    if not place or not isinstance(source, str) or source in ("", ".", "..") or os.sep in source:
        return None
    if not Path(place).expanduser().is_dir():
        raise InputError(f"LAYERLOCAL_DATA is {place!r}, which is no folder; correct it, or unset it")
    folder = Path(place).expanduser() / source
    return folder if folder.is_dir() else None


def _tell_of_namesake(source: str | Path, own: Path | None, *, named: bool) -> None:
    """A name goes before a folder of that name right here: say so where there is one, as it may be the one that was meant."""
    here = Path(source)
    if not isinstance(source, str) or os.sep in source or not (named or own) or not here.is_dir():
        return
    if own is None or not own.samefile(here):
        taken = f"{source} on the Hub" if own is None else own
        warnings.warn(f"the data are {taken}, not the folder {source} here; write ./{source} for that", stacklevel=4)


def _existing_folder(source: str | Path) -> Path:
    """The folder; a word that is neither a name nor a path is taken for a misspelt name."""
    folder = Path(source).expanduser()
    try:
        there = folder.exists()
    except OSError as error:
        raise InputError(f"data {shown(str(source))} cannot be a folder: {error.strerror}") from error
    if isinstance(source, str) and not there and os.sep not in source:
        raise InputError(
            f"{unknown_name('data', source, list_data())} A path to a folder of images may be given, too; a folder {source} of your own is "
            "found by its name in the folder that LAYERLOCAL_DATA names."
        )
    return folder


def _decode_both(
    train: SplitSource,
    test: SplitSource | None,
    request: Request,
    *,
    cache_dir: Path,
    default: str | None,
    reread: bool,
) -> tuple[dict[str, RawSplit], list[str], dict[str, Any], np.ndarray | None]:
    """Decode both splits with the same number of channels; splits, class names, facts for the provenance, superclasses.

    Without a test source the test split is drawn from the training images.
    """

    def decode(source: SplitSource, channels: int) -> CachedSplit:
        return decoded_split(
            source,
            cache_dir=cache_dir,
            image_size=request.image_size,
            labels=request.labels,
            min_channels=channels,
            reread=reread,
        )

    first = decode(train, 1)
    second = first if test is None else decode(test, first.channels)
    if second.channels > first.channels:
        first = decode(train, second.channels)
    if first.meta["shape"] != second.meta["shape"]:
        raise InputError(
            f"training images are {first.meta['shape']} (C, H, W), test images {second.meta['shape']}; give image_size"
        )
    column = pick_label(list(first.meta["names"]), request.labels, default=default)
    if column not in second.meta["names"]:
        raise InputError(f"the test split has no label column {column!r}; add it as in the training split")
    checksum = hashlib.sha256()
    for split in (first, second)[: 1 if test is None else 2]:
        checksum.update(split.meta["pixels_sha256"].encode() + split.labels(column).tobytes())
    facts = {
        **first.meta["facts"],
        "label_column": column,
        "checksum": checksum.hexdigest(),
        "shape": first.meta["shape"],
    }
    splits = {
        name: RawSplit(labels=split.labels(column), open_images=split.images)
        for name, split in (("train", first), ("test", second))
    }
    class_names = _same_names(first.meta["names"][column], second.meta["names"][column], column)
    if test is None:
        splits = _draw_test(splits["train"], request, class_names)
    superclasses = None
    if request.draw in ("within", "across", "superclasses"):
        others = {name: first.labels(name) for name in first.meta["names"] if name != column}
        superclasses = find_superclasses(first.labels(column), others)
    return splits, class_names, facts, superclasses


def _draw_test(whole: RawSplit, request: Request, names: list[str]) -> dict[str, RawSplit]:
    """Training and test split of one set of images: over all classes, so that which images are tested depends on no choice of them."""
    assert request.test is not None
    kept, tested = split_test(whole.labels, request.test, names=names, seed=request.seed)
    return {
        name: RawSplit(labels=whole.labels[rows], open_images=whole.open_images, rows=rows)
        for name, rows in (("train", kept), ("test", tested))
    }


def _same_names(train: list[str], test: list[str], column: str) -> list[str]:
    """The class names of both splits; the shorter list must be the beginning of the longer one."""
    longer, shorter = (train, test) if len(train) >= len(test) else (test, train)
    if longer[: len(shorter)] != shorter:
        raise InputError(
            f"the class names of {column!r} differ between training and test files; write both with the same names"
        )
    return longer


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
