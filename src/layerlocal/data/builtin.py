"""What is embedded, made by scripts/make_embedded*.py: a subset of Fashion-MNIST (Zalando SE, MIT), the default, and text (text.py)."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from functools import partial
from importlib import resources

import numpy as np

from layerlocal.types import InputError

__all__ = [
    "EMBEDDED_NAME",
    "EMBEDDED_PIXELS",
    "EMBEDDED_SHA256",
    "FASHION_CLASSES",
    "TEXT_NAME",
    "Embedded",
    "load_embedded",
    "resize_images",
]

TEXT_NAME = "python_library"
EMBEDDED_NAME = "fashion_mnist_subset"
EMBEDDED_PIXELS = 28
EMBEDDED_SHA256 = "9a7f7dcbe0adc174ea5773ec061e07f28dfe707fde3d0f5a5bc90ad1318ad571"
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class Embedded:
    """The embedded file, checked. Arrays are unpacked when asked for.

    Args:
        data: the bytes of the ``.npz``.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def array(self, name: str) -> np.ndarray:
        """Of the images: train_images (10000, 28, 28) uint8, train_labels (10000,), test_images (2000, …), test_labels."""
        return _unpacked(self._data, name)

    def images(self, split: str, *, image_size: int | None = None) -> np.ndarray:
        """uint8 (N, 1, H, W), resized if asked."""
        return resize_images(self.array(f"{split}_images")[:, None], image_size)

    def labels(self, split: str) -> np.ndarray:
        """int64 (N,)."""
        return self.array(f"{split}_labels").astype(np.int64)

    def reader(self, split: str, *, image_size: int | None = None) -> partial[np.ndarray]:
        """A function of no arguments that unpacks the images when called."""
        return partial(self.images, split, image_size=image_size)


@functools.lru_cache(maxsize=4)
def _unpacked(data: bytes, name: str) -> np.ndarray:
    """Once a process: tasks of other classes or sizes copy what they take."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        found: np.ndarray = arrays[name]
        return found


def load_embedded(name: str = EMBEDDED_NAME, checksum: str | None = None) -> Embedded:
    """Read an embedded file and check it.

    Args:
        name: without ``.npz``.
        checksum: its sha256; ``None``: that of the images.

    Raises:
        InputError: the file is missing or its checksum is another.
    """
    file = resources.files("layerlocal.data").joinpath("embedded").joinpath(f"{name}.npz")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"the embedded data {name} is missing from the package; install layerlocal again") from error
    if hashlib.sha256(data).hexdigest() != (checksum or EMBEDDED_SHA256) or not zipfile.is_zipfile(io.BytesIO(data)):
        raise InputError(f"the embedded data {name} has a wrong checksum (a broken file); install layerlocal again")
    return Embedded(data)


def resize_images(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """uint8 (N, C, H, H) → (N, C, S, S), bicubic and antialiased, rounded to uint8; unchanged if S is H or None."""
    if image_size is None or images.shape[-1] == image_size:
        return images
    import torch
    from torch.nn import functional as F

    out = np.empty((*images.shape[:2], image_size, image_size), np.uint8)
    for start in range(0, len(images), 512):
        x = torch.from_numpy(images[start : start + 512]).float()
        y = F.interpolate(x, size=(image_size, image_size), mode="bicubic", antialias=True, align_corners=False)
        out[start : start + 512] = y.round().clamp(0, 255).to(torch.uint8).numpy()
    return out
