"""What a loaded data set is: `Split` (images and labels), `Data` (a task's splits, with the test images sealed).

Shape letters: N images, C channels, H W height and width, D features of a vector, B batch.
"""

from __future__ import annotations

import hashlib
import mmap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from layerlocal.data.raw import content_sum
from layerlocal.data.shaped import Shaped
from layerlocal.scale import PIXELS, Scale
from layerlocal.types import InputError, first_line

__all__ = ["Data", "Gathered", "SealedTest", "Split", "pixel_statistics"]

RELEASE_BYTES = 256 * 2**20  # after reading this much of a mapped file, its pages are given back
STATISTICS_ROWS = 4096  # of float images, looked through at once
STATISTICS_BYTES = 2**30  # mapped sets larger than this are summed over evenly spaced images


class Gathered(NamedTuple):
    """Some rows of a split: ``images`` (B, C, H, W) uint8 or (B, D) float32, ``labels`` (B,) int64."""

    images: Tensor
    labels: Tensor


class Split:
    """Images and their labels, in memory or memory-mapped.

    Args:
        images: uint8 (N, C, H, W), float32 (N, C, H, W) or float32 (N, D); a tensor in memory, or a read-only
            ``np.memmap`` of which rows are read when asked for.
        labels: int64 (N,), classes 0..K-1; with ``rows`` given, one label for each of the rows.
        rows: int64; which rows of ``images`` belong to this split (None: all, in order).
        groups: bool (N,) by name: parts of the split whose accuracy is told apart, e.g. pairs of classes seen in training.
        tokens: whether samples are tokens: images are then uint8 (N, T) and labels whole numbers (N, T), both as they are.
        places: one bit for each image of the source up to the last one here (`numpy.packbits`): whether it is in this split, whose images
            are in that order. ``None`` where that is not known.

    Raises:
        InputError: images of another type or shape, labels that are not one whole number an image.
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        labels: Tensor,
        *,
        rows: Tensor | None = None,
        groups: dict[str, Tensor] | None = None,
        places: bytes | None = None,
        tokens: bool = False,
    ) -> None:
        _refuse_no_images(images)
        labels = labels if tokens else _whole_labels(labels)
        count = images.shape[0] if rows is None else rows.shape[0]
        if tokens and (images.ndim != 2 or labels.shape != (count, images.shape[1])):
            raise InputError(
                f"tokens are (N, T) with a label each, got samples {tuple(images.shape)} and labels {tuple(labels.shape)}"
            )
        if not tokens and labels.shape != (count,):
            raise InputError(f"labels must be ({count},), one an image, got {tuple(labels.shape)}")
        self._images = images
        self._rows = rows
        self._read_bytes = 0
        self.labels = labels
        self.groups = groups or {}
        self.places = places
        self.tokens = tokens

    def __len__(self) -> int:
        return self.labels.shape[0]

    def __repr__(self) -> str:
        place = "in memory" if self.in_memory else "memory-mapped"
        return f"Split({len(self)} × {self.sample_shape}, {place})"

    @property
    def in_memory(self) -> bool:
        """Whether the images are a tensor in memory (otherwise: rows of a mapped file)."""
        return isinstance(self._images, Tensor)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W), or (D,) for vectors."""
        return tuple(self._images.shape[1:])

    @property
    def pixels(self) -> bool:
        """Whether its samples are pixels 0..255, uint8; otherwise they are numbers, float32, or tokens."""
        return not self.tokens and self._images.dtype in (torch.uint8, np.uint8)

    @property
    def num_bytes(self) -> int:
        """Bytes of this split's images, wherever they are."""
        return len(self) * int(np.prod(self.sample_shape)) * self._images.dtype.itemsize

    @property
    def images(self) -> Tensor:
        """All images, (N, C, H, W) or (N, D), for reading only.

        A split of some rows of a mapped file is copied into memory here; use `gather` for sets larger than memory.
        """
        if self._rows is not None:
            return self.gather(torch.arange(len(self))).images
        if isinstance(self._images, Tensor):
            return self._images
        with warnings.catch_warnings():  # torch warns that the mapping is read-only, which is what we want
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(np.asarray(self._images))

    def subset(self, index: Tensor) -> Split:
        """The split of these rows, int64 (M,) or a bool mask (N,); copies no image."""
        index = index.nonzero().squeeze(1) if index.dtype == torch.bool else index.to(torch.int64)
        rows = index if self._rows is None else self._rows[index]
        groups = {name: mask[index] for name, mask in self.groups.items()}
        return Split(self._images, self.labels[index], rows=rows, groups=groups, tokens=self.tokens)

    def to(self, device: torch.device | str) -> Split:
        """The same split with its rows as one tensor on the device."""
        labels = self.labels.to(device)
        return Split(self.images.to(device), labels, groups=self.groups, places=self.places, tokens=self.tokens)

    def gather(self, index: Tensor) -> Gathered:
        """Copy the rows ``index``, int64 (B,), in that order, to where they lie. A mapped file is read in ascending order."""
        index = index.to(self.labels.device)
        labels = self.labels.index_select(0, index).to(torch.int64)
        rows = index if self._rows is None else self._rows[index]
        if isinstance(self._images, Tensor):
            return Gathered(self._images.index_select(0, rows), labels)
        wanted = rows.numpy()
        order = np.argsort(wanted, kind="stable")
        out = np.empty((len(wanted), *self.sample_shape), self._images.dtype)
        out[order] = np.asarray(self._images)[wanted[order]]
        self._release(out.nbytes)
        return Gathered(torch.from_numpy(out), labels)

    def _release(self, read_bytes: int) -> None:
        """Give mapped pages back now and then, so that a pass over a large file holds constant memory."""
        self._read_bytes += read_bytes
        mapping = getattr(self._images, "_mmap", None)
        if self._read_bytes >= RELEASE_BYTES and mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)  # clean pages of a file: read again from the page cache when needed
            self._read_bytes = 0


class SealedTest:
    """The test images, opened only through `Data.take_test`; counts how often."""

    def __init__(self, open_split: Callable[[], Split]) -> None:
        self._open_split = open_split
        self.reads = 0

    def __repr__(self) -> str:
        return f"<sealed, read {self.reads} times>"

    def open(self) -> Split:
        """Break the seal: count it and give the split."""
        self.reads += 1
        return self._open_split()


@dataclass(frozen=True, eq=False, kw_only=True)
class Data(Shaped):
    """A task's data: training and validation splits in the open, the test images under seal.

    Attributes:
        name: the name or the folder's name it was loaded by.
        train: what is learned from.
        validation: drawn from the training data (None if ``validation=0``); every choice is made on it.
        num_classes: K; labels are 0..K-1.
        class_names: K names, in the order of the labels.
        mean: (in_channels,) float32, mean of the training split's pixels scaled to 0..1 (float data: zeros).
        std: (in_channels,) float32, standard deviation likewise (float data: ones).
        chance: accuracy on the test split of the best constant answer, 0..1 (the share of its largest class).
        provenance: source, licence, checksum and number of images in each split; JSON values only.
        vocabulary: V where samples are tokens, whole numbers below it, each with a label; ``None`` otherwise.
        source_sha256: what the source's data are, all of them, before any choice of classes or images; None for data given in memory.
    """

    name: str
    train: Split
    validation: Split | None
    num_classes: int
    class_names: tuple[str, ...]
    mean: Tensor
    std: Tensor
    chance: float
    provenance: dict[str, Any]
    sealed_test: SealedTest = field(repr=False)
    source_sha256: str | None = None
    vocabulary: int | None = None

    @cached_property
    def content_sha256(self) -> str:
        """What the data are: 64 hex digits of the decoded pixels, labels, splits and class names, wherever they lie.

        Of a loaded source: of all of it, test images included, before any choice (``DataSpec.content_sha256``). Of data given in memory: of
        the training and validation splits; computed when first asked for, the test split staying closed.
        """
        if self.source_sha256 is not None:
            return self.source_sha256
        digest = hashlib.sha256()
        for split in filter(None, (self.train, self.validation)):
            for rows in torch.arange(len(split), device=split.labels.device).split(STATISTICS_ROWS):
                images, labels = split.gather(rows)
                digest.update(np.ascontiguousarray(images.cpu().numpy()).data)
                digest.update(np.ascontiguousarray(labels.cpu().numpy()).data)
            digest.update(b"end of split")
        return content_sum(digest.hexdigest(), list(self.sample_shape), self.class_names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W), or (D,) for vectors."""
        return self.train.sample_shape

    @property
    def scale(self) -> Scale:
        """Of its samples, as a model that is trained on them remembers it. Float images are looked through for the largest value."""
        if self.train.pixels:
            return PIXELS
        if self.train.tokens or len(self.sample_shape) == 1:
            return Scale(pixels=False)
        parts = torch.arange(len(self.train), device=self.train.labels.device).split(STATISTICS_ROWS)
        return Scale(pixels=False, reach=max(float(self.train.gather(rows).images.abs().max()) for rows in parts))

    @property
    def test_reads(self) -> int:
        """How often the test images were taken."""
        return self.sealed_test.reads

    def take_test(self) -> Split:
        """The test split. Called once, after the last epoch, by code that no rule can reach; every call is counted."""
        return self.sealed_test.open()


def pixel_statistics(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images, scaled to 0..1; each (C,) float32.

    Summed in integers, so the result does not depend on order or threads. A mapped split of more than 1 GiB is summed
    over evenly spaced images. Float data is not normalized: zeros and ones; of tokens one number each. A constant channel
    gets 1 as its deviation.
    """
    if split.tokens:
        return torch.zeros(()), torch.ones(())
    channels = split.sample_shape[0]
    if not split.pixels:
        return torch.zeros(channels), torch.ones(channels)
    step = 1 if split.in_memory else max(1, -(-split.num_bytes // STATISTICS_BYTES))
    index = torch.arange(0, len(split), step)
    total = torch.zeros(channels, dtype=torch.int64)
    squares = torch.zeros(channels, dtype=torch.int64)
    values = torch.arange(256)
    chunk = max(1, 2**22 // int(np.prod(split.sample_shape)))
    for rows in index.split(chunk):
        pixels = split.gather(rows).images  # (n, C, H, W)
        for c in range(channels):
            counts = torch.from_numpy(np.bincount(pixels[:, c].numpy().reshape(-1), minlength=256))  # (256,)
            total[c] += (counts * values).sum()
            squares[c] += (counts * values * values).sum()
    number = index.shape[0] * int(np.prod(split.sample_shape[1:]))
    mean = total.double() / number / 255
    variance = squares.double() / number / 255**2 - mean**2
    std = variance.clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, torch.ones_like(std)).float()


def _refuse_no_images(images: Any) -> None:
    """By type and shape alone: images may lie on a disk or a device."""
    if not isinstance(images, Tensor | np.ndarray):
        raise InputError(f"images must be a tensor or a NumPy array, got {type(images).__name__}")
    if images.ndim not in (2, 4) or 0 in images.shape[1:]:
        raise InputError(f"images must be (N, C, H, W), or (N, D) for vectors, got shape {tuple(images.shape)}")
    if images.dtype not in (torch.uint8, torch.float32, np.uint8, np.float32):
        raise InputError(f"images must be uint8 pixels or float32 numbers, got {images.dtype}; convert them")


def _whole_labels(labels: Any) -> Tensor:
    """int64, of labels of any whole type."""
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"labels must be whole numbers 0..K-1, one an image: {first_line(error)}") from error
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"labels must be whole numbers 0..K-1, got {str(found.dtype).removeprefix('torch.')}")
    return found.to(torch.int64)
