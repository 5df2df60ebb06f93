"""Bad data: folders of images, Parquet files, names and caches. One sentence that names the culprit, nothing left behind."""

from __future__ import annotations

import json
import os
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import arrays_file, encoded, image_folder, parquet_folder, png, table

from layerlocal import load_data

FOLDERS = {}
TABLES = {}
ARRAYS = {
    "no labels to test": ("test_labels", {"test_labels": None}),
    "labels of val alone": ("val_images", {"val_images": None}),
    "several labels an image": ("train_labels", {"train_labels": np.zeros((8, 14), int)}),
    "real labels": ("train_labels", {"train_labels": np.zeros(8)}),
    "a label below 0": ("val_labels", {"val_labels": np.arange(-1, 7)}),
    "fewer labels than images": ("train_images", {"train_labels": np.zeros((7, 1), int)}),
    "volumes": ("train_images", {"train_images": np.zeros((8, 8, 8, 8), np.uint8)}),
    "images of real numbers": ("test_images", {"test_images": np.zeros((8, 8, 8))}),
    "no image": ("test_images", {"test_images": np.zeros((0, 8, 8), np.uint8), "test_labels": np.zeros((0, 1), int)}),
    "pickled labels": ("train_labels", {"train_labels": np.array([{}] * 8, object)}),
    "images of two sizes": ("val_images", {"val_images": np.zeros((8, 9, 9), np.uint8)}),
}


def folder(culprit):
    """A good folder of images, then spoiled by the function."""

    def keep(spoil):
        FOLDERS[spoil.__name__] = (spoil, culprit)
        return spoil

    return keep


@folder("does not exist")
def no_folder(root):
    os.rename(root, root.with_name("elsewhere"))


@folder("train")
def nothing_in_it(root):
    os.rename(root, root.with_name("elsewhere"))
    root.mkdir()


@folder("test")
def no_test_split(root):
    os.rename(root / "test", root.parent / "test_elsewhere")


@folder("train")
def no_training_split(root):
    os.rename(root / "train", root.parent / "train_elsewhere")


@folder("train")
def a_training_split_that_is_a_file(root):
    no_training_split(root)
    (root / "train").write_text("x")


@folder("class")
def images_without_classes(root):
    for split in ("train", "test"):
        for image in sorted((root / split / "cat").iterdir()):
            image.rename(root / split / image.name)
        os.rename(root / split / "cat", root.parent / f"cat_{split}")
        os.rename(root / split / "dog", root.parent / f"dog_{split}")


@folder("class")
def one_class(root):
    for split in ("train", "test"):
        os.rename(root / split / "dog", root.parent / f"dog_{split}")


@folder("dog")
def an_empty_class(root):
    for image in (root / "train" / "dog").iterdir():
        image.unlink()


@folder("cow")
def a_class_of_the_test_split_alone(root):
    png(root / "test" / "cow" / "0.png")


@folder("2.png")
def text_that_is_called_an_image(root):
    (root / "train" / "cat" / "2.png").write_text("no image")


@folder("2.png")
def a_file_of_no_byte(root):
    (root / "train" / "cat" / "2.png").write_bytes(b"")


@folder("2.png")
def an_image_cut_off(root):
    path = root / "test" / "dog" / "2.png"
    path.write_bytes(path.read_bytes()[:40])


@folder("2.png")
def a_damaged_image(root):
    path = root / "train" / "dog" / "2.png"
    content = bytearray(path.read_bytes())
    content[45:60] = b"\0" * 15
    path.write_bytes(bytes(content))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@folder("2.png")
def an_image_larger_than_memory(root):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    (root / "train" / "cat" / "2.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


@folder("2.png")
def a_broken_link(root):
    (root / "train" / "cat" / "2.png").unlink()
    (root / "train" / "cat" / "2.png").symlink_to("nowhere.png")


@folder("image_size")
def images_of_two_sizes(root):
    png(root / "train" / "cat" / "2.png", size=9)


@folder("image_size")
def images_of_another_size_to_test(root):
    for image in (root / "test").glob("*/*.png"):
        png(image, size=9)


@folder("image_size")
def images_that_are_not_square(root):
    from PIL import Image

    for image in root.glob("*/*/*.png"):
        Image.new("RGB", (8, 6)).save(image)


@folder("caf")
def a_class_whose_name_is_no_text(root):
    for split in ("train", "test"):
        os.rename(root / split / "cat", os.path.join(os.fsencode(root / split), b"caf\xe9"))


@folder("loop")
def a_link_to_a_folder_above(root):
    (root / "train" / "cat" / "loop").symlink_to(root / "train")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_of_images_is_one_sentence(reject, inside, tmp_path, name):
    spoil, culprit = FOLDERS[name]
    root = image_folder(tmp_path / "bad")
    spoil(root)
    assert culprit in reject(lambda: load_data(root, validation=0))


def spoiled(name, culprit, train=None, test=None):
    """Parquet files whose training table, or test table, is made by the function."""
    TABLES[name] = (train, test, culprit)


def classes(names, **columns):
    """A table whose labels carry these names, as the Hub writes them."""
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": names}, "image": {"_type": "Image"}}}}
    return table(**columns).replace_schema_metadata({"huggingface": json.dumps(info)})


HALF = [0, 1] * 4
IMAGES = [{"bytes": encoded(20 * row), "path": None} for row in range(8)]

spoiled("no label", "label", lambda: table(label=None))
spoiled("no image", "image", lambda: table(image=None))
spoiled("neither", "image", lambda: table(image=None, label=None, row=list(range(8))))
spoiled("no label in the test table", "label", test=lambda: table(label=None))
spoiled("no image in the test table", "image", test=lambda: table(image=None))
spoiled("labels of real numbers", "label", lambda: table(label=[0.5 * row for row in range(8)]))
spoiled("labels of lists", "label", lambda: table(label=[[0]] * 8))
spoiled("labels of bytes", "label", lambda: table(label=[b"\xff", b"\xfe"] * 4))
spoiled("a label is missing", "label", lambda: table(label=[0, 1, None, 1, 0, 1, 0, 1]))
spoiled("all labels are missing", "label", lambda: table(label=pa.array([None] * 8, pa.int64())))
spoiled("labels of no kind", "label", lambda: table(label=pa.nulls(8)))
spoiled("one class", "class", lambda: table(label=[0] * 8), lambda: table(label=[0] * 8))
spoiled("a class of the test table alone", "2", test=lambda: table(label=[0, 1, 2, 0, 1, 2, 0, 1]))
spoiled(
    "two candidates for the label",
    "fold",
    lambda: table(label=None, fold=HALF, sex=HALF),
    lambda: table(label=None, fold=HALF, sex=HALF),
)
spoiled(
    "two candidates for the image",
    "mask",
    lambda: table(image=None, photo=IMAGES, mask=IMAGES),
    lambda: table(image=None, photo=IMAGES, mask=IMAGES),
)
spoiled("an image is missing", "row 2", lambda: table(image=[*IMAGES[:2], None, *IMAGES[3:]]))
spoiled(
    "an image without bytes", "row 2", lambda: table(image=[*IMAGES[:2], {"bytes": None, "path": None}, *IMAGES[3:]])
)
spoiled("an image of no byte", "row 2", lambda: table(image=[*IMAGES[:2], {"bytes": b"", "path": None}, *IMAGES[3:]]))
spoiled(
    "an image that is none",
    "row 2",
    lambda: table(image=[*IMAGES[:2], {"bytes": b"no image", "path": None}, *IMAGES[3:]]),
)
spoiled(
    "an image cut off",
    "row 2",
    lambda: table(image=[*IMAGES[:2], {"bytes": encoded()[:40], "path": None}, *IMAGES[3:]]),
)
spoiled("names of files on this machine", "image", lambda: table(image=["/etc/hostname"] * 8))
spoiled("paths on this machine", "image", lambda: table(image=[{"bytes": None, "path": "/etc/hostname"}] * 8))
spoiled("images of numbers", "image", lambda: table(image=list(range(8))))
spoiled(
    "images of two sizes", "image_size", lambda: table(image=[*IMAGES[:7], {"bytes": encoded(size=9), "path": None}])
)
spoiled("no row", "row", lambda: table().slice(0, 0))
spoiled("no row in the test table", "row", test=lambda: table().slice(0, 0))
spoiled("no column", "image", lambda: pa.table({}))
spoiled("class names that differ", "class names", lambda: classes(["a", "b"]), lambda: classes(["b", "a"]))
spoiled("fewer class names than classes", "label", lambda: classes(["a"]), lambda: classes(["a"]))


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table_is_one_sentence(reject, inside, tmp_path, name):
    train, test, culprit = TABLES[name]
    root = parquet_folder(tmp_path / "bad", train and train(), test and test())
    assert culprit in reject(lambda: load_data(root, validation=0))


@pytest.mark.parametrize("name", ARRAYS)
def test_a_bad_file_of_arrays_is_one_sentence(reject, inside, tmp_path, name):
    culprit, arrays = ARRAYS[name]
    file = arrays_file(tmp_path / "bad.npz", **arrays)
    assert culprit in reject(lambda: load_data(file, validation=0))


@pytest.mark.parametrize("spoil", ["cut", "empty", "random_bytes", "one_bit"])
def test_a_broken_file_of_arrays_is_one_sentence(reject, inside, tmp_path, spoil):
    """One bit of the stored pixels is other than the file's own sum says."""
    file = arrays_file(tmp_path / "bad.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 8] ^= 1
    spoilt = {"cut": content[:-20], "empty": b"", "random_bytes": bytes(range(256)) * 20, "one_bit": content}
    file.write_bytes(spoilt[spoil])
    assert "bad.npz" in reject(lambda: load_data(file, validation=0))


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no table")


def a_folder(path):
    path.unlink()
    path.mkdir()


def gone(path):
    path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize("spoil", [cut, empty, text, a_folder, gone], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_that_is_no_table_is_one_sentence(reject, inside, tmp_path, split, spoil):
    root = parquet_folder(tmp_path / "bad")
    spoil(root / f"{split}-00000-of-00001.parquet")
    assert split in reject(lambda: load_data(root, validation=0))


@pytest.mark.parametrize(
    ("names", "culprit"),
    [
        (["train-00000-of-00005.parquet"], "1 of the 5"),
        (
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "train-00000-of-00001.parquet"],
            "shards",
        ),
        (["train-00001-of-00001.parquet"], "shard 1"),
    ],
)
def test_shards_that_are_not_one_set_are_one_sentence(reject, inside, tmp_path, names, culprit):
    root = parquet_folder(tmp_path / "bad")
    gone(root / "train-00000-of-00001.parquet")
    for name in names:
        pq.write_table(table(), root / name)
    assert culprit in reject(lambda: load_data(root, validation=0))


def test_shards_with_other_columns_or_other_class_names_are_one_sentence(reject, inside, tmp_path):
    for position, (first, second, culprit) in enumerate(
        (
            (table(), table(label=None), "label"),
            (table(), table(label=["a", "b"] * 4), "label"),
            (classes(["a", "b"]), classes(["b", "a"]), "class names"),
        )
    ):
        root = parquet_folder(tmp_path / str(position), test=first)
        gone(root / "train-00000-of-00001.parquet")
        pq.write_table(first, root / "train-00000-of-00002.parquet")
        pq.write_table(second, root / "train-00001-of-00002.parquet")
        said = reject(lambda root=root: load_data(root, validation=0))
        assert culprit in said


@pytest.mark.parametrize(
    "words", [("train", "--epochs", "1", "--network", "mlp"), ("audit",), ("audit", "--dry-run"), ("study", "accuracy")]
)
def test_bad_data_are_one_sentence_of_a_command(refuse, inside, tmp_path, words):
    root = image_folder(tmp_path / "bad")
    text_that_is_called_an_image(root)
    assert "2.png" in refuse(*words, "--data", str(root))


def test_an_own_copy_that_is_bad_is_one_sentence(reject, inside, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    assert "cifar10" in reject(lambda: load_data("cifar10"))


@pytest.mark.parametrize("place", ["afile", "afile/below", "/proc/nowhere", "a" * 300])
def test_a_cache_that_cannot_be_is_one_sentence(reject, inside, monkeypatch, place):
    monkeypatch.setenv("LAYERLOCAL_CACHE", place)
    assert place[:50] in reject(lambda: load_data("images", validation=0))
