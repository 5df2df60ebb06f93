"""One image to pixels: every kind of file reads as Pillow itself converts it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

from layerlocal.data.decode import EncodedImage, decode_image, find_bits
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


def read(data, **options):
    return decode_image(EncodedImage(data, "x"), **options)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_pixel_mode_reads_as_pillow_converts_it(mode):
    if mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("older Pillow cannot read the uncompressed YCbCr that it writes")
    image = picture(3).convert(mode)
    expected = image.convert("L") if mode in ("1", "LA") else image.convert("RGB")
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert np.array_equal(read(encode(image, kind)), pixels(expected))


# --- transparency -----------------------------------------------------------------------------------------------------


def on_white(colour, alpha):
    """The closed form, in 0..255."""
    return np.round((colour.astype(float) * alpha + 255.0 * (255 - alpha)) / 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_on_white(kind):
    pattern = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    pattern[0, :, 3], pattern[1, :, 3] = 0, 255
    out = io.BytesIO()
    Image.fromarray(pattern).save(out, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    expected = on_white(pattern[..., :3], pattern[..., 3:])
    found = read(out.getvalue()).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1
    assert (found[0] == 255).all() and np.array_equal(found[1], pattern[1, :, :3])


def test_a_black_drawing_on_transparent_ground_is_black_on_white():
    drawing = np.zeros((8, 8), dtype=np.uint8)
    drawing[2:4, 3:7] = 255  # opaque; every value is black
    black = Image.new("L", (8, 8), 0)
    gray = Image.merge("LA", (black, Image.fromarray(drawing)))
    colour = Image.merge("RGBA", (black, black, black, Image.fromarray(drawing)))
    expected = 255 - drawing
    assert np.array_equal(read(encode(gray)), expected[None])
    assert np.array_equal(read(encode(colour)), np.stack([expected] * 3))
    palette = Image.fromarray((drawing > 0).astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0] * 256)
    for clear in (0, bytes([0, 255])):  # the index of the transparent colour, or an alpha for each
        out = io.BytesIO()
        palette.save(out, "PNG", transparency=clear)
        assert np.array_equal(read(out.getvalue()), np.stack([expected] * 3))
    out = io.BytesIO()
    palette.save(out, "GIF", transparency=0)
    assert np.array_equal(read(out.getvalue()), np.stack([expected] * 3))


@pytest.mark.parametrize(("mode", "clear"), [("L", 40), ("RGB", (1, 2, 3)), ("1", 0)])
def test_one_transparent_colour_becomes_white_and_no_other_changes(mode, clear):
    image = picture(5).convert(mode)
    image.putpixel((2, 3), clear)
    expected = pixels(image.convert("L") if mode == "1" else image).copy()
    expected[:, (expected == np.reshape(clear, (-1, 1, 1))).all(axis=0)] = 255
    out = io.BytesIO()
    image.save(out, "PNG", transparency=clear)
    assert np.array_equal(read(out.getvalue()), expected)


# --- depth ------------------------------------------------------------------------------------------------------------


def deep(values, kind="PNG"):
    values = np.asarray(values, dtype=np.uint16)
    if kind == "PGM":  # older Pillow reads but does not write it
        return b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()
    return encode(Image.fromarray(values), kind)


def deep_colour(values):
    """A PNG of 16 bits a channel, which Pillow reads but does not write: (H, W, 3) or (H, W, 4)."""
    values = np.asarray(values, dtype=">u2")
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bits_of(*images):
    return find_bits([lambda: iter([EncodedImage(image, "x") for image in images])])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 8), (255, 8), (256, 10), (4095, 12), (9000, 14), (16384, 16), (65535, 16)]
)
def test_the_largest_value_of_a_set_says_how_many_bits_it_has(kind, largest, bits):
    values = np.linspace(0, largest, 64).round().reshape(8, 8).astype(np.uint16)
    image, dark = deep(values, kind), deep(values // 2, kind)
    assert bits_of(image, dark) == bits_of(dark, image) == bits
    for encoded, expected in ((image, values), (dark, values // 2)):
        assert np.array_equal(decode_image(EncodedImage(encoded, "x", bits))[0], expected >> bits - 8)


def test_eight_bit_sets_have_no_such_number_and_broken_images_are_left_to_the_decoder():
    assert bits_of(encode(picture(0)), deep(np.full((4, 4), 9))) is None
    assert bits_of(b"noise") is None and bits_of() is None
    assert bits_of(deep(np.full((4, 4), 4000)), b"noise", encode(picture(0))) == 12


def test_a_sixteen_bit_image_among_others_is_read_where_it_needs_no_guess():
    full = np.arange(0, 65536, 1024).reshape(8, 8)
    assert np.array_equal(read(deep(full))[0], full >> 8)
    with pytest.raises(InputError, match=r"x \(16-bit .*4095"):
        read(deep(np.full((4, 4), 4095)))


def test_an_eight_bit_image_in_a_set_of_fewer_than_sixteen_is_refused_and_in_one_of_sixteen_kept():
    image = picture(0)
    assert np.array_equal(decode_image(EncodedImage(encode(image), "x", 16)), pixels(image))
    for bits in (8, 12):
        with pytest.raises(InputError, match=rf"x .8-bit, .*16-bit .*{bits} bits"):
            decode_image(EncodedImage(encode(image), "x", bits))


def test_sixteen_bit_colour_keeps_its_upper_eight_or_is_refused():
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3))
    assert bits_of(deep_colour(values)) == 16
    assert np.array_equal(read(deep_colour(values)), (values >> 8).transpose(2, 0, 1))
    small = deep_colour(values >> 8)
    assert bits_of(small) == 8
    for bits in (8, None):  # what the set has; None for one of 8-bit images
        with pytest.raises(InputError, match=r"x \(16.* 255"):
            decode_image(EncodedImage(small, "x", bits))
    clear = np.concatenate([values >> 8, np.full((8, 8, 1), 65535)], axis=2)
    assert bits_of(deep_colour(clear)) == 8, "alpha does not count"


def test_one_transparent_value_of_sixteen_bits_becomes_white():
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", transparency=2048)
    assert np.array_equal(read(out.getvalue())[0], np.where(values == 2048, 255, values >> 8))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((4, 4), np.float32), "mode F"),
        (np.full((4, 4), -1, np.int32), "values from -1 to -1"),
        (np.full((4, 4), 70000, np.int32), "to 70000"),
    ],
)
def test_pixels_without_an_eight_bit_reading_are_refused(values, sentence):
    with pytest.raises(InputError, match=f"x .*{sentence} .*save it as 8-bit"):
        read(encode(Image.fromarray(values), "TIFF"))


# --- metadata and frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_orientation_of_exif_is_applied_as_pillow_applies_it(orientation, kind):
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    picture(1, size=(6, 4)).save(out, kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue())))
    assert np.array_equal(read(out.getvalue()), pixels(expected.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0noise and more noise",
    ],
)
@pytest.mark.filterwarnings("ignore:.*orrupt EXIF data:UserWarning")
def test_a_damaged_exif_block_does_not_refuse_a_good_image(kind, block):
    out, plain = io.BytesIO(), io.BytesIO()
    picture(1).save(out, kind, exif=block)
    picture(1).save(plain, kind)
    assert np.array_equal(read(out.getvalue()), read(plain.getvalue()))


def test_of_an_animation_the_first_frame_is_taken():
    frames = [picture(i) for i in range(3)]
    for kind in ("PNG", "WEBP", "TIFF"):
        out = io.BytesIO()
        frames[0].save(
            out, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert np.array_equal(read(out.getvalue()), pixels(frames[0]))


def test_text_is_never_taken_for_the_name_of_a_file(tmp_path):
    picture(0).save(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"x .str .*bytes"):
        read(str(tmp_path / "secret.png"))


def test_image_size_resizes_the_shorter_side_and_takes_the_middle():
    image = picture(0, size=(40, 20))
    expected = image.resize((20, 10), Image.Resampling.BICUBIC).crop((5, 0, 15, 10))
    assert np.array_equal(decode_image(EncodedImage(encode(image), "x"), image_size=10), pixels(expected))
    enlarged = decode_image(EncodedImage(encode(image), "x"), image_size=33)
    assert enlarged.shape == (3, 33, 33)


def test_a_jpeg_is_decoded_to_pillow_s_pixels():
    data = encode(picture(2, size=(24, 16)), "JPEG")
    assert np.array_equal(decode_image(EncodedImage(data, "x")), pixels(Image.open(io.BytesIO(data))))


def test_importing_the_room_does_not_import_slow_libraries():
    code = (
        "import sys, layerlocal.data; print({'huggingface_hub', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
