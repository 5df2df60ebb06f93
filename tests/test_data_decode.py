"""One image to pixels: every kind of file reads as Pillow itself converts it."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from layerlocal.data.decode import EncodedImage, decode_image
from layerlocal.types import InputError


def picture(number, *, size=(8, 8)):
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encode(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def pixels(image):
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_pixel_mode_reads_as_pillow_converts_it(mode):
    image = picture(3).convert(mode)
    expected = image.convert("L") if mode in ("1", "LA") else image.convert("RGB")
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert np.array_equal(decode_image(EncodedImage(encode(image, kind), "x")), pixels(expected))


def test_sixteen_bits_keep_their_upper_eight_and_exif_turns_the_image():
    deep = Image.fromarray(np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8))
    assert np.array_equal(decode_image(EncodedImage(encode(deep), "x"))[0], np.asarray(deep) >> 8)
    turned, exif = picture(1, size=(6, 4)), Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    out = io.BytesIO()
    turned.save(out, "PNG", exif=exif)
    assert np.array_equal(decode_image(EncodedImage(out.getvalue(), "x")), pixels(turned.rotate(-90, expand=True)))


def test_image_size_resizes_the_shorter_side_and_takes_the_middle():
    image = picture(0, size=(40, 20))
    expected = image.resize((20, 10), Image.Resampling.BICUBIC).crop((5, 0, 15, 10))
    assert np.array_equal(decode_image(EncodedImage(encode(image), "x"), image_size=10), pixels(expected))
    enlarged = decode_image(EncodedImage(encode(image), "x"), image_size=33)
    assert enlarged.shape == (3, 33, 33)


def test_a_kind_of_pixel_without_an_eight_bit_reading_is_refused():
    with pytest.raises(InputError, match=r"somewhere .*mode F"):
        decode_image(EncodedImage(encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "somewhere"))


def test_a_jpeg_is_decoded_to_pillow_s_pixels():
    data = encode(picture(2, size=(24, 16)), "JPEG")
    assert np.array_equal(decode_image(EncodedImage(data, "x")), pixels(Image.open(io.BytesIO(data))))


def test_importing_the_room_does_not_import_slow_libraries():
    code = "import sys, layerlocal.data; print({'datasets', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
