"""Folders of images as people and programs leave them: what is read, what is left out and said, what is refused."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from layerlocal.data import load_data
from layerlocal.data.folders import image_suffixes
from layerlocal.types import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))


def paint(path, value):
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(path)


def make(folder, *, test="test", classes=("ant", "bee")):
    """Two training images and one test image a class; class k has the colours 10k, 10k + 1 and 10k + 5."""
    for k, name in enumerate(classes):
        for value in (10 * k, 10 * k + 1):
            paint(folder / "train" / name / f"{value}.png", value)
        if test:
            paint(folder / test / name / f"{10 * k + 5}.png", 10 * k + 5)
    return folder


def load(folder, **options):
    """Training colours with their class, test colours with theirs, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_data(folder, validation=0, **options)
    found = [
        [
            (value, data.class_names[k])
            for value, k in zip(s.images[:, 0, 0, 0].tolist(), s.labels.tolist(), strict=True)
        ]
        for s in (data.train, data.take_test())
    ]
    return *found, [str(warning.message) for warning in caught]


TRAIN = [(0, "ant"), (1, "ant"), (10, "bee"), (11, "bee")]
TEST = [(5, "ant"), (15, "bee")]
PLAIN = (TRAIN, TEST, [])


@pytest.mark.parametrize("junk", [".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", ".git", "lost+found"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_hidden_folders_and_what_programs_leave_are_passed_over_everywhere(tmp_path, junk, split):
    folder = make(tmp_path / "set")
    for place in (
        folder / junk,
        folder / split / junk,
        folder / split / "bee" / junk,
        folder / split / "bee" / junk / "deep",
    ):
        paint(place / "copy.png", 99)
    (folder / split / "bee" / "Thumbs.db").write_bytes(b"x")
    (folder / split / "bee" / "._11.png").write_bytes(b"x")
    assert load(folder) == PLAIN


def test_every_format_that_pillow_reads_counts(tmp_path):
    folder = make(tmp_path / "set")
    for number, end in enumerate(("jp2", "tga", "pcx", "webp", "TIFF", "BMP", "jfif", "ppm"), start=20):
        paint(folder / "train" / "bee" / f"{number}.{end}", number)
    train, _, said = load(folder, image_size=4)
    assert said == [] and [value for value, _ in train] == [0, 1, 10, 11, *range(20, 28)]
    assert {".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".psd", ".mpo", ".jfif"} <= image_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".txt"} & image_suffixes()


def test_what_is_left_out_is_one_line_with_a_number_at_every_call(tmp_path):
    folder = make(tmp_path / "set")
    for name in ("train/ant/notes.txt", "train/bee/more.txt", "train/list.csv", "test/bee/README"):
        (folder / name).write_text("x")
    for _ in range(2):  # decoded, and from the decoded copy
        train, test, [note] = load(folder)
        assert (train, test) == PLAIN[:2]
        assert note.startswith("4 files in ") and "are left out" in note
        assert "2 .txt" in note and "1 .csv" in note and "1 without an ending" in note
    paint(folder / "train" / "loose.png", 7)
    assert load(folder)[2][0].startswith("5 files in ")


def test_links_to_folders_and_files_are_followed(tmp_path):
    folder, elsewhere = make(tmp_path / "set"), tmp_path / "elsewhere"
    (folder / "train").rename(elsewhere)
    (folder / "train").symlink_to(elsewhere)
    (elsewhere / "bee").rename(tmp_path / "bees")
    (elsewhere / "bee").symlink_to(tmp_path / "bees")
    (tmp_path / "bees" / "11.png").rename(tmp_path / "eleven.png")
    (tmp_path / "bees" / "11.png").symlink_to(tmp_path / "eleven.png")
    assert load(folder) == PLAIN
    (elsewhere / "ant" / "in").symlink_to(tmp_path / "bees")  # twice the same folder is no circle
    assert load(folder)[0] == [*TRAIN[:2], (10, "ant"), (11, "ant"), *TRAIN[2:]]


def test_links_that_lead_in_a_circle_are_refused(tmp_path):
    folder = make(tmp_path / "set")
    for place, target in (
        (folder / "train" / "bee" / "again", folder / "train"),
        (folder / "test" / "ant" / "here", folder / "test/ant"),
    ):
        place.symlink_to(target)
        with pytest.raises(InputError, match=rf"{place.name}.* is a link"):
            load_data(folder)
        place.unlink()
    (folder / "train" / "bee" / "self").symlink_to(folder / "train" / "bee" / "self")
    with pytest.raises(InputError, match=r"self .*(cannot be read|link)"):
        load_data(folder)


@pytest.mark.parametrize("name", ["train/ant/0.png", "test/bee/15.png", "train/bee", "test/ant", "train/cow"])
def test_broken_links_are_refused(tmp_path, name):
    folder = make(tmp_path / "set")
    place = folder / name
    if place.exists():
        place.rename(tmp_path / "gone")
    place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"{name} is a broken link"):
        load_data(folder)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    folder = make(tmp_path / "set")
    os.mkfifo(folder / "train" / "bee" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe.png is not a regular file"):
        load_data(folder)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_only_named_like_an_image_is_refused_by_its_name(tmp_path, content):
    folder = make(tmp_path / "set")
    (folder / "train/bee/12.png").write_bytes(content)
    with pytest.raises(InputError, match=r"train/bee/12.png"):
        load_data(folder)


def test_a_test_folder_without_the_classes_is_passed_over_for_one_with_them(tmp_path):
    folder = make(tmp_path / "set", test="val")
    paint(folder / "test" / "images" / "0.png", 0)
    train, test, [note] = load(folder)
    assert (train, test) == PLAIN[:2] and note == "test/ has no class folder of train/, so val/ is the test split"
    (folder / "val").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"test/<class>.*train/"):
        load_data(folder)


@pytest.mark.parametrize("split", ["train", "test"])
def test_names_that_are_not_utf8(tmp_path, split):
    folder = make(tmp_path / "set")
    name = os.fsdecode(b"caf\xe9")
    paint(folder / split / "bee" / "x.png", 77)
    (folder / split / "bee" / "x.png").rename(folder / split / "bee" / f"{name}.png")  # of a file: read as it is
    assert (77, "bee") in load(folder)[0 if split == "train" else 1]
    (folder / split / "bee" / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="caf\N{REPLACEMENT CHARACTER}") as caught:
        load_data(folder)
    str(caught.value).encode()
    (folder / split / name).mkdir()  # of a class
    with pytest.raises(InputError, match=r"not UTF-8 .*rename it") as caught:
        load_data(folder)
    str(caught.value).encode()


def test_class_folders_that_hold_no_images_are_named(tmp_path):
    folder = make(tmp_path / "set", classes=("ant", "bee", "cow"))
    for path in (folder / "train" / "cow").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"'cow' .*test split of set"):
        load_data(folder)
    for path in (folder / "train").glob("*/*"):
        path.unlink()
    with pytest.raises(InputError, match="set/train has no images"):
        load_data(folder)
    (folder / "train" / "bee" / "drawing.svg").write_text("<svg/>")
    with pytest.raises(InputError, match=r"set/train has no images .*1 .svg"):
        load_data(folder)
    (folder / "train" / "bee" / "drawing.svg").unlink()
    for path in (folder / "train").iterdir():
        path.rmdir()
    with pytest.raises(InputError, match=r"no class folders; .*train/<class>/"):
        load_data(folder)


def test_folders_of_classes_alone_say_how_a_test_split_is_drawn(tmp_path):
    folder = make(tmp_path / "set", test=None) / "train"
    with pytest.raises(InputError, match=r"2 class folders .*data.test=0.2"):
        load_data(folder)
    with pytest.raises(InputError, match=r"test/<class>.*data.test=0.2"):
        load_data(folder.parent)
    (folder / "loop").symlink_to(folder)  # nobody asked for it yet
    with pytest.raises(InputError, match=r"has 2 class folders"):
        load_data(folder)
    (folder / "loop" / "loop").unlink()
    (folder.parent / "train").rename(folder.parent / "Train")
    with pytest.raises(InputError, match=r"neither train-.*parquet nor train/<class>"):
        load_data(folder.parent)


# --- Tiny-ImageNet ----------------------------------------------------------------------------------------------------


def make_tiny(folder):
    for k, name in enumerate(("n01", "n02")):
        for value in (10 * k, 10 * k + 1):
            paint(folder / "train" / name / "images" / f"{name}_{value}.png", value)
        (folder / "train" / name / f"{name}_boxes.txt").write_text("x")
    lines = []
    for number, (value, name) in enumerate([(15, "n02"), (5, "n01"), (16, "n02")]):
        paint(folder / "val" / "images" / f"val_{number}.png", value)
        lines.append(f"val_{number}.png\t{name}\t0\t0\t3\t3\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    paint(folder / "test" / "images" / "test_0.png", 99)
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "words.txt").write_text("n01\tant\nn02\tbee\n")
    return folder


def test_tiny_imagenet_is_read_as_it_is_packed(tmp_path):
    train, test, said = load(make_tiny(tmp_path / "tiny-imagenet-200"))
    assert train == [(0, "n01"), (1, "n01"), (10, "n02"), (11, "n02")]
    assert test == [(15, "n02"), (5, "n01"), (16, "n02")] and said == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("val_9.png\tn01\n", r"line 4 .*val_annotations.txt .*val_9.png"),
        ("val_0.png\tn09\n", r"line 4 .*'n09', .*train/"),
        ("val_0.png n01\n", r"line 4 .*<image> TAB <class>"),
        ("../../x.png\tn01\n", r"line 4 .*<image> TAB <class>"),
        ("val_0.png\tn01\n", r"names an image twice"),
        ("\udcff\tn01\n", r"cannot read .*val_annotations.txt"),
    ],
)
def test_annotations_that_do_not_fit_are_refused_by_their_line(tmp_path, line, sentence):
    folder = make_tiny(tmp_path / "tiny")
    with (folder / "val" / "val_annotations.txt").open("a", errors="surrogateescape") as file:
        file.write(line)
    with pytest.raises(InputError, match=sentence):
        load_data(folder)


# --- a test split that is drawn ---------------------------------------------------------------------------------------


def make_flat(folder, counts):
    """Class k has the colours 50k, 50k + 1, …"""
    for k, (name, count) in enumerate(counts.items()):
        for value in range(50 * k, 50 * k + count):
            paint(folder / name / f"{value:03}.png", value)
    return folder


def test_a_share_of_each_class_is_drawn_as_test_split(tmp_path):
    folder = make_flat(tmp_path / "set", {"ant": 10, "bee": 20, "cow": 2})
    train, test, said = load(folder, test=0.2)
    assert said == [] and sorted(train + test) == load_all(folder)
    assert [sum(name == wanted for _, name in test) for wanted in ("ant", "bee", "cow")] == [2, 4, 1]
    assert load(folder, test=0.2)[1] == test and load(folder, test=0.2, seed=1)[1] != test
    larger = load(folder, test=0.5)[1]
    assert set(test) <= set(larger) and len(larger) == 16


def load_all(folder):
    names = sorted(path.name for path in folder.iterdir())
    return sorted((int(file.stem), name) for name in names for file in (folder / name).iterdir())


def test_which_images_are_tested_does_not_depend_on_the_classes_and_the_share_is_taken_before_the_validation_split(
    tmp_path,
):
    folder = make_flat(tmp_path / "set", {"ant": 10, "bee": 20, "cow": 10})
    test = load(folder, test=0.2)[1]
    assert load(folder, test=0.2, classes=["bee", "cow"])[1] == [entry for entry in test if entry[1] != "ant"]
    data = load_data(folder, test=0.2, validation=0.25)
    assert (len(data.train), len(data.validation), len(data.take_test())) == (24, 8, 8)
    colours = [s.images[:, 0, 0, 0].tolist() for s in (data.train, data.validation, data.take_test())]
    assert sorted(value for part in colours for value in part) == [value for value, _ in load_all(folder)]
    fewer = load(folder, test=0.2, num_train=9, num_test=6)
    assert len(fewer[0]) == 9 and len(fewer[1]) == 6 and set(fewer[1]) <= set(test)


def test_composed_images_and_groups_keep_training_and_test_images_apart(tmp_path):
    folder = make_flat(tmp_path / "set", {name: 20 for name in ("ant", "bee", "cow", "dog")})
    tested = {value for value, _ in load(folder, test=0.25)[1]}
    pairs = load_data(folder, test=0.25, compose="side", held_out=0.25, validation=0.2)
    shown = set(pairs.train.images.unique().tolist()) | set(pairs.validation.images.unique().tolist())
    assert not shown & tested and set(pairs.take_test().images.unique().tolist()) <= tested
    groups = load_data(folder, test=0.25, draw="groups", classes=2, validation=0, num_train=8)
    assert not set(groups.train.images.unique().tolist()) & tested and len(groups.train) == 8


def test_a_training_folder_and_parquet_files_without_test_split_may_be_split_too(tmp_path):
    make_flat(tmp_path / "set" / "train", {"ant": 10, "bee": 10})
    (tmp_path / "flat").symlink_to(tmp_path / "set" / "train")
    assert load(tmp_path / "set", test=0.3)[:2] == load(tmp_path / "flat", test=0.3)[:2]
    rows = [
        ((tmp_path / "set/train" / name / f"{v:03}.png").read_bytes(), name) for v, name in load_all(tmp_path / "flat")
    ]
    (tmp_path / "pq").mkdir()
    images = pa.array([{"bytes": data} for data, _ in rows], pa.struct({"bytes": pa.binary()}))
    pq.write_table(pa.table({"image": images, "label": [name for _, name in rows]}), tmp_path / "pq" / "train.parquet")
    assert load(tmp_path / "pq", test=0.3)[:2] == load(tmp_path / "flat", test=0.3)[:2]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.2", True])
def test_a_share_is_above_0_and_below_1(tmp_path, share):
    folder = make_flat(tmp_path / "set", {"ant": 4, "bee": 4})
    with pytest.raises(InputError, match=r"test=.* below 1|test .*finite number"):
        load_data(folder, test=share)


def test_a_share_of_data_with_a_test_split_of_their_own_is_refused(tmp_path):
    for source, sentence in (
        (make(tmp_path / "set"), r"test=0.2 draws a test split, but set has its own; leave it out"),
        (make_tiny(tmp_path / "tiny"), r"but tiny has its own"),
        ("fashion_mnist_subset", r"but fashion_mnist_subset has its own"),
        ("cifar10", r"but cifar10 has its own"),
        ("teacher_student", r"test does not apply to teacher_student"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_data(source, test=0.2)


def test_what_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="'bee' has only 1 image"):
        load_data(make_flat(tmp_path / "one", {"ant": 4, "bee": 1}), test=0.2)
    with pytest.raises(InputError, match=r"neither train-.*parquet nor train/<class>"):
        load_data(make_flat(tmp_path / "single", {"ant": 4}), test=0.2)
    folder = make_flat(tmp_path / "named", {"train": 4, "bee": 4})
    (folder / "train").rename(folder / "Test")
    with pytest.raises(InputError, match=r"neither train-.*parquet nor train/<class>"):
        load_data(folder, test=0.2)


def test_the_command_line_trains_on_folders_of_classes(tmp_path, cli, refused):
    make_flat(tmp_path / "set", {"ant": 10, "bee": 10})
    words = (
        "train",
        "--rule",
        "local-heads",
        "--network",
        "mlp",
        "--data",
        "./set",
        "--epochs",
        1,
        "--set",
        "recipe.batch_size=4",
    )
    assert "--set data.test=0.2" in refused(*words)
    assert "data.test: " in refused(*words, "--set", "data.test=2")
    code, out, err = cli(*words, "--set", "data.test=0.2")
    assert code == 0, err
    assert "of 4" in out
