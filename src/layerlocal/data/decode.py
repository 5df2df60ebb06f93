"""One encoded image to uint8 pixels, with Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from layerlocal.types import InputError

__all__ = ["EncodedImage", "decode_image"]

_ORIENTATION = 0x0112  # EXIF tag
_COMMON_FORMATS = ("PNG", "JPEG", "WEBP")
_GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B")


class EncodedImage(NamedTuple):
    """An image as it is stored.

    Args:
        data: its bytes, or the file that holds them.
        where: file and row, for messages.
    """

    data: bytes | Path
    where: str


def decode_image(encoded: EncodedImage, *, image_size: int | None = None) -> np.ndarray:
    """Pixels, uint8 (C, H, W): C=1 for grayscale, else 3; transparency is dropped, EXIF rotation applied.

    Args:
        encoded: bytes or file, and where it came from.
        image_size: the shorter side is resized to it (bicubic, antialiased), then the middle square is taken; None
            leaves the size alone.

    Raises:
        InputError: not an image, cut off, or of a kind that has no 8-bit reading.
    """
    try:
        with _open(encoded.data) as opened:
            opened.load()
            image = _eight_bit(opened)
            if image_size is not None:
                image = _fit_square(image, image_size)
            pixels = np.asarray(image)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # Pillow raises many kinds for a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot read the image {encoded.where} ({reason[:120]}); replace it or take it out"
        ) from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _open(data: bytes | Path) -> Image.Image:
    """Open with the common formats first: trying every format Pillow knows takes longer than decoding a small image."""
    try:
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        try:
            return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        except UnidentifiedImageError:
            raise ValueError("of no image format that is known") from None


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image upright, as mode L or RGB."""
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixel mode {image.mode} has no 8-bit reading")
    if image.mode in _GRAY_MODES:
        return image.convert("L")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette may carry transparency, which a direct conversion warns about
    return image.convert("RGB")


def _fit_square(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to ``size``, then the middle square."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
