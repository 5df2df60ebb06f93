"""The decoded copies are believed only where they are what was written; whatever happens to them, the images are those of the source."""

from __future__ import annotations

import json
import os

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from layerlocal.data import cache as cache_module
from layerlocal.data import load_data
from layerlocal.types import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Two classes of four training images and two test images each, 6×6 gray."""
    for split, number in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            place = tmp_path / "set" / split / name
            place.mkdir(parents=True)
            for index in range(number):
                pixels = np.random.default_rng([label, index, number]).integers(0, 256, (6, 6), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path / "set"


def entries(cache):
    return sorted(path for path in (cache / "decoded").iterdir() if not path.name.startswith("."))


def new_process(monkeypatch):
    """Forget what this process has held against its sum."""
    monkeypatch.setattr(cache_module, "_whole", set())


def everything(data):
    test = data.take_test()
    return [data.train.images, data.train.labels, test.images, test.labels]


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    state = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


DAMAGES = {
    "a pixel flipped": ("images.npy", flip),
    "pixels cut short": ("images.npy", cut),
    "pixels of another kind": ("images.npy", lambda path: np.save(path, np.zeros((8, 1, 6, 6)))),
    "no pixels": ("images.npy", lambda path: path.unlink()),
    "a label flipped": ("label-0.npy", flip),
    "no labels": ("label-0.npy", lambda path: path.unlink()),
    "meta cut short": ("meta.json", cut),
    "meta that is no object": ("meta.json", lambda path: path.write_text("[1]")),
    "meta nested too deep": ("meta.json", lambda path: path.write_text("[" * 100_000)),
    "meta without names": ("meta.json", lambda path: path.write_text('{"count": 8}')),
    "meta with another sum": ("meta.json", lambda path: path.write_text(path.read_text().replace('"cat"', '"cow"'))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_made_again_from_its_source(folder, cache, monkeypatch, damage):
    before = everything(load_data(folder, validation=0))
    name, spoil = DAMAGES[damage]
    for entry in entries(cache):
        spoil(entry / name)
    new_process(monkeypatch)
    with pytest.warns(UserWarning, match="was damaged and is made again"):
        after = everything(load_data(folder, validation=0))
    assert all(map(torch.equal, before, after))
    new_process(monkeypatch)
    load_data(folder, validation=0)  # warns no more: it is whole again
    assert len(entries(cache)) == 2 and not list(cache.glob("decoded/.decoding-*"))


def test_a_damaged_copy_whose_source_has_changed_meanwhile_is_refused(folder, cache, monkeypatch):
    data = load_data(folder, validation=0)
    new_process(monkeypatch)
    for entry in entries(cache):
        flip(entry / "images.npy")
    Image.new("L", (6, 6)).save(folder / "test" / "dog" / "1.png")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(InputError, match="its source has changed"):
        data.take_test()


def test_a_file_changed_in_place_under_its_old_time_is_found_by_reread(folder):
    before = load_data(folder, validation=0)
    path = folder / "train" / "cat" / "0.png"
    state, size = path.stat(), path.stat().st_size
    for value in range(256):  # another picture that happens to take as many bytes
        Image.fromarray(np.full((6, 6), value, np.uint8) ^ np.arange(36, dtype=np.uint8).reshape(6, 6)).save(path)
        missing = size - path.stat().st_size
        if missing >= 0:
            break
    path.write_bytes(path.read_bytes() + bytes(missing))  # what follows the end of a PNG is no part of it
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == size
    same = load_data(folder, validation=0)
    assert same.content_sha256 == before.content_sha256, "sizes and times spare the reading"
    with Image.open(path) as image:
        expected = torch.from_numpy(np.array(image))
    found = load_data(folder, validation=0, reread=True)
    assert torch.equal(found.train.images[0, 0], expected) and found.content_sha256 != before.content_sha256
    assert torch.equal(load_data(folder, validation=0).train.images[0, 0], expected), "and from then on without it"


def test_damaged_metadata_of_a_good_image_are_passed_over_without_a_word(folder, recwarn):
    """Pillow warns of them and names no file; the images are those that they are without it."""
    plain = everything(load_data(folder))
    picture = folder / "train" / "cat" / "0.png"
    image = Image.open(picture)
    image.load()
    image.save(picture, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    with pytest.warns(UserWarning, match="orrupt EXIF data"):
        Image.open(picture).getexif()
    recwarn.clear()
    damaged = everything(load_data(folder, reread=True))
    assert all(torch.equal(one, other) for one, other in zip(plain, damaged, strict=True))
    assert [str(found.message) for found in recwarn] == []


def test_another_version_of_pillow_has_copies_of_its_own(folder, cache, monkeypatch):
    load_data(folder)
    monkeypatch.setattr(PIL, "__version__", "0.0")
    load_data(folder)
    assert len(entries(cache)) == 4


def test_without_a_home_directory_the_cache_is_asked_for(folder, monkeypatch):
    monkeypatch.delenv("LAYERLOCAL_CACHE")

    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache_module.Path, "home", no_home)
    with pytest.raises(InputError, match="set LAYERLOCAL_CACHE"):
        load_data(folder)


def test_meta_says_what_is_needed_to_tell_a_whole_copy(folder, cache):
    load_data(folder)
    for entry in entries(cache):
        meta = json.loads((entry / "meta.json").read_text())
        assert len(meta["label_sha256"]) == len(meta["names"]) == 1 and len(meta["pixels_sha256"]) == 64


def test_an_entry_in_the_place_of_another_is_no_copy(folder, cache, monkeypatch):
    expected = everything(load_data(folder))
    one, other = entries(cache)
    one.rename(cache / "aside")
    other.rename(one)
    (cache / "aside").rename(other)
    new_process(monkeypatch)
    with pytest.warns(UserWarning, match="was damaged and is made again"):
        found = everything(load_data(folder))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
