"""One image as it is stored to uint8 pixels, with Pillow.

Rules that hold for every image:

- Transparency lies on white.
- An EXIF orientation is applied; EXIF that cannot be read is passed over.
- Of an animation the first frame is taken.
- Values of 16 bits become 8 by one shift for the whole set, which `find_bits` chooses by the largest value in it: values up to 255 stay
  as they are, values up to 4095 lose their lowest four bits, values of the full range their lowest eight.
- Kinds without such a reading (floating point, 32-bit, 16-bit colour that leaves its upper bits unused) are refused.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from layerlocal.types import InputError

__all__ = ["EncodedImage", "decode_image", "find_bits"]

_ORIENTATION = 0x0112  # EXIF tag
_COMMON_FORMATS = ("PNG", "JPEG", "WEBP")
_GRAY_MODES = ("1", "L", "LA", "La")
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras, scanners and files use
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class EncodedImage(NamedTuple):
    """An image as it is stored.

    Args:
        data: its bytes, or the file that holds them; or its pixels, uint8 (H, W) or (H, W, 3).
        where: file and row, for messages.
        bits: what `find_bits` says of the set; None for a set that does not begin with 16-bit images.
    """

    data: bytes | Path | np.ndarray
    where: str
    bits: int | None = None


def decode_image(encoded: EncodedImage, *, image_size: int | None = None) -> np.ndarray:
    """Pixels, uint8 (C, H, W): C=1 for grayscale, else 3.

    Args:
        encoded: bytes or file, and where it came from.
        image_size: the shorter side is resized to it (bicubic, antialiased), then the middle square is taken; None
            leaves the size alone.

    Raises:
        InputError: not an image, cut off, or of a kind that has no 8-bit reading.
    """
    try:
        with _open(encoded.data) as opened:
            deep_colour = _is_deep_colour(opened)  # said by the file's header, which is forgotten when it is loaded
            opened.load()
            if deep_colour:
                _check_deep_colour(opened, encoded.bits)
            if encoded.bits not in (None, 16) and not deep_colour and not opened.mode.startswith("I"):
                raise ValueError(
                    f"8-bit, in a set that begins with 16-bit images of {encoded.bits} bits: save all alike"
                )
            image = _upright(_eight_bit(opened, encoded.bits), _orientation(opened))
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


def find_bits(splits: Sequence[Callable[[], Iterator[EncodedImage]]]) -> int | None:
    """How many bits the values of a set of 16-bit images use: 8, 10, 12, 14 or 16, over all its splits.

    Looks at the first image of each split only, unless one of these has 16 bits.

    Returns:
        None where no split begins with a 16-bit image.
    """
    if not any(_is_deep(encoded) for read in splits for encoded in _first(read)):
        return None
    return _bits_for(max(_largest(encoded) for read in splits for encoded in read()))


def _first(read: Callable[[], Iterator[EncodedImage]]) -> list[EncodedImage]:
    return list(itertools.islice(read(), 1))


def _is_deep(encoded: EncodedImage) -> bool:
    """Whether the values have more than 8 bits; not for what is no image, of which `decode_image` speaks."""
    try:
        with _open(encoded.data) as image:
            return image.mode.startswith("I") or _is_deep_colour(image)
    except Exception:
        return False


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel, of which Pillow gives the upper eight."""
    tiles: Any = getattr(image, "tile", None) or [(None, None, None, "")]
    packing = tiles[0][3]
    packing = packing[0] if isinstance(packing, tuple) and packing else packing
    return len(image.getbands()) > 1 and isinstance(packing, str) and ";16" in packing


def _largest(encoded: EncodedImage) -> int:
    """The largest value, 0 for an image of 8 bits or one that cannot be read."""
    try:
        with _open(encoded.data) as image:
            deep_colour = _is_deep_colour(image)
            if not deep_colour and not image.mode.startswith("I"):
                return 0
            image.load()
            return _largest_colour(image) if deep_colour else int(np.asarray(image).max())
    except Exception:
        return 0


def _largest_colour(image: Image.Image) -> int:
    """The largest value that the upper bytes allow, of all channels but alpha."""
    bands = np.asarray(image).reshape(-1, len(image.getbands()))
    return int(bands[:, : -1 if image.mode.endswith("A") else None].max()) << 8 | 255


def _bits_for(largest: int) -> int:
    return next((bits for bits in _DEPTHS if largest < 1 << bits), _DEPTHS[-1])


def _open(data: bytes | Path | np.ndarray) -> Image.Image:
    """Open with the common formats first: trying every format Pillow knows takes longer than decoding a small image."""
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    if not isinstance(data, bytes | Path):
        raise TypeError(f"{type(data).__name__} instead of the bytes of an image")
    try:
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        try:
            return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        except UnidentifiedImageError:
            raise ValueError("of no image format that is known") from None


def _eight_bit(image: Image.Image, bits: int | None) -> Image.Image:
    """The image as mode L or RGB."""
    if image.mode.startswith("I"):
        return _from_integers(image, bits)
    if image.mode == "F":
        raise ValueError("pixel mode F has no 8-bit reading; save it as 8-bit")
    mode = "L" if image.mode in _GRAY_MODES else "RGB"
    if image.has_transparency_data:
        return _on_white(image, mode)
    if image.mode == "P":
        image = image.convert(
            "RGBA"
        )  # a palette may name its colours with an alpha, which a direct conversion warns about
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """Transparency shows white."""
    clear = image.convert("LA" if mode == "L" else "RGBA")
    canvas = Image.new(mode, image.size, "white")
    canvas.paste(clear.convert(mode), mask=clear.getchannel("A"))
    return canvas


def _from_integers(image: Image.Image, bits: int | None) -> Image.Image:
    """16-bit (or 32-bit) grayscale by the shift of the whole set."""
    values = np.asarray(image)
    least, largest = int(values.min()), int(values.max())
    if least < 0 or largest > 65535:
        raise ValueError(f"values from {least} to {largest} have no 8-bit reading; save it as 8-bit")
    shift = _check_bits(largest, bits) - 8
    pixels = (values >> shift).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        pixels[values == clear] = 255
    return Image.fromarray(pixels)


def _check_deep_colour(image: Image.Image, bits: int | None) -> None:
    """Refuse what loses its content where Pillow takes the upper bytes."""
    largest = _largest_colour(image)
    if _check_bits(largest, bits) != _DEPTHS[-1]:
        raise ValueError(f"16 bits a channel with values up to {largest} only; save it as 8-bit")
    if isinstance(image.info.get("transparency"), tuple):
        raise ValueError("16 bits a channel with a transparent colour; save it as 8-bit")


def _check_bits(largest: int, bits: int | None) -> int:
    """The bits of the set; where it has none, those of an image that needs no guess."""
    if bits is not None:
        return bits
    if _bits_for(largest) != _DEPTHS[-1]:
        raise ValueError(
            f"16-bit values up to {largest} only, in a set that does not begin with such images: save all alike"
        )
    return _DEPTHS[-1]


def _orientation(image: Image.Image) -> int:
    """As the EXIF block says, 1 (upright) where it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata of a good image
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


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
