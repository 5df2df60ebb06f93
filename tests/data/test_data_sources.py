"""Folders: pixels against Pillow's, the cache of decoded images, and what is said about broken data."""

from __future__ import annotations

import errno
import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from layerlocal.data import cache as cache_module
from layerlocal.data import load_data
from layerlocal.types import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CLASSES = ["cat", "dog", "eel"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number, *, size=(8, 8), mode="RGB"):
    generator = np.random.default_rng(number)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))


def encode(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return out.getvalue()


def write_parquet(path, images, labels, *, names=CLASSES, image_name="image", label_name="label", metadata=True):
    table = pa.table(
        {
            image_name: pa.array(
                [{"bytes": data, "path": None} for data in images],
                pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            ),
            **({label_name: pa.array(labels, pa.int64())} if label_name else {}),
        }
    )
    if metadata:
        features = {
            image_name: {"_type": "Image"},
            **({label_name: {"names": names, "_type": "ClassLabel"}} if label_name else {}),
        }
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)


def make_folder(folder, *, number=12, kind="PNG", **options):
    """Two training files and one test file; the images in order."""
    images = [picture(i) for i in range(number)]
    encoded = [encode(image, kind) for image in images]
    labels = [i % 3 for i in range(number)]
    half = number // 2
    write_parquet(folder / "train-00000-of-00002.parquet", encoded[:half], labels[:half], **options)
    write_parquet(folder / "train-00001-of-00002.parquet", encoded[half:], labels[half:], **options)
    write_parquet(folder / "test-00000-of-00001.parquet", encoded[:6], labels[:6], **options)
    return images, labels


def pixels(image):
    array = np.asarray(image)
    return torch.from_numpy(array[None].copy() if array.ndim == 2 else array.transpose(2, 0, 1).copy())


# --- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("metadata", [True, False])
def test_parquet_pixels_and_labels_are_those_that_were_written(tmp_path, kind, metadata):
    images, labels = make_folder(tmp_path / "set", kind=kind, metadata=metadata)
    data = load_data(tmp_path / "set", validation=0)
    assert torch.equal(data.train.images, torch.stack([pixels(image) for image in images]))
    assert data.train.labels.tolist() == labels
    assert data.class_names == (tuple(CLASSES) if metadata else ("0", "1", "2"))
    assert torch.equal(data.take_test().images, data.train.images[:6])
    assert data.name == "set" and data.provenance["kind"] == "parquet"
    assert str(tmp_path) not in json.dumps(data.provenance)


def test_second_load_reads_the_cache_and_a_changed_file_is_decoded_again(tmp_path, cache, monkeypatch):
    make_folder(tmp_path / "set")
    first = load_data(tmp_path / "set", validation=0)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "decode_image", lambda *a, **k: pytest.fail("decoded twice"))
        assert torch.equal(load_data(tmp_path / "set", validation=0).train.images, first.train.images)
    write_parquet(tmp_path / "set/train-00001-of-00002.parquet", [encode(picture(99))] * 3, [0, 1, 2])
    assert len(load_data(tmp_path / "set", validation=0).train) == 9
    assert not list(cache.glob("**/.decoding-*"))


def test_checksum_depends_on_the_content_and_not_on_the_place(tmp_path):
    make_folder(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere" / "b")
    make_folder(tmp_path / "c", number=15)
    a, b, c = (load_data(tmp_path / name, validation=0).provenance["checksum"] for name in ("a", "elsewhere/b", "c"))
    assert a == b != c


def test_hub_layouts_are_found_inside_the_folder_and_valid_serves_as_test(tmp_path):
    make_folder(tmp_path / "clone" / "data")
    test = next((tmp_path / "clone/data").glob("test-*"))
    test.rename(test.with_name("valid-00000-of-00001.parquet"))
    assert len(load_data(tmp_path / "clone", validation=0).take_test()) == 6


def test_larger_than_memory_limit_stays_mapped_and_gives_the_same_pixels(tmp_path, monkeypatch):
    make_folder(tmp_path / "set", number=30)
    in_memory = load_data(tmp_path / "set", validation=0.2, seed=1)
    monkeypatch.setattr("layerlocal.data.assemble.IN_MEMORY_BYTES", 0)
    mapped = load_data(tmp_path / "set", validation=0.2, seed=1)
    assert in_memory.train.in_memory and not mapped.train.in_memory
    for one, other in (
        (mapped.train, in_memory.train),
        (mapped.validation, in_memory.validation),
        (mapped.take_test(), in_memory.take_test()),
    ):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert torch.equal(mapped.mean, in_memory.mean) and torch.equal(mapped.std, in_memory.std)


def test_cifar100_fine_and_coarse_labels_and_published_statistics():
    folder = SHARED / "cifar100"
    if not folder.is_dir():
        pytest.skip("the shared CIFAR-100 Parquet folder is not here")
    test_file = next(folder.glob("test-*.parquet"))
    table = pq.read_table(test_file)
    with_links = Path(cache_module.default_cache_dir()) / "small"
    with_links.mkdir(parents=True)
    pq.write_table(table.slice(0, 2000), with_links / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(2000, 500), with_links / "test-00000-of-00001.parquet")
    fine = load_data(with_links, validation=0)
    coarse = load_data(with_links, labels="coarse", validation=0)
    rows = table.slice(0, 2000).to_pylist()
    assert fine.num_classes == 100 and coarse.num_classes == 20
    assert fine.train.labels.tolist() == [row["fine_label"] for row in rows]
    assert coarse.train.labels.tolist() == [row["coarse_label"] for row in rows]
    assert coarse.class_names[0] == "aquatic_mammals" and fine.class_names[4] == "beaver"
    for row in (0, 7, 1999):
        image = Image.open(io.BytesIO(rows[row]["image"]["bytes"]))
        assert torch.equal(fine.train.images[row], pixels(image.convert("RGB")))
    published = torch.tensor([0.5071, 0.4865, 0.4409])  # of all 50,000 training images
    assert torch.allclose(fine.mean, published, atol=0.02)


# --- ImageFolder ------------------------------------------------------------------------------------------------------


def make_image_folder(folder, *, test="val", size=(8, 8)):
    for split, number in (("train", 4), (test, 2)):
        for k, name in enumerate(("ant", "bee")):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                picture(100 * k + i, size=size).save(folder / split / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_image_folder_gives_pillow_s_pixels_with_folder_names_as_classes(tmp_path, test):
    data = load_data(make_image_folder(tmp_path / "set", test=test), validation=0)
    (tmp_path / "set/train/ant/notes.txt").write_text("not an image")
    assert data.class_names == ("ant", "bee") and data.train.labels.tolist() == [0] * 4 + [1] * 4
    expected = [pixels(picture(100 * k + i)) for k in range(2) for i in range(4)]
    assert torch.equal(data.train.images, torch.stack(expected))
    assert len(data.take_test()) == 4


def test_grayscale_stays_one_channel_and_a_mixture_becomes_rgb(tmp_path):
    folder = make_image_folder(tmp_path / "set")
    for file in folder.glob("*/*/*.png"):
        picture(int(file.stem), mode="L").save(file)
    assert load_data(folder, validation=0).sample_shape == (1, 8, 8)
    picture(5).save(folder / "train/bee/3.png")
    mixed = load_data(folder, validation=0)
    assert mixed.sample_shape == (3, 8, 8) and mixed.take_test().sample_shape == (3, 8, 8)
    assert torch.equal(mixed.train.images[0], pixels(picture(0, mode="L")).expand(3, 8, 8))
    assert torch.equal(mixed.train.images[7], pixels(picture(5)))
    picture(5, mode="L").save(folder / "train/bee/3.png")
    picture(6).save(folder / "val/ant/0.png")  # colour in the test images alone
    assert load_data(folder, validation=0).train.sample_shape == (3, 8, 8)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_decode_that_dies_leaves_no_entry_and_the_next_one_is_whole(tmp_path, cache, monkeypatch):
    images, _ = make_folder(tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        patch.setattr(cache_module.shutil, "rmtree", lambda *_, **__: None)  # as after kill -9: nothing is tidied up
        with pytest.raises(KeyboardInterrupt):
            load_data(tmp_path / "set")
    left = list((cache / "decoded").iterdir())
    assert left and all(path.name.startswith(".decoding-") for path in left)
    assert len(load_data(tmp_path / "set", validation=0).train) == len(images)
    monkeypatch.setattr(cache_module, "_STALE_SECONDS", -1)
    write_parquet(tmp_path / "set/test-00000-of-00001.parquet", [encode(picture(1))] * 3, [0, 1, 2])
    load_data(tmp_path / "set")
    assert not list(cache.glob("decoded/.decoding-*"))


def test_a_decode_that_ends_while_another_sweeps_is_no_error(tmp_path, cache, monkeypatch):
    make_folder(tmp_path / "set")
    left = cache / "decoded" / ".decoding-other"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"")
    stat = type(left).stat

    def vanishing(path, **options):
        if path.parent == left:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return stat(path, **options)

    monkeypatch.setattr(type(left), "stat", vanishing)
    assert len(load_data(tmp_path / "set", validation=0).train) > 0


def test_several_decodes_at_once_all_end_well(tmp_path, cache):
    make_folder(tmp_path / "set", number=60)
    results, errors = [], []

    def load():
        try:
            results.append(load_data(tmp_path / "set", validation=0))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(results) == 4
    assert all(torch.equal(data.train.images, results[0].train.images) for data in results)
    assert len(list((cache / "decoded").iterdir())) == 2


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, cache, monkeypatch):
    make_folder(tmp_path / "set")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(InputError, match=r"disk is full.*LAYERLOCAL_CACHE"):
        load_data(tmp_path / "set")
    assert list((cache / "decoded").iterdir()) == []


def test_a_cache_that_is_a_file_is_named(tmp_path):
    make_folder(tmp_path / "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="LAYERLOCAL_CACHE"):
        load_data(tmp_path / "set", cache_dir=tmp_path / "file")


# --- bad input --------------------------------------------------------------------------------------------------------


def test_parquet_without_labels_lists_its_columns(tmp_path):
    make_folder(tmp_path / "set", label_name=None)
    with pytest.raises(InputError, match=r"train-00000.* label column .*image"):
        load_data(tmp_path / "set")


def test_unknown_label_column_lists_the_known_before_anything_is_decoded(tmp_path, cache):
    make_folder(tmp_path / "set", label_name="fine_label")
    with pytest.raises(InputError, match="unknown label column 'coarse'; known: fine_label"):
        load_data(tmp_path / "set", labels="coarse")
    assert not cache.exists()
    assert load_data(tmp_path / "set", labels="fine").num_classes == 3


@pytest.mark.parametrize("broken", [b"not an image", encode(picture(0))[:60], b""], ids=["noise", "cut", "empty"])
def test_a_broken_image_is_named_by_file_and_row(tmp_path, broken):
    make_folder(tmp_path / "set")
    write_parquet(
        tmp_path / "set/train-00001-of-00002.parquet", [encode(picture(1)), broken, encode(picture(2))], [0, 1, 2]
    )
    with pytest.raises(InputError, match=r"train-00001-of-00002.parquet row 1"):
        load_data(tmp_path / "set")


def test_a_broken_file_in_an_image_folder_is_named(tmp_path):
    folder = make_image_folder(tmp_path / "set")
    (folder / "train/bee/2.png").write_bytes(b"oops")
    with pytest.raises(InputError, match=r"train/bee/2.png"):
        load_data(folder)


def test_a_broken_parquet_file_is_one_sentence(tmp_path):
    make_folder(tmp_path / "set")
    (tmp_path / "set/train-00001-of-00002.parquet").write_bytes(b"PAR1 oops")
    with pytest.raises(InputError, match=r"cannot read Parquet in .*set"):
        load_data(tmp_path / "set")


def test_missing_negative_and_unnamed_labels_are_refused(tmp_path):
    for labels, message in (
        ([0, None, 1], "1 row without a label"),
        ([0, 1, -1], "row 2 .* -1"),
        ([0, 1, 7], "label 7 but 3"),
    ):
        make_folder(tmp_path / "set")
        write_parquet(tmp_path / "set/train-00000-of-00002.parquet", [encode(picture(1))] * 3, labels)
        with pytest.raises(InputError, match=message):
            load_data(tmp_path / "set")


def test_parquet_files_beside_a_folder_of_images_are_refused(tmp_path):
    folder = tmp_path / "set"
    make_folder(folder)
    (folder / "train" / "cow").mkdir(parents=True)  # without an image it is no second reading
    expected = load_data(folder).content_sha256
    picture(1).save(folder / "train" / "cow" / "0.png")
    with pytest.raises(InputError, match=r"train.*\.parquet and images in train/"):
        load_data(folder)
    (folder / "train").rename(tmp_path / "elsewhere")
    assert load_data(folder).content_sha256 == expected


def test_a_class_without_images_and_a_class_only_in_test_are_refused(tmp_path):
    folder = make_image_folder(tmp_path / "set")
    (folder / "train" / "cow").mkdir()
    with pytest.raises(InputError, match="'cow' of set has no images"):
        load_data(folder)
    assert load_data(folder, classes=["ant", "bee"]).num_classes == 2
    (folder / "train" / "cow").rmdir()
    (folder / "val" / "dog").mkdir()
    picture(1).save(folder / "val/dog/0.png")
    with pytest.raises(InputError, match=r"'dog' .*test split of set"):
        load_data(folder)


def test_images_of_different_sizes_need_image_size(tmp_path):
    folder = make_image_folder(tmp_path / "set")
    picture(1, size=(9, 8)).save(folder / "train/bee/3.png")
    with pytest.raises(InputError, match=r"train/bee/3.png is 9×8 .* image_size=8"):
        load_data(folder)
    assert load_data(folder, image_size=8).image_size == 8
    picture(1, size=(9, 8)).save(folder / "train/ant/0.png")
    with pytest.raises(InputError, match=r"not square; give image_size"):
        load_data(folder)


def test_different_class_names_in_test_are_refused(tmp_path):
    make_folder(tmp_path / "set")
    write_parquet(tmp_path / "set/test-00000-of-00001.parquet", [encode(picture(1))], [0], names=["dog", "cat", "eel"])
    with pytest.raises(InputError, match="class names of 'label' differ"):
        load_data(tmp_path / "set")


def test_folders_without_training_or_test_images_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.parquet").write_text("")
    folder = make_image_folder(tmp_path / "set")
    shutil.rmtree(folder / "val")
    make_folder(tmp_path / "pq")
    (tmp_path / "pq/test-00000-of-00001.parquet").unlink()
    for path, message in (
        ("empty", "neither train-.*parquet nor train/<class>"),
        ("file.parquet", "is a file"),
        ("set", "has no test/<class>"),
        ("pq", "has no test-"),
        ("nowhere", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            load_data(tmp_path / path)
