"""Batches of a split: order, augmentation and normalization, on the device, as a pure function of seed and epoch.

All draws of an epoch are made at once on the CPU, by position in the epoch, so they are the same on every device and
whatever was iterated before. Shape letters: N images, B batch, C channels, H W height and width, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from layerlocal.data.bundle import Data, Split
from layerlocal.data.facts import DataFacts
from layerlocal.data.prefetch import prefetch
from layerlocal.devices import Device, find_device, this_device
from layerlocal.options import seed_number, whole_number
from layerlocal.types import InputError, derive_seed

__all__ = ["Augment", "AugmentDraws", "Batches", "as_inputs", "crop_and_flip", "cutout_mask", "normalize"]

ALTERNATING = "alternating"
ON_DEVICE_BYTES = 4 * 2**30  # a split of at most this size is moved to the device once


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of training images; the default changes nothing.

    Args:
        crop: pixels; the image is padded by reflection on every side and cropped back at a random place.
        flip: mirror half of the images left to right; ``"alternating"``: each image at random in the first epoch, then every other epoch.
        cutout: side in pixels of a square set to the mean, centred anywhere in the image (cut off at its edges).
    """

    crop: int = 0
    flip: bool | Literal["alternating"] = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            object.__setattr__(self, name, whole_number(f"{name} (pixels)", getattr(self, name), least=0))
        if not isinstance(self.flip, bool) and self.flip != ALTERNATING:
            raise InputError(f"flip must be true, false or {ALTERNATING!r}, got {self.flip!r}")

    def __bool__(self) -> bool:
        return bool(self.crop or self.flip or self.cutout)


@dataclass(frozen=True)
class AugmentDraws:
    """What was drawn for each image.

    Attributes:
        top_left: int64 (N, 2), row and column of the crop in the padded image, 0..2·crop.
        flip: bool (N,).
        centre: int64 (N, 2), row and column of the cut-out square's centre.
    """

    top_left: Tensor
    flip: Tensor
    centre: Tensor

    @classmethod
    def draw(
        cls, number: int, augment: Augment, *, height: int, width: int, generator: torch.Generator
    ) -> AugmentDraws:
        """Independent uniform draws for ``number`` images."""
        top_left = torch.randint(0, 2 * augment.crop + 1, (number, 2), generator=generator)
        flip = torch.rand(number, generator=generator) < (0.5 if augment.flip else 0.0)
        centre = (torch.rand(number, 2, generator=generator) * torch.tensor([height, width])).long()
        return cls(top_left, flip, centre)

    def to(self, device: torch.device) -> AugmentDraws:
        """The same draws on the device."""
        return AugmentDraws(self.top_left.to(device), self.flip.to(device), self.centre.to(device))

    def at(self, start: int, stop: int) -> AugmentDraws:
        """The draws of positions ``start`` to ``stop``."""
        return AugmentDraws(self.top_left[start:stop], self.flip[start:stop], self.centre[start:stop])


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1 mirrored back in, the edge not repeated."""
    position = position.abs()
    return (size - 1) - ((size - 1) - position).abs()


def crop_and_flip(images: Tensor, draws: AugmentDraws, *, crop: int) -> Tensor:
    """Pad by reflection, crop at ``draws.top_left``, mirror where ``draws.flip``: one gather, (B, C, H, W) → same."""
    batch, channels, height, width = images.shape
    device = images.device
    rows = _reflect(torch.arange(height, device=device) + draws.top_left[:, :1] - crop, height)  # (B, H)
    columns = torch.arange(width, device=device).expand(batch, width)
    columns = torch.where(draws.flip[:, None], width - 1 - columns, columns)
    columns = _reflect(columns + draws.top_left[:, 1:] - crop, width)  # (B, W)
    index = (rows[:, :, None] * width + columns[:, None, :]).reshape(batch, 1, height * width)
    flat = images.reshape(batch, channels, height * width)
    return flat.gather(2, index.expand(batch, channels, height * width)).reshape(images.shape)


def cutout_mask(draws: AugmentDraws, *, side: int, height: int, width: int) -> Tensor:
    """Which pixels are cut out, bool (B, 1, H, W): ``side`` rows and columns from ``centre - side // 2``."""
    device = draws.centre.device
    start = draws.centre - side // 2  # (B, 2)
    rows = torch.arange(height, device=device) - start[:, :1]  # (B, H)
    columns = torch.arange(width, device=device) - start[:, 1:]  # (B, W)
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return inside[:, None]


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 → ``(x / 255 - mean) / std``; float → ``(x - mean) / std``; float32, (B, C, H, W) or (B, D)."""
    shape = (1, -1, 1, 1) if images.ndim == 4 else (1, -1)
    x = images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images.to(torch.float32, copy=True)
    return x.sub_(mean.view(shape)).div_(std.view(shape))


def as_inputs(samples: Tensor, data: Data | DataFacts) -> Tensor:
    """Raw samples of a data set as a network takes them: normalized, or the numbers of tokens, int64."""
    return samples.to(torch.int64) if data.vocabulary is not None else normalize(samples, data.mean, data.std)


class Batches:
    """Normalized batches of a split.

    ::

        batches = Batches(data.train, batch_size=128, mean=data.mean, std=data.std, shuffle=True)
        for x, y in batches.epoch(0): ...

    Args:
        split: what to iterate over; moved to the device once if that is not the CPU and it is small enough.
        batch_size: B.
        mean: (C,) or (D,); of pixels scaled to 0..1.
        std: likewise.
        augment: None for none.
        shuffle: a new order each epoch, else the split's own.
        drop_last: leave out a last batch that is not full.
        device: where batches are made.
        channels_last: give images in that memory format.
        seed: of order and augmentation.

    Raises:
        InputError: no batch at all, augmentation of vectors, a crop as large as the image, another number of means than channels.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        mean: Tensor,
        std: Tensor,
        augment: Augment | None = None,
        shuffle: bool,
        drop_last: bool = False,
        device: Device = "cpu",
        channels_last: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(split, Split) or not isinstance(augment, Augment | None):
            raise InputError(f"batches are made of a Split and an Augment or None, got {split!r} and {augment!r}")
        seed, batch_size = seed_number(seed), whole_number("batch_size", batch_size)
        self.device = this_device(find_device(device))  # a thread that makes batches has a current GPU of its own
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.channels_last = channels_last
        self.seed = seed
        self.augment = augment or Augment()
        _check(split, self.augment, std, batch_size=batch_size, drop_last=drop_last)
        movable = self.device.type != "cpu" and split.num_bytes <= ON_DEVICE_BYTES
        self.split = split.to(self.device) if movable else split
        self.mean = _one_a_channel("mean", mean, split).to(self.device)
        self.std = _one_a_channel("std", std, split).to(self.device)

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def num_samples(self) -> int:
        """Images in one epoch."""
        return min(len(self.split), len(self) * self.batch_size)

    @property
    def come_from_far(self) -> bool:
        """Whether images are read from a file or copied to a device batch by batch, so that making batches ahead is worth a thread."""
        return not self.split.in_memory or self.split.labels.device.type != self.device.type

    def order(self, epoch: int) -> Tensor:
        """Rows of the split in the order of this epoch, int64 (N,), on the CPU."""
        if not self.shuffle:
            return torch.arange(len(self.split))
        return torch.randperm(len(self.split), generator=self._generator("order", epoch))

    def draws(self, epoch: int) -> AugmentDraws:
        """All augmentation draws of this epoch, by position."""
        height, width = self.split.sample_shape[1:]
        generator = self._generator("augment", epoch)
        draws = AugmentDraws.draw(len(self.split), self.augment, height=height, width=width, generator=generator)
        return replace(draws, flip=self._alternate(epoch)) if self.augment.flip == ALTERNATING else draws

    def _alternate(self, epoch: int) -> Tensor:
        """Whether each image of the epoch is mirrored: drawn once for each row of the split, and turned over from epoch to epoch."""
        first = torch.rand(len(self.split), generator=self._generator("flip")) < 0.5
        return first[self.order(epoch)] ^ bool(epoch % 2)

    def epoch(self, epoch: int, *, ahead: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch number ``epoch``: x float32 (B, C, H, W) or (B, D), y int64 (B,), both on the device;
        of tokens x and y int64 (B, T).

        A pure function of the seed and ``epoch``: what was iterated before changes nothing.

        Args:
            epoch: its number.
            ahead: batches that a thread makes beforehand; by default one where they `come_from_far`, else none.
        """
        ahead = int(self.come_from_far) if ahead is None else ahead
        return prefetch(self._make(epoch), ahead=ahead) if ahead else self._make(epoch)

    def _make(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.order(epoch).to(self.split.labels.device)
        draws = self.draws(epoch).to(self.device) if self.augment else None
        for start in range(0, self.num_samples, self.batch_size):
            rows = order[start : start + self.batch_size]
            images, labels = self.split.gather(rows)
            images, labels = images.to(self.device), labels.to(self.device)
            here = draws.at(start, start + len(rows)) if draws else None
            yield self._finish(images, here), labels

    def _finish(self, images: Tensor, draws: AugmentDraws | None) -> Tensor:
        """Augment and normalize a batch of raw images."""
        augment = self.augment
        if draws is not None and (augment.crop or augment.flip):
            images = crop_and_flip(images, draws, crop=augment.crop)
        if self.split.tokens:
            return images.to(torch.int64)
        x = normalize(images, self.mean, self.std)
        if draws is not None and augment.cutout:
            height, width = x.shape[-2:]
            x.masked_fill_(cutout_mask(draws, side=augment.cutout, height=height, width=width), 0.0)
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "batches", *purpose))


def _one_a_channel(name: str, values: Tensor, split: Split) -> Tensor:
    """By type and shape alone: they may lie on a device."""
    channels = split.sample_shape[0]
    if not isinstance(values, Tensor) or values.shape not in ((channels,), ()):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{name} must be a tensor of one number for each of the {channels} channels, got {got}")
    return values


def _at_most(count: int) -> int:
    """The largest power of two that is not more."""
    return 1 << max(0, count.bit_length() - 1)


def _check(split: Split, augment: Augment, std: Tensor, *, batch_size: int, drop_last: bool) -> None:
    """Refuse what cannot give a batch."""
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be at least 1")
    if bool((std == 0).any()):
        raise InputError("std has a 0, by which no image can be divided; give 1 where a channel does not vary")
    if drop_last and len(split) < batch_size:
        most = _at_most(len(split))
        raise InputError(
            f"batch_size={batch_size} is more than the {len(split)} images there are; give a smaller one (--set recipe.batch_size={most})"
        )
    if augment and len(split.sample_shape) != 3:
        raise InputError("crop, flip and cutout are for images; leave augmentation out for vectors")
    if augment and augment.crop >= min(split.sample_shape[1:]):
        raise InputError(f"crop={augment.crop} must be smaller than the image ({min(split.sample_shape[1:])} pixels)")
