"""Text: which bytes are samples and labels, documents in one split each, folders and Parquet, and what is refused."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from layerlocal import InputError, Recipe, create_network, create_rule, fit, load_data
from layerlocal.data import Batches
from layerlocal.data.task import content_of, task_of
from layerlocal.spec import DataSpec
from layerlocal.training.evaluate import evaluate_split


def letters(name, number):
    """A document that no other is like."""
    return name + "".join(chr(97 + (i * i + len(name) + i // 7) % 26) for i in range(number))


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 6), ("test", 2)):
        (tmp_path / "texts" / split / "deep").mkdir(parents=True)
        for index in range(count):
            place = tmp_path / "texts" / split / ("deep" if index % 2 else "")
            (place / f"{index}.txt").write_text(letters(f"{split}{index}", 100 + 10 * index))
    return tmp_path / "texts"


def text_of(split):
    """Its samples put together again: what the labels say after each sample's first byte."""
    first = bytes(split.images[:, 0].tolist()[:1])
    return first + bytes(split.labels.flatten().tolist())


def test_each_byte_is_labelled_by_the_next(folder):
    data = load_data(folder, context=16, validation=0)
    assert (data.sample_shape, data.vocabulary, data.num_classes, data.validation) == ((16,), 256, 256, None)
    documents = sorted((folder / "train").rglob("*.txt"))
    whole = b"".join(path.read_bytes() + b"\0" for path in documents)
    count = (len(whole) - 1) // 16
    assert len(data.train) == count
    assert text_of(data.train) == whole[: 16 * count + 1]
    assert torch.equal(data.train.images[:, 1:], data.train.labels[:, :-1])


def test_documents_are_in_one_split_each(folder):
    data = load_data(folder, context=4, validation=0.4, seed=3)
    train, validation, test = text_of(data.train), text_of(data.validation), text_of(data.take_test())
    names = [f"{split}{index}".encode() for split, count in (("train", 6), ("test", 2)) for index in range(count)]
    found = [[name for name in names if name in text] for text in (train, validation, test)]
    assert all(found)
    counts = Counter(name for split in found for name in split)
    assert max(counts.values()) == 1
    assert all(name.startswith(b"test") for name in found[2])
    share = len(validation) / (len(train) + len(validation))
    assert 0.3 < share < 0.65  # until it is full, by whole documents


def test_a_test_split_is_drawn_by_document_where_there_is_none(tmp_path):
    for index in range(8):
        (tmp_path / f"{index}.md").write_text(letters(f"doc{index}", 200))
    data = load_data(tmp_path, context=8, test=0.25, validation=0, seed=1)
    train, test = text_of(data.train), text_of(data.take_test())
    in_test = [i for i in range(8) if f"doc{i}".encode() in test]
    assert len(in_test) == 2
    assert all((f"doc{i}".encode() in train) == (i not in in_test) for i in range(8))
    other = load_data(tmp_path, context=8, test=0.25, validation=0, seed=2)
    assert text_of(other.take_test()) != test


def test_parquet_with_a_column_of_text(tmp_path):
    rows = {"train": ["alpha beta gamma delta", "epsilon zeta eta theta"], "test": ["iota kappa lambda mu"]}
    for split, texts in rows.items():
        pq.write_table(
            pa.table({"text": texts, "id": list(range(len(texts)))}), tmp_path / f"{split}-00000-of-00001.parquet"
        )
    data = load_data(tmp_path, context=5, validation=0)
    whole = b"".join(text.encode() + b"\0" for text in rows["train"])
    assert text_of(data.train) == whole[: 5 * ((len(whole) - 1) // 5) + 1]
    assert data.provenance["text_column"] == "text"


def test_another_column_of_text_is_asked_for_by_name(tmp_path):
    for split in ("train", "test"):
        table = pa.table({"text": ["a" * 30, "b" * 30], "code": ["c" * 30, "d" * 30]})
        pq.write_table(table, tmp_path / f"{split}.parquet")
    data = load_data(tmp_path, labels="code", context=4, validation=0)
    assert set(text_of(data.train)) <= set(b"cd\0")


def test_the_embedded_text_is_what_it_says(monkeypatch):
    data = load_data("python_library")
    assert data.sample_shape == (128,)
    assert data.provenance["licence"] == "PSF-2.0"
    total = sum(data.provenance["num_images"].values()) * 128
    assert 1_900_000 < total < 2_000_000
    text = text_of(data.train)
    assert b"def __init__(self" in text
    assert b"import" in text_of(data.take_test())
    labels = np.frombuffer(text_of(data.take_test()), np.uint8)
    assert data.chance == pytest.approx(np.bincount(labels).max() / len(labels), abs=1e-4)


def test_samples_are_drawn_by_seed():
    few = [load_data("python_library", num_train=50, num_test=20, validation=0.1, seed=seed) for seed in (0, 0, 1)]
    assert [(len(d.train), len(d.validation)) for d in few] == [(45, 5)] * 3
    assert torch.equal(few[0].train.images, few[1].train.images)
    assert not torch.equal(few[0].train.images, few[2].train.images)


def test_the_task_is_known_without_making_the_data(folder):
    for spec in (DataSpec(source="python_library", num_train=100), DataSpec(source=str(folder), context=4)):
        task, data = task_of(spec), load_data(**spec.model_dump(exclude={"content_sha256"}))
        assert (task.sample_shape, task.vocabulary, task.num_classes) == (data.sample_shape, 256, 256)
        counts = (len(data.train), len(data.validation), data.provenance["num_images"]["test"])
        assert (task.num_train, task.num_validation, task.num_test) == counts
        assert task.network_input == {"vocabulary": 256, "context": data.sample_shape[0]}


def test_what_the_data_are_changes_with_a_byte_and_not_with_the_place(folder, tmp_path):
    first = content_of(DataSpec(source=str(folder)))
    copy = tmp_path / "copy"
    folder.rename(copy)
    assert content_of(DataSpec(source=str(copy))) == first
    file = next((copy / "test").glob("*.txt"))
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert content_of(DataSpec(source=str(copy))) != first
    assert content_of(DataSpec(source="python_library")) is None


def test_batches_are_whole_numbers(folder):
    data = load_data(folder, context=16, validation=0)
    batches = Batches(data.train, batch_size=8, mean=data.mean, std=data.std, shuffle=True, seed=0)
    seen = 0
    for x, y in batches.epoch(0):
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x[:, 1:], y[:, :-1])
        seen += len(x)
    assert seen == len(data.train)


def test_nats_are_the_mean_cross_entropy_of_a_byte(folder):
    data = load_data(folder, context=16, validation=0.3)
    network = create_network("gpt", **data.network_input, width=0.25, depth=2, seed=0)
    rule = create_rule("local-heads", network, num_classes=256, seed=0)
    fit(rule, data, Recipe(epochs=1, batch_size=8))
    rule.eval()
    found = evaluate_split(rule, data, data.validation)
    split = data.validation
    with torch.no_grad():
        blocks = rule.block_scores(split.images.long())
        fused = rule.scores(split.images.long())
    y = split.labels.long().flatten()
    by_hand = -fused.log_softmax(-1).reshape(-1, 256)[torch.arange(len(y)), y].double().mean().item()
    assert found.nats == pytest.approx(by_hand, rel=1e-5)
    assert found.num_samples == len(y)
    assert found.accuracy == pytest.approx((fused.argmax(-1).flatten() == y).double().mean().item())
    for index, name in enumerate(("block0", "block1")):
        by_hand = -blocks[index].log_softmax(-1).reshape(-1, 256)[torch.arange(len(y)), y].double().mean().item()
        assert found.block_nats[name] == pytest.approx(by_hand, rel=1e-5)


def test_an_untrained_answer_costs_about_the_logarithm_of_the_vocabulary(folder):
    data = load_data(folder, context=16, validation=0.3)
    network = create_network("gpt", **data.network_input, width=0.25, depth=1, seed=0)
    rule = create_rule("mono-forward", network, num_classes=256, seed=0)
    with torch.no_grad():
        rule.heads["block0"].linear.weight.mul_(1e-3)
    assert evaluate_split(rule, data, data.validation).nats == pytest.approx(math.log(256), abs=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 3}, "classes is for images, and python_library is text"),
        ({"image_size": 8}, "image_size is for images"),
        ({"compose": "side"}, "compose is for images"),
        ({"draw": "groups", "classes": None}, "draw is for images"),
        ({"context": 0}, "context must be"),
        ({"context": 10**7}, "split of python_library has .* bytes, and a sample of context 10000000 needs 10000001"),
        ({"num_train": 10**6}, "fewer than the .* asked for"),
    ],
)
def test_choices_that_are_not_for_text(options, words):
    with pytest.raises(InputError, match=words):
        load_data("python_library", **options)


def test_a_context_is_for_text_alone():
    with pytest.raises(InputError, match="context=8 is for text, and fashion_mnist_subset is none"):
        load_data("fashion_mnist_subset", context=8)
    with pytest.raises(InputError, match="context=8 is for text, and teacher_student is none"):
        load_data("teacher_student", context=8)


def test_folders_that_lack_something(tmp_path):
    (tmp_path / "one.txt").write_text("x" * 500)
    with pytest.raises(
        InputError, match=r"has no test/\*.txt; put the test text there, or draw it with --set data.test=0.1"
    ):
        load_data(tmp_path)
    with pytest.raises(InputError, match="the text is 1 document, too few to draw a test split"):
        load_data(tmp_path, test=0.5)
    (tmp_path / "two.txt").write_text("")
    with pytest.raises(InputError, match="bytes, and a sample of context 128 needs 129"):
        load_data(tmp_path, test=0.5, validation=0)


def test_a_row_without_text_is_named(tmp_path):
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": ["a" * 40, None]}), tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match=r"row 1 of .*train.parquet has no text in 'text'"):
        load_data(tmp_path, context=4)


def test_images_with_a_column_of_text_stay_images(tmp_path):
    table = pa.table({"image": [b"\x89PNG" + bytes(100)] * 2, "text": ["a", "b"], "label": [0, 1]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match="image"):
        load_data(tmp_path)


def test_parquet_may_lie_in_one_folder_inside_as_on_the_hub(tmp_path):
    place = tmp_path / "corpus" / "data"
    place.mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": [split * 20]}), place / f"{split}-00000-of-00001.parquet")
    data = load_data(tmp_path / "corpus", context=4, validation=0)
    assert (data.name, set(text_of(data.train))) == ("corpus", set(b"train\0"))


def test_a_test_folder_without_a_training_folder_is_not_taken_for_training_text(tmp_path):
    (tmp_path / "test").mkdir()
    for place in (tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "test" / "c.txt"):
        place.write_text("x" * 300)
    with pytest.raises(InputError, match=r"has test/ and no train/; put the training text into train/"):
        load_data(tmp_path, test=0.3)


def test_a_name_of_images_goes_before_a_folder_of_text_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion_mnist_subset").mkdir()
    (tmp_path / "fashion_mnist_subset" / "notes.txt").write_text("x" * 300)
    assert task_of(DataSpec(num_train=100)).sample_shape == (1, 28, 28)
    assert load_data("fashion_mnist_subset", num_train=100).vocabulary is None


def test_a_text_beside_images_does_not_make_them_text(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            (place / "0_boxes.txt").write_text("1 2 3")
            Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(place / "1.png")
    with pytest.warns(UserWarning, match="4 files .* are left out"):
        data = load_data(tmp_path, validation=0)
    assert (data.vocabulary, data.num_classes) == (None, 2)


def test_hidden_files_and_folders_are_no_documents(folder):
    before = text_of(load_data(folder, context=16, validation=0).train)
    (folder / "train" / ".git").mkdir()
    (folder / "train" / ".git" / "config.txt").write_text("secret" * 100)
    (folder / "train" / ".hidden.txt").write_text("secret" * 100)
    assert text_of(load_data(folder, context=16, validation=0).train) == before
