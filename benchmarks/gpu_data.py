"""CIFAR for a machine without network to which little is carried at a time: packed into pieces here, read from them there.

A piece is an .npz file of uint8 images, each written as what its pixels differ by from their neighbours (`differences`), which deflates to 0.6
of their size; so CIFAR-10 and CIFAR-100 are some 105 MiB each, every image bit for bit.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from layerlocal import data_from_splits, load_data
from layerlocal.data import Split
from layerlocal.data.bundle import SealedTest
from layerlocal.data.selection import split_validation
from layerlocal.files import write_whole
from layerlocal.types import InputError

NAMES = ("cifar10", "cifar100")
VALIDATION = 0.05
"""Share of the training images held out, by class: 2,500 of CIFAR's."""
EXPECTED = 0.62
"""Size of a piece over that of its images, about."""


def differences(images):
    """(N, C, H, W) uint8 → the same shape: red and blue less green, then less the left, then less the upper neighbour, all modulo 256."""
    x = images.copy()
    if x.shape[1] == 3:
        x[:, 0] -= x[:, 1]
        x[:, 2] -= x[:, 1]
    for axis in (-1, -2):
        x = np.diff(x, axis=axis, prepend=np.uint8(0))
    return x


def images_of(found):
    """What `differences` was made of."""
    x = found
    for axis in (-2, -1):
        x = np.cumsum(x, axis=axis, dtype=np.uint8)
    if x.shape[1] == 3:
        x[:, 0] += x[:, 1]
        x[:, 2] += x[:, 1]
    return x


def pack(source, folder, most, names=NAMES):
    """Write the pieces of each data set, at most ``most`` bytes each; their paths."""
    written = []
    for name in names:
        data = load_data(place_of(source, name), validation=0)
        test = data.take_test()
        images = torch.cat([data.train.images, test.images]).numpy()
        about = {"labels": torch.cat([data.train.labels, test.labels]).numpy().astype(np.int16),
                 "train": np.int64(len(data.train)), "classes": np.array(data.class_names)}  # fmt: skip
        count = max(1, -(-int(EXPECTED * images.nbytes) // most))
        while max(map(len, pieces := [made(part, about) for part in np.array_split(images, count)])) > most:
            count += 1
        for number, piece in enumerate(pieces, 1):
            path = Path(folder) / f"{name}-{number}-of-{count}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, piece)
            written.append(path)
    return written


def made(images, about):
    """One piece, channel by channel, which deflates better."""
    content = io.BytesIO()
    np.savez_compressed(content, images=differences(images).transpose(1, 0, 2, 3), **about)
    return content.getvalue()


def unpack(folder, name):
    """All images of a data set (N, C, H, W), their labels (N,), how many are for training, and the names of the classes."""
    found = sorted(Path(folder).glob(f"{name}-*-of-*.npz"), key=lambda path: int(path.stem.split("-")[-3]))
    count = int(found[0].stem.split("-")[-1]) if found else 1
    if len(found) != count:
        raise InputError(
            f"{folder} has {len(found)} of the {count} pieces of {name}; carry all that --pack has written"
        )
    pieces = [np.load(path) for path in found]
    images = np.concatenate([images_of(piece["images"].transpose(1, 0, 2, 3)) for piece in pieces])
    return images, pieces[0]["labels"].astype(np.int64), int(pieces[0]["train"]), tuple(map(str, pieces[0]["classes"]))


def place_of(source, name):
    """The folder of a data set in ``source``, laid out as LAYERLOCAL_DATA is; without one its name on the Hub."""
    return name if source is None else str(Path(source) / name)


def read(source, name, device, *, num_train=None):
    """A task with all of its images on the device as uint8; the test images stay where they are, under seal.

    From pieces where ``source`` has such, otherwise as `load_data` reads it. ``num_train``: fewer images, for tries.
    """
    if source is not None and any(Path(source).glob(f"{name}-*-of-*.npz")):
        images, labels, count, names = unpack(source, name)
        rows = split_validation(labels[:count], VALIDATION, names=names, seed=0)
        rows = [each[:num_train] for each in (*rows, np.arange(count, len(labels)))]
        splits = [Split(torch.from_numpy(images[each]), torch.from_numpy(labels[each])) for each in rows]
        data = data_from_splits(name, splits[0], splits[2], validation=splits[1], class_names=names)
    else:
        data = load_data(place_of(source, name), validation=VALIDATION, num_train=num_train, num_test=num_train)
    return replace(
        data, train=data.train.to(device), validation=data.validation.to(device), sealed_test=SealedTest(data.take_test)
    )
