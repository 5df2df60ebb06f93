"""Parquet columns: which one is the image, which the label, what its values mean, and what is refused."""

from __future__ import annotations

import io
import json
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from layerlocal.data import load_data
from layerlocal.types import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))


def png(value, *, size=4):
    out = io.BytesIO()
    Image.fromarray(np.full((size, size), value, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def struct(values):
    return pa.array(
        [{"bytes": v, "path": None} for v in values], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )


PIXELS = [10, 20, 30, 40, 50, 60]  # the image of each row is of one colour
PNGS = [png(value) for value in PIXELS]
BLACK = [png(0)] * 6


def write(path, columns, *, features=None):
    table = pa.Table.from_arrays(
        [pa.array(v) if isinstance(v, list) else v for _, v in columns], [n for n, _ in columns]
    )
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def make(folder, *columns, features=None, test=None):
    """The same rows in training and test split, unless ``test`` gives others."""
    write(folder / "train.parquet", columns, features=features)
    write(folder / "test.parquet", test or columns, features=features)
    return folder


def load(folder, **options):
    """Data, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_data(folder, validation=0, **options)
    return data, [str(warning.message) for warning in caught]


def read(folder, **options):
    """Image colours, labels and class names; nothing may be warned of."""
    data, said = load(folder, **options)
    assert said == []
    return data.train.images[:, 0, 0, 0].tolist(), data.train.labels.tolist(), data.class_names


TEXTS = ["dog", "cat", "dog", "cat", "eel", "eel"]
CODES = [1, 0, 1, 0, 2, 2]  # of the sorted texts
HALVES = [0, 0, 0, 1, 1, 1]


# --- which column is the image ----------------------------------------------------------------------------------------


def test_the_column_named_image_goes_before_a_mask(tmp_path):
    folder = make(tmp_path / "set", ("mask", struct(BLACK)), ("image", struct(PNGS)), ("label", HALVES))
    assert read(folder)[0] == PIXELS


def test_the_only_image_column_is_taken_whatever_its_name(tmp_path):
    features = {"scan": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    digests = pa.array([bytes(16)] * 6, pa.binary(16))  # too short to be images
    for name, columns in enumerate(
        (
            [("img", struct(PNGS))],
            [("md5", digests), ("picture", pa.array(PNGS, pa.large_binary()))],
            [("raw", pa.array(BLACK)), ("scan", struct(PNGS))],  # two of bytes, one marked as Image
            [("photo", pa.array(PNGS).dictionary_encode())],
            [("image", ["/etc/hostname"] * 6), ("photo", pa.array(PNGS))],  # text is no image
        )
    ):
        folder = make(tmp_path / str(name), *columns, ("label", HALVES), features=features if name == 2 else None)
        assert read(folder)[0] == PIXELS


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ([("left", struct(PNGS)), ("right", struct(PNGS))], r"columns \(left, right\); .*'image'"),
        ([("image", ["a.png"] * 6)], r"image column .*image: string, label: int64"),
        ([("image", [[1, 2]] * 6)], r"image column .*image: list"),
        ([("image", pa.array([bytes(20)] * 6, pa.binary(20)))], r"no image column"),
        ([("image", struct(PNGS)), ("image", struct(BLACK))], "2 columns named 'image'"),
    ],
)
def test_no_or_several_image_columns_are_refused_and_listed(tmp_path, columns, sentence):
    with pytest.raises(InputError, match=sentence):
        load_data(make(tmp_path / "set", *columns, ("label", HALVES)))


def test_no_file_of_this_machine_is_read_because_the_data_name_it(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(99))
    text = [str(secret)] * 6
    without = pa.array(
        [{"bytes": None, "path": str(secret)}] * 6, pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    as_text = pa.array([{"bytes": str(secret), "path": None}] * 6)
    features = {"image": {"_type": "Image"}}
    for name, (column, sentence) in enumerate(
        (
            (text, "no image column"),
            (without, r"row 0 has no image bytes .* not followed"),
            (as_text, "no image column"),
        )
    ):
        folder = make(tmp_path / str(name), ("image", column), ("label", HALVES), features=features)
        with pytest.raises(InputError, match=sentence):
            load_data(folder)


# --- which column is the label ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside",
    [
        ("is_crowd", HALVES),
        ("fold", HALVES),
        ("taken_at", [1_700_000_000_000 + i for i in range(6)]),
        ("age", [-1, 2, None, 3, 4, 5]),
        ("note", ["x"] * 6),
        ("boxes", [[1.0, 2.0]] * 6),
    ],
    ids=lambda column: column[0],
)
@pytest.mark.parametrize("first", [True, False])
def test_label_by_name_wins_over_whatever_lies_beside_it(tmp_path, beside, first):
    columns = [beside, ("label", TEXTS)] if first else [("label", TEXTS), beside]
    folder = make(tmp_path / "set", ("image", struct(PNGS)), *columns)
    assert read(folder) == (PIXELS, CODES, ("cat", "dog", "eel"))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.chunked_array([TEXTS[:2], TEXTS[2:]]),
    ],
    ids=["string", "large_string", "dictionary", "chunks"],
)
def test_texts_are_labels_like_any_other(tmp_path, values):
    folder = make(tmp_path / "set", ("image", struct(PNGS)), ("label", values))
    assert read(folder)[1:] == (CODES, ("cat", "dog", "eel"))


def test_bool_and_whole_floats_are_classes(tmp_path):
    folder = make(tmp_path / "b", ("image", struct(PNGS)), ("sex", HALVES), ("label", [value == 1 for value in HALVES]))
    assert read(folder)[1:] == (HALVES, ("False", "True"))
    folder = make(tmp_path / "f", ("image", struct(PNGS)), ("fold", [0] * 6), ("label", [float(v) for v in HALVES]))
    assert read(folder)[1:] == (HALVES, ("0", "1"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.0, 1.0, 0.25, 0.0, 1.0, 2.0], r"'label' of train.parquet .*0.25 in row 2"),
        ([0.0, float("nan"), 1.0, 0.0, 1.0, 1.0], r"'label' of train.parquet .*1 row .*NaN"),
        ([0.0, float("inf"), 1.0, 0.0, 1.0, 1.0], r"real values \(inf in row 1\)"),
        ([0, None, 1, None, 1, 0], r"'label' of train.parquet .*2 rows"),
        ([None] * 6, r"'label' of train.parquet .*6 rows"),
        (["a", None, "b", "a", "b", "a"], r"has 1 row without a label"),
        (["a", " ", "b", "a", "b", ""], r"2 rows .*empty text"),
        ([0, 1, -1, 0, 1, 1], r"row 2 of train.parquet .*-1"),
        ([[0], [1], [0, 1], [0], [1], [1]], r"'label' of train.parquet .*type list"),
        (pa.array([0] * 6, pa.timestamp("ms")), r"type timestamp\[ms\]"),
        (struct(PNGS), "type struct<"),
        (pa.DictionaryArray.from_arrays([0, None] * 3, ["a", "b"]), r"has 3 rows without a label"),
        (pa.array([b"a", b"b"] * 3), "type binary"),
        (pa.array([2**63, 0] * 3, pa.uint64()), r"the value 9223372036854775808, too large"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_sentence(tmp_path, values, sentence):
    folder = make(tmp_path / "set", ("image", struct(PNGS)), ("fold", HALVES), ("label", values))
    with pytest.raises(InputError, match=sentence):
        load_data(folder)


def test_a_label_column_that_is_guessed_is_the_only_one_that_could_be(tmp_path):
    assert read(make(tmp_path / "one", ("image", struct(PNGS)), ("kind", TEXTS)))[1] == CODES
    folder = make(tmp_path / "two", ("image", struct(PNGS)), ("kind", TEXTS), ("fold", HALVES))
    with pytest.raises(InputError, match=r"fold, kind; .*labels="):
        load_data(folder)
    assert read(folder, labels="kind")[1] == CODES and read(folder, labels="fold")[1] == HALVES
    with pytest.raises(InputError, match=r"'kid'; known: .*Did you mean 'kind'\?"):
        load_data(folder, labels="kid")
    features = {"kind": {"_type": "ClassLabel", "names": ["a", "b"]}}
    folder = make(tmp_path / "marked", ("image", struct(PNGS)), ("year", TEXTS), ("kind", HALVES), features=features)
    assert read(folder)[1:] == (HALVES, ("a", "b"))


def test_asking_for_another_column_reads_that_one_alone(tmp_path):
    folder = make(tmp_path / "set", ("image", struct(PNGS)), ("label", [0, None, 1, 1, 0, 0]), ("kind", TEXTS))
    assert read(folder, labels="kind")[1] == CODES
    with pytest.raises(InputError, match=r"'label' of train.parquet .*1 row "):
        load_data(folder)
    with pytest.raises(InputError, match="unknown label column 'image'"):
        load_data(folder, labels="image")


def test_two_label_columns_of_one_name_are_refused(tmp_path):
    folder = make(tmp_path / "set", ("image", struct(PNGS)), ("label", HALVES), ("label", CODES))
    with pytest.raises(InputError, match="2 columns named 'label'"):
        load_data(folder)


@pytest.mark.parametrize(
    ("values", "names"), [([1, 2, 3, 1, 2, 3], ("1", "2", "3")), ([0, 7, 30, 0, 7, 30], ("0", "7", "30"))]
)
def test_labels_from_one_or_with_gaps_are_classes_named_by_their_values(tmp_path, values, names):
    data, said = load(make(tmp_path / "set", ("image", struct(PNGS)), ("label", values)))
    assert data.train.labels.tolist() == [0, 1, 2] * 2 and data.class_names == names
    [note] = said
    assert f"'label' has 3 different values, {names[0]} to {names[-1]}: they are the classes 0 to 2" in note
    assert data.provenance["notes"] == [note]
    assert load(tmp_path / "set")[1] == [note], "the decoded copy says it too"


def test_classes_are_numbered_over_both_splits_and_one_that_training_lacks_is_refused(tmp_path):
    columns = [("image", struct(PNGS)), ("label", ["b", "c", "b", "c", "d", "d"])]
    folder = make(tmp_path / "set", *columns, test=[("image", struct(PNGS)), ("label", ["d"] * 5 + ["c"])])
    data, _ = load(folder)
    assert data.class_names == ("b", "c", "d") and data.take_test().labels.tolist() == [2] * 5 + [1]
    folder = make(tmp_path / "more", *columns, test=[("image", struct(PNGS)), ("label", ["a"] * 6)])
    with pytest.raises(InputError, match=r"'a' .*test split of more"):
        load_data(folder)


def test_a_changed_test_file_changes_the_numbers_of_the_classes(tmp_path):
    columns = [("image", struct(PNGS)), ("label", [1, 2] * 3)]
    folder = make(tmp_path / "set", *columns)
    assert load(folder)[0].class_names == ("1", "2")
    write(folder / "train.parquet", [("image", struct(PNGS)), ("label", [0, 1, 2] * 2)])
    assert load(folder)[0].take_test().labels.tolist() == [1, 2] * 3


def test_a_column_that_tells_rows_apart_is_no_label(tmp_path):
    number = 120
    images = struct([png(i) for i in range(number)])
    for name, values in (("ids", [5 * i for i in range(number)]), ("files", [f"{i}.png" for i in range(number)])):
        folder = make(tmp_path / name, ("image", images), (name, values))
        with pytest.raises(InputError, match=rf"'{name}' .*each of .*120"):
            load_data(folder)


def test_superclasses_come_from_whole_numbers_named_so_and_a_broken_one_is_passed_over(tmp_path):
    fine, coarse = [0, 1, 2, 3] * 2, [0, 0, 1, 1] * 2
    images = struct([png(i) for i in range(8)])
    columns = [("image", images), ("fine_label", fine), ("coarse_label", coarse), ("age_label", [None] + [-1] * 7)]
    data, _ = load(make(tmp_path / "set", *columns), classes=2, draw="within", superclass=1)
    assert data.class_names == ("2", "3")


# --- files that belong together ---------------------------------------------------------------------------------------

NAMED = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
OTHERS = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["b", "a"]}}
ROWS = [("image", struct(PNGS)), ("label", HALVES)]


def test_a_shard_with_other_class_names_is_refused(tmp_path):
    folder = make(tmp_path / "set", *ROWS, features=NAMED)
    (folder / "train.parquet").rename(folder / "train-00000-of-00002.parquet")
    for features in (OTHERS, None):
        write(folder / "train-00001-of-00002.parquet", ROWS, features=features)
        with pytest.raises(
            InputError, match=r"train-00001-of-00002.parquet and train-00000-of-00002.parquet .* different class names"
        ):
            load_data(folder)
    write(folder / "train-00001-of-00002.parquet", ROWS, features=NAMED)
    assert len(load(folder)[0].train) == 12


def test_class_names_that_are_not_all_different_are_refused(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}
    with pytest.raises(InputError, match="two classes named 'a'"):
        load_data(make(tmp_path / "set", *ROWS, features=features))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    folder = make(tmp_path / "set", *ROWS)
    (folder / "train.parquet").unlink()
    os.mkfifo(folder / "train.parquet")
    with pytest.raises(InputError, match=r"train.parquet is not a regular file"):
        load_data(folder)
    (folder / "train.parquet").unlink()
    write(folder / "train.parquet" / "part-0.parquet", ROWS)  # as Spark writes
    with pytest.raises(InputError, match=r"train.parquet is not a regular file"):
        load_data(folder)


def test_shards_with_other_columns_or_types_are_refused(tmp_path):
    folder = make(tmp_path / "set", *ROWS)
    (folder / "train.parquet").rename(folder / "train-00000-of-00002.parquet")
    for columns, sentence in (
        ([("image", struct(PNGS)), ("kind", HALVES)], "00001-of-00002.parquet has no column 'label'"),
        ([("image", struct(PNGS)), ("label", TEXTS)], "'label' in .* has numbers and text in different files"),
        ([("scan", struct(PNGS)), ("label", HALVES)], "00001-of-00002.parquet has not one column 'image'"),
    ):
        write(folder / "train-00001-of-00002.parquet", columns)
        with pytest.raises(InputError, match=sentence):
            load_data(folder)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train-00000-of-00005"], "1 of the 5 train files"),
        (["train-00000-of-00002", "train-00001-of-00002", "train-00000-of-00003"], "2 and of 3 shards"),
        (["train-00000-of-00001", "train"], r"train-00000-of-00001.parquet beside train.parquet"),
        (["train", "train-more"], r"train-more.parquet beside train.parquet"),
        (["train-00000-of-00001-0abc", "train-00000-of-00001-1abc"], r"two files .*shard 0 of train"),
        (["train-00000-of-00002", "train-00002-of-00002"], r"train shard 2, beyond the 2"),
        (["train-00001-of-00002"], "1 of the 2 train files"),
    ],
)
def test_shards_that_are_missing_or_twice_there_are_refused(tmp_path, names, sentence):
    write(tmp_path / "test.parquet", ROWS)
    for name in names:
        write(tmp_path / f"{name}.parquet", ROWS)
    with pytest.raises(InputError, match=sentence):
        load_data(tmp_path)
    for name in names:  # the same of test files
        (tmp_path / f"{name}.parquet").rename(tmp_path / f"{name.replace('train', 'valid')}.parquet")
    (tmp_path / "test.parquet").rename(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=sentence.replace("train", "valid")):
        load_data(tmp_path)


@pytest.mark.parametrize("names", [["train-00000-of-00002-0a", "train-00001-of-00002-1b"], ["train-a", "train-b"]])
def test_shards_with_a_sum_in_their_name_or_without_numbers_are_read(tmp_path, names):
    write(tmp_path / "test.parquet", ROWS)
    for name in names:
        write(tmp_path / f"{name}.parquet", ROWS)
    assert len(load(tmp_path)[0].train) == 12


def test_rows_that_are_none_are_refused_and_an_empty_shard_among_others_is_not(tmp_path):
    empty = [("image", struct([])), ("label", pa.array([], pa.int64()))]
    folder = make(tmp_path / "set", *ROWS, test=empty)
    with pytest.raises(InputError, match=r"test.parquet has no rows"):
        load_data(folder)
    make(folder, *ROWS)
    (folder / "train.parquet").rename(folder / "train-a.parquet")
    write(folder / "train-b.parquet", empty)
    assert len(load(folder)[0].train) == 6


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path):
    folder = make(tmp_path / "label=7", *ROWS)
    assert read(folder)[1] == HALVES


def test_only_the_chosen_columns_are_read(tmp_path, monkeypatch):
    asked = []
    real = pq.ParquetFile

    class Watched(real):
        def read(self, columns=None, **options):
            asked.append(("read", tuple(columns)))
            return super().read(columns=columns, **options)

        def iter_batches(self, columns=None, **options):
            asked.append(("iter", tuple(columns)))
            return super().iter_batches(columns=columns, **options)

    monkeypatch.setattr(pq, "ParquetFile", Watched)
    read(make(tmp_path / "set", *ROWS, ("caption", ["long"] * 6), ("age", HALVES)))
    assert set(asked) == {("read", ("label",)), ("iter", ("image",))}


def test_pixels_of_sixteen_bits_are_read_on_the_scale_of_the_whole_set(tmp_path):
    def deep(value):
        out = io.BytesIO()
        Image.fromarray(np.full((4, 4), value, dtype=np.uint16)).save(out, "PNG")
        return out.getvalue()

    for name, (values, last, bits) in enumerate(
        (([0, 9, 200], 255, 8), ([0, 160, 1000], 4095, 12), ([0, 256, 9], 65535, 16))
    ):
        train = [("image", struct([deep(v) for v in values])), ("label", [0, 1, 0])]
        test = [("image", struct([deep(last)])), ("label", [1])]
        data, said = load(make(tmp_path / str(name), *train, test=test))
        assert data.train.images[:, 0, 0, 0].tolist() == [value >> bits - 8 for value in values]
        assert torch.equal(data.take_test().images, torch.full((1, 1, 4, 4), 255, dtype=torch.uint8))
        assert said == (
            []
            if bits == 16
            else [f"the 16-bit images have values below {1 << bits}, so they are read as {bits}-bit images"]
        )
