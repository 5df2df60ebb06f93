"""Batches: a pure function of seed and epoch; augmentation against a slow reference for one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal.data import Augment, Batches, Split
from layerlocal.data.batches import AugmentDraws
from layerlocal.types import InputError

N, C, H, W = 37, 3, 12, 12
MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.25])


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, C, H, W), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(N))


def make(split, **options):
    defaults = {"batch_size": 8, "mean": MEAN, "std": STD, "shuffle": True, "seed": 5}
    return Batches(split, **(defaults | options))


def slow_normalize(image):
    return (image.to(torch.float32) / 255 - MEAN[:, None, None]) / STD[:, None, None]


def slow_augment(image, augment, *, top, left, flip, centre):
    """One image with numpy: pad by reflection, crop, mirror, normalize, cut out."""
    pad = augment.crop
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    cropped = padded[:, top : top + H, left : left + W]
    if flip:
        cropped = cropped[:, :, ::-1]
    x = slow_normalize(torch.from_numpy(cropped.copy()))
    if augment.cutout:
        first_row, first_column = (int(c) - augment.cutout // 2 for c in centre)
        for i in range(max(0, first_row), min(H, first_row + augment.cutout)):
            for j in range(max(0, first_column), min(W, first_column + augment.cutout)):
                x[:, i, j] = 0
    return x


def test_without_augmentation_pixels_are_exactly_normalized_in_order(split):
    batches = make(split, shuffle=False)
    x = torch.cat([x for x, _ in batches.epoch(0)])
    y = torch.cat([y for _, y in batches.epoch(0)])
    assert torch.equal(y, split.labels) and y.dtype == torch.int64
    assert torch.equal(x, torch.stack([slow_normalize(image) for image in split.images]))


@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop=4),
        Augment(flip=True),
        Augment(cutout=5),
        Augment(cutout=4),
        Augment(crop=3, flip=True, cutout=6),
        Augment(crop=11, flip=True),
    ],
    ids=str,
)
def test_augmentation_equals_the_slow_reference(split, augment):
    batches = make(split, augment=augment)
    draws = batches.draws(2)
    position = 0
    for x, y in batches.epoch(2):
        for image, label in zip(x, y, strict=True):
            top, left = draws.top_left[position].tolist()
            expected = slow_augment(
                split.images[label],
                augment,
                top=top,
                left=left,
                flip=bool(draws.flip[position]),
                centre=draws.centre[position],
            )
            assert torch.equal(image, expected)
            position += 1
    assert position == N


def test_draws_are_uniform_over_their_whole_range():
    generator = torch.Generator().manual_seed(0)
    draws = AugmentDraws.draw(20000, Augment(crop=2, flip=True, cutout=3), height=6, width=4, generator=generator)
    assert draws.top_left.min() == 0 and draws.top_left.max() == 4
    assert torch.bincount(draws.top_left[:, 0]).min() > 3700  # of 4000 expected, standard deviation 57
    assert abs(draws.flip.float().mean() - 0.5) < 0.02
    assert draws.centre.amax(0).tolist() == [5, 3] and draws.centre.min() == 0


def test_an_epoch_depends_on_seed_and_number_alone(split):
    augment = Augment(crop=2, flip=True, cutout=3)
    fresh = [(x.clone(), y.clone()) for x, y in make(split, augment=augment).epoch(4)]
    used = make(split, augment=augment)
    for _ in used.epoch(0):
        torch.rand(3)
    next(used.epoch(3))
    for (x, y), (other_x, other_y) in zip(used.epoch(4), fresh, strict=True):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)
    assert not torch.equal(next(used.epoch(5))[1], fresh[0][1])
    assert not torch.equal(next(make(split, augment=augment, seed=6).epoch(4))[1], fresh[0][1])


def test_global_random_state_is_untouched(split):
    before = torch.get_rng_state()
    for _ in make(split, augment=Augment(crop=2, flip=True, cutout=2)).epoch(0):
        pass
    assert torch.equal(before, torch.get_rng_state())


def test_every_image_comes_once_an_epoch_and_lengths_agree(split):
    batches = make(split)
    labels = [y for _, y in batches.epoch(0)]
    assert len(labels) == len(batches) == 5
    assert sorted(torch.cat(labels).tolist()) == list(range(N))
    short = make(split, drop_last=True)
    assert [len(y) for _, y in short.epoch(0)] == [8] * 4 and len(short) == 4 and short.num_samples == 32


def test_mapped_split_gives_the_same_batches_as_memory(split, tmp_path):
    np.save(tmp_path / "images.npy", split.images.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:30]
    on_disk, in_memory = Split(mapped, split.labels[rows], rows=rows), Split(split.images[rows], split.labels[rows])
    assert not on_disk.in_memory and in_memory.in_memory
    augment = Augment(crop=2, flip=True)
    for (x, y), (other_x, other_y) in zip(
        make(on_disk, augment=augment).epoch(1), make(in_memory, augment=augment).epoch(1), strict=True
    ):
        assert torch.equal(x, other_x) and torch.equal(y, other_y)
    half = torch.arange(N)[rows[:15]] < 20
    assert torch.equal(
        on_disk.subset(torch.arange(15)).subset(half).images, in_memory.subset(torch.arange(15)).images[half]
    )
    whole = Split(mapped, split.labels)
    assert torch.equal(whole.images, split.images)


def test_mapped_pages_are_given_back_and_read_again(split, tmp_path, monkeypatch):
    monkeypatch.setattr("layerlocal.data.bundle.RELEASE_BYTES", 1000)
    np.save(tmp_path / "images.npy", split.images.numpy())
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), split.labels)
    for _ in range(2):
        assert torch.equal(mapped.gather(torch.arange(N)).images, split.images)


def test_vectors_are_shifted_and_scaled():
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    batches = Batches(
        Split(x, torch.zeros(10, dtype=torch.int64)),
        batch_size=10,
        mean=torch.ones(4),
        std=torch.full((4,), 2.0),
        shuffle=False,
    )
    before = x.clone()
    assert torch.equal(next(batches.epoch(0))[0], (x - 1) / 2)
    assert torch.equal(x, before)


def test_channels_last_changes_the_layout_and_no_value(split):
    (x, _), (other, _) = (next(make(split, channels_last=flag).epoch(0)) for flag in (True, False))
    assert x.is_contiguous(memory_format=torch.channels_last) and torch.equal(x, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_the_device_equal_those_on_the_cpu(split):
    augment = Augment(crop=3, flip=True, cutout=4)
    for (x, y), (other_x, other_y) in zip(
        make(split, augment=augment, device="cuda").epoch(1), make(split, augment=augment).epoch(1), strict=True
    ):
        assert x.is_cuda and torch.equal(y.cpu(), other_y) and torch.allclose(x.cpu(), other_x, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 100, "drop_last": True}, "37 images"),
        ({"augment": Augment(crop=12)}, "smaller than the image"),
    ],
)
def test_bad_batches_are_refused(split, options, message):
    with pytest.raises(InputError, match=message):
        make(split, **options)


def test_augmentation_of_vectors_and_negative_pixels_are_refused():
    vectors = Split(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match="images"):
        make(vectors, augment=Augment(flip=True))
    with pytest.raises(InputError, match=r"crop \(pixels\) .*got -1"):
        Augment(crop=-1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"crop": 1.5}, r"crop \(pixels\) .*got 1.5"),
        ({"crop": True}, r"crop \(pixels\) .*got True"),
        ({"cutout": "a"}, r"cutout \(pixels\) .*got 'a'"),
        ({"cutout": float("nan")}, r"cutout \(pixels\) .*got nan"),
        ({"flip": 1}, r"flip .*got 1"),
    ],
)
def test_augmentation_is_of_whole_pixels(given, words):
    with pytest.raises(InputError, match=words):
        Augment(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": None}, r"Split .*Augment .*got None and None"),
        ({"augment": "flip"}, r"Augment .*got .*'flip'"),
        ({"batch_size": 1.5}, r"batch_size .*got 1.5"),
        ({"batch_size": True}, r"batch_size .*got True"),
        ({"batch_size": "2"}, r"batch_size .*got '2'"),
        ({"mean": None}, r"mean .*got NoneType"),
        ({"mean": [0.0]}, r"mean .*got list"),
        ({"std": torch.ones(3)}, r"std .*got \(3,\)"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"seed": "a"}, r"seed .*got 'a'"),
    ],
)
def test_what_makes_no_batches_is_one_sentence(given, words):
    split = Split(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 3)
    arguments = {"split": split, "batch_size": 2, "mean": torch.zeros(1), "std": torch.ones(1), "shuffle": True} | given
    with pytest.raises(InputError, match=words):
        Batches(arguments.pop("split"), **arguments)


@pytest.mark.parametrize(("images", "given"), [(51, 32), (64, 64), (3, 2), (1, 1)])
def test_a_batch_larger_than_the_data_is_refused_with_the_largest_power_of_two_that_fits(images, given):
    split = Split(torch.zeros(images, 1, 4, 4, dtype=torch.uint8), torch.zeros(images, dtype=torch.long))
    with pytest.raises(InputError, match=rf"--set recipe\.batch_size={given}\)"):
        Batches(split, batch_size=images + 1, mean=torch.zeros(1), std=torch.ones(1), shuffle=True, drop_last=True)
