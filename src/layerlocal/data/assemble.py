"""From a data set before any choice to a task: classes, subsets, the validation split, composed images, the test split under seal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from layerlocal.data.arguments import Request
from layerlocal.data.bundle import Data, SealedTest, Split, pixel_statistics
from layerlocal.data.choice import Choice, choose
from layerlocal.data.compose import compose_split
from layerlocal.data.pairs import plan_pairs
from layerlocal.data.raw import Raw
from layerlocal.data.selection import balanced_quota
from layerlocal.data.text import BYTES, VOCABULARY, Corpus, choose_text
from layerlocal.types import InputError

__all__ = ["IN_MEMORY_BYTES", "assemble", "assemble_text"]

IN_MEMORY_BYTES = 2 * 2**30
"""A split of at most this many bytes is held in memory; a larger one stays on disk, memory-mapped."""


def assemble(raw: Raw, request: Request) -> Data:
    """Choose classes, subsets and the validation split; open the training images; seal the test images."""
    chosen = choose(raw, request)
    if request.compose is not None:
        return _compose(raw, request, chosen)
    images = raw.train.open_images()
    return _make_data(
        raw,
        chosen.names,
        make_split(images, raw.train.at(chosen.train.rows), chosen.train.labels),
        make_split(images, raw.train.at(chosen.validation.rows), chosen.validation.labels)
        if chosen.validation
        else None,
        chosen.test.labels,
        lambda: make_split(raw.test.open_images(), raw.test.at(chosen.test.rows), chosen.test.labels, placed=True),
    )


def assemble_text(corpus: Corpus, request: Request) -> Data:
    """Choose documents and samples; seal the test samples."""
    chosen = choose_text(corpus, request)
    test_labels = np.bincount(chosen.test[:, 1:].ravel(), minlength=VOCABULARY)
    counts = {"train": len(chosen.train), "validation": len(chosen.validation), "test": len(chosen.test)}
    train = _token_split(chosen.train)
    mean, std = pixel_statistics(train)
    return Data(
        name=corpus.name,
        train=train,
        validation=_token_split(chosen.validation) if len(chosen.validation) else None,
        num_classes=VOCABULARY,
        class_names=BYTES,
        mean=mean,
        std=std,
        chance=float(test_labels.max() / test_labels.sum()),
        provenance=corpus.provenance | {"context": chosen.context, "num_images": counts},
        sealed_test=SealedTest(lambda: _token_split(chosen.test)),
        source_sha256=corpus.content_sha256,
        vocabulary=VOCABULARY,
    )


def _token_split(samples: np.ndarray) -> Split:
    """(N, T + 1) → T tokens and, of each, the next."""
    whole = torch.tensor(samples)
    return Split(whole[:, :-1], whole[:, 1:], tokens=True)


def _make_data(
    raw: Raw,
    names: tuple[str, ...],
    train: Split,
    validation: Split | None,
    test_labels: np.ndarray,
    open_test: Callable[[], Split],
) -> Data:
    mean, std = pixel_statistics(train)
    counts = {"train": len(train), "validation": len(validation or ()), "test": len(test_labels)}
    return Data(
        name=raw.name,
        train=train,
        validation=validation,
        num_classes=len(names),
        class_names=names,
        mean=mean,
        std=std,
        chance=float(np.bincount(test_labels).max() / len(test_labels)),
        provenance=raw.provenance | {"num_images": counts},
        sealed_test=SealedTest(open_test),
        source_sha256=raw.content_sha256,
    )


def _compose(raw: Raw, request: Request, chosen: Choice) -> Data:
    """Pairs of images: training and validation pairs of different base images, held-out pairs in the test split alone."""
    names, composed = chosen.names, plan_pairs(request, chosen)
    plan = composed.plan

    def pairs(rows: np.ndarray, labels: np.ndarray, number: int, what: str, open_images: Callable[[], Any]) -> Split:
        images = make_split(open_images(), rows, labels).images
        if images.ndim != 4:
            raise InputError(
                f"compose={request.compose!r} puts images together, and {raw.name} has none; choose image data"
            )
        joined, target, groups = compose_split(
            images, labels, plan, number=number, seed=request.seed, what=what, unseen=what == "test"
        )
        return Split(joined, target, groups=groups if what == "test" else {})

    train, held_out, test = chosen.train, chosen.validation, chosen.test
    learned = pairs(raw.train.at(train.rows), train.labels, composed.num_train, "train", raw.train.open_images)
    validation = (
        pairs(
            raw.train.at(held_out.rows), held_out.labels, composed.num_validation, "validation", raw.train.open_images
        )
        if held_out
        else None
    )
    pair_names = tuple(f"{names[a]} | {names[b]}" for a in plan.first for b in plan.second)
    number = composed.num_test
    test_labels = np.repeat(np.arange(plan.num_pairs), balanced_quota(np.full(plan.num_pairs, number), number))
    return _make_data(
        raw, pair_names, learned, validation, test_labels,
        lambda: pairs(raw.test.at(test.rows), test.labels, number, "test", raw.test.open_images),
    )  # fmt: skip


def make_split(images: Any, rows: np.ndarray, labels: np.ndarray, *, placed: bool = False) -> Split:
    """In memory where it fits, otherwise rows of the mapped file. ``images``: a tensor, an array or a memmap; ``placed``: it says which."""
    target, places = torch.from_numpy(labels), _places(rows) if placed else None
    if isinstance(images, torch.Tensor):
        return Split(images[torch.from_numpy(rows)], target, places=places)
    if isinstance(images, np.memmap) and len(rows) * images[0].nbytes > IN_MEMORY_BYTES:
        return Split(images, target, rows=torch.from_numpy(rows), places=places)
    return Split(torch.from_numpy(np.asarray(images)[rows]), target, places=places)


def _places(rows: np.ndarray) -> bytes | None:
    """One bit for each row up to the last (`Split.places`); ``None`` of rows that do not ascend."""
    if len(rows) == 0 or (np.diff(rows) <= 0).any():
        return None
    taken = np.zeros(int(rows[-1]) + 1, dtype=bool)
    taken[rows] = True
    return np.packbits(taken).tobytes()
