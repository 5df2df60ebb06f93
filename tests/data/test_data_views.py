"""Which classes a task has, two images in one, own copies of benchmarks, and the teacher's dials: against plain numpy and counting."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from layerlocal.data import TeacherOptions, load_data
from layerlocal.data import raw as raw_module
from layerlocal.data.arguments import Request
from layerlocal.data.assemble import assemble
from layerlocal.data.pairs import HOW, plan_composition
from layerlocal.data.raw import Raw, RawSplit
from layerlocal.data.teacher import create_teacher, draw_balanced
from layerlocal.data.views import DRAWS, draw_groups, find_superclasses
from layerlocal.spec import DataSpec, RunSpec
from layerlocal.types import InputError, derive_seed

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KINDS = np.array([2, 0, 1, 3, 0, 1, 2, 3, 1, 0, 3, 2])
"""Superclass of each of twelve classes: four of three."""
TWELVE = [f"c{k}" for k in range(12)]


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERLOCAL_DATA", raising=False)


def ask(**options):
    usual = dict.fromkeys(("labels", "classes", "image_size", "num_train", "num_test", "superclass", "compose"))
    return Request(**(usual | {"validation": 0.25, "seed": 0, "draw": "any", "held_out": 0.2} | options))


def make_raw(num_classes=4, each=12, *, each_test=6, shape=(1, 4, 6), superclasses=None, opened=None):
    """Random pictures, no two alike; ``opened`` notes which split's pictures are looked at."""

    def split(name, number, seed):
        images = np.random.default_rng(seed).integers(0, 256, (num_classes * number, *shape), dtype=np.uint8)
        labels = np.random.default_rng(seed + 1).permutation(np.arange(num_classes * number) % num_classes)

        def open_images():
            if opened is not None:
                opened.append(name)
            return images

        return RawSplit(labels=labels, open_images=open_images)

    names = [f"c{k}" for k in range(num_classes)]
    train, test = split("train", each, 10), split("test", each_test, 20)
    return Raw(name="toy", train=train, test=test, class_names=names, provenance={}, superclasses=superclasses)


def as_bytes(images):
    return [np.asarray(image).tobytes() for image in images]


def where(images, split):
    """The row of the raw split that each picture is."""
    rows = {key: row for row, key in enumerate(as_bytes(split.open_images()))}
    return np.array([rows[key] for key in as_bytes(images)])


# --- which classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "groups"), [(10, 2), (10, 5), (10, 10), (12, 3), (100, 20)])
def test_groups_partition_all_classes_into_equal_parts(classes, groups):
    found = draw_groups([str(k) for k in range(classes)], groups, draw="groups", seed=3)
    assert [len(group) for group in found] == [classes // groups] * groups
    assert sorted(k for group in found for k in group) == list(range(classes))


@pytest.mark.parametrize("seed", range(5))
def test_within_is_one_superclass_and_across_is_as_many_as_classes(seed):
    within = draw_groups(TWELVE, 3, draw="within", superclasses=KINDS, seed=seed)
    across = draw_groups(TWELVE, 4, draw="across", superclasses=KINDS, seed=seed)
    assert len({KINDS[k] for [k] in within}) == 1 and len({k for [k] in within}) == 3
    assert sorted(KINDS[k] for [k] in across) == [0, 1, 2, 3]
    assert within == sorted(within) and across == sorted(across)


@pytest.mark.parametrize("superclass", [0, 1, 2, 3])
def test_the_superclass_asked_for_is_the_one_drawn_from(superclass):
    for seed in range(5):
        found = draw_groups(TWELVE, 2, draw="within", superclasses=KINDS, superclass=superclass, seed=seed)
        assert [KINDS[k] for [k] in found] == [superclass] * 2


def test_within_skips_superclasses_with_too_few_classes():
    kinds = np.array([0, 0, 1, 1, 1, 2])
    drawn = {str(draw_groups(list("abcdef"), 3, draw="within", superclasses=kinds, seed=seed)) for seed in range(20)}
    assert drawn == {"[[2], [3], [4]]"}


@pytest.mark.parametrize(("draw", "classes"), [("any", 4), ("within", 2), ("across", 3), ("groups", 4)])
def test_the_draw_is_a_function_of_the_seed_alone(draw, classes):
    def draws():
        return [draw_groups(TWELVE, classes, draw=draw, superclasses=KINDS, seed=seed) for seed in range(8)]

    first = draws()
    np.random.seed(123)
    torch.manual_seed(123)
    assert draws() == first
    assert len({str(groups) for groups in first}) > 4


@pytest.mark.parametrize(("draw", "classes"), [("within", 2), ("across", 2), ("groups", 4)])
def test_every_class_is_drawn_equally_often(draw, classes):
    number = 400
    found = [draw_groups(TWELVE, classes, draw=draw, superclasses=KINDS, seed=seed) for seed in range(number)]
    counts = Counter(k for groups in found for group in groups[:1] for k in group)
    if draw == "groups":  # the first group has 3 of 12
        expected, chance = number / 4, 1 / 4
    else:
        counts = Counter(k for groups in found for [k] in groups)
        expected, chance = number / 6, 1 / 6
    assert set(counts) == set(range(12))
    assert all(abs(count - expected) < 4.5 * (number * chance * (1 - chance)) ** 0.5 for count in counts.values())


def test_superclasses_are_the_one_column_constant_within_every_class():
    label = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    coarse, crossing, finer = np.array([1, 0, 0, 1] * 2), np.array([0, 1, 0, 1, 1, 0, 0, 1]), np.arange(8)
    assert find_superclasses(label, {"crossing": crossing, "coarse": coarse, "finer": finer}).tolist() == [1, 0, 0, 1]
    assert find_superclasses(label, {"renamed": 3 - label}) is None
    assert find_superclasses(coarse, {"label": label}) is None
    assert find_superclasses(label, {}) is None
    with pytest.raises(InputError, match=r"columns .*\(coarse, other\)"):
        find_superclasses(label, {"coarse": coarse, "other": 1 - coarse})


def test_cifar100_has_twenty_superclasses_of_five():
    files = sorted((SHARED / "cifar100").glob("t*-*.parquet"))
    if not files:
        pytest.skip("the shared CIFAR-100 Parquet folder is not here")
    table = pq.read_table(files[0], columns=["fine_label", "coarse_label"])  # labels only, no picture
    fine, coarse = (table.column(name).to_numpy() for name in ("fine_label", "coarse_label"))
    found = find_superclasses(fine, {"coarse_label": coarse})
    assert np.bincount(found).tolist() == [5] * 20
    assert np.array_equal(found[fine], coarse)
    names = [str(k) for k in range(100)]
    within = draw_groups(names, 5, draw="within", superclasses=found, superclass=0, seed=1)
    assert within == [[4], [30], [55], [72], [95]]  # aquatic mammals: beaver, dolphin, otter, seal, whale
    assert len({found[k] for [k] in draw_groups(names, 20, draw="across", superclasses=found, seed=1)}) == 20


def test_group_labels_are_those_of_the_classes_they_are_made_of():
    data = load_data("fashion_mnist_subset", classes=5, draw="groups", validation=0, seed=2)
    whole = load_data("fashion_mnist_subset", validation=0)
    members = [[whole.class_names.index(part) for part in name.split(" + ")] for name in data.class_names]
    assert sorted(k for group in members for k in group) == list(range(10)) and {len(g) for g in members} == {2}
    group_of = {k: position for position, group in enumerate(members) for k in group}
    for found, source in ((data.train, whole.train), (data.take_test(), whole.take_test())):
        assert torch.equal(found.images, source.images)
        assert found.labels.tolist() == [group_of[k] for k in source.labels.tolist()]
    assert data.num_classes == 5 and data.chance == 0.2


@pytest.mark.parametrize(
    ("draw", "classes"), [("groups", 2), ("groups", 6), ("superclasses", None)], ids=["two", "six", "superclasses"]
)
def test_other_labels_of_all_classes_mean_the_same_images(draw, classes):
    raw = make_raw(12, superclasses=KINDS)
    numbers = {"num_train": 60, "num_test": 24, "seed": 4}
    fine, other = assemble(raw, ask(**numbers)), assemble(raw, ask(draw=draw, classes=classes, **numbers))
    assert torch.equal(other.train.images, fine.train.images)
    assert torch.equal(other.validation.images, fine.validation.images)
    test, fine_test = other.take_test(), fine.take_test()
    assert torch.equal(test.images, fine_test.images)
    pairs = set(zip(fine_test.labels.tolist(), test.labels.tolist(), strict=True))
    assert len(pairs) == 12  # each class has one label
    assert test.labels.bincount().tolist() == [24 // other.num_classes] * other.num_classes
    if draw == "superclasses":
        assert all(KINDS[k] == label for k, label in pairs)


@pytest.mark.parametrize(("draw", "classes"), [("within", 3), ("across", 4)])
def test_a_class_has_the_images_it_has_among_all_classes(draw, classes):
    raw = make_raw(12, superclasses=KINDS)
    found = assemble(raw, ask(draw=draw, classes=classes, num_train=5 * classes, validation=0, seed=7))
    whole = assemble(raw, ask(num_train=60, validation=0, seed=7))
    for label, name in enumerate(found.class_names):
        own = whole.train.images[whole.train.labels == int(name[1:])]
        assert len(own) == 5 and torch.equal(found.train.images[found.train.labels == label], own)


def test_the_spec_and_the_data_know_the_same_draws_and_compositions():
    known = {name: set(str(DataSpec.model_fields[name].annotation).split("'")[1::2]) for name in ("draw", "compose")}
    assert known == {"draw": set(DRAWS), "compose": set(HOW)}


# --- through Parquet files --------------------------------------------------------------------------------------------


def write_parquet(path, number, *, columns=("fine_label", "coarse_label"), seed=0):
    """Grey pictures of 6 × 4; class k of twelve in superclass KINDS[k]."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(number):
        out = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).save(out, "PNG")
        images.append({"bytes": out.getvalue(), "path": None})
    fine = np.arange(number) % 12
    values = {"fine_label": fine, "coarse_label": KINDS[fine], "label": fine % 3}
    names = {"fine_label": TWELVE, "coarse_label": list("wxyz"), "label": list("abc")}
    table = pa.table({"image": images, **{name: values[name] for name in columns}})
    features = {name: {"names": names[name], "_type": "ClassLabel"} for name in columns}
    info = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)


def make_folder(folder, **options):
    write_parquet(folder / "train-00000-of-00001.parquet", 48, **options)
    write_parquet(folder / "test-00000-of-00001.parquet", 24, **(options | {"seed": 99}))
    return folder


def test_views_come_from_the_second_label_column_of_a_folder(tmp_path):
    folder = make_folder(tmp_path / "set")
    within = load_data(folder, classes=2, draw="within", superclass=3, validation=0, seed=1)
    assert {KINDS[int(name[1:])] for name in within.class_names} == {3} and within.num_classes == 2
    across = load_data(folder, classes=4, draw="across", validation=0, seed=1)
    assert sorted(KINDS[int(name[1:])] for name in across.class_names) == [0, 1, 2, 3]
    coarse = load_data(folder, draw="superclasses", validation=0)
    assert coarse.train.labels.tolist() == KINDS[np.arange(48) % 12].tolist()
    assert coarse.train.labels.tolist() == load_data(folder, labels="coarse", validation=0).train.labels.tolist()
    assert within.test_reads == across.test_reads == coarse.test_reads == 0


def test_superclasses_are_missing_where_the_label_is_the_coarse_one_or_the_only_one(tmp_path):
    both, one = make_folder(tmp_path / "both"), make_folder(tmp_path / "one", columns=("fine_label",))
    for folder, options in ((both, {"labels": "coarse"}), (one, {}), ("fashion_mnist_subset", {})):
        for draw in ("within", "across"):
            with pytest.raises(InputError, match="needs superclasses: a second label column") as caught:
                load_data(folder, classes=2, draw=draw, **options)
            assert "\n" not in str(caught.value)


# --- own copies -------------------------------------------------------------------------------------------------------


def no_hub(*_, **__):
    raise AssertionError("the Hub was asked")


def test_a_benchmark_s_own_copy_is_used_and_the_hub_is_not_asked(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "mine" / "cifar100")
    monkeypatch.setattr(raw_module, "hub_sources", no_hub)
    direct = load_data(folder, validation=0)
    with pytest.raises(AssertionError, match="the Hub was asked"):
        load_data("cifar100")
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / "mine"))
    own = load_data("cifar100", validation=0)
    assert torch.equal(own.train.images, direct.train.images) and torch.equal(own.train.labels, direct.train.labels)
    assert own.name == "cifar100" and own.provenance["source"] == "own copy of cifar100"
    assert own.provenance["checksum"] == direct.provenance["checksum"]
    assert str(tmp_path) not in json.dumps(own.provenance)
    assert load_data("cifar100", labels="coarse").num_classes == 4
    with pytest.raises(AssertionError, match="the Hub was asked"):  # no own copy of this one
        load_data("cifar10")


def test_a_name_of_one_s_own_is_looked_up_and_a_path_is_not(tmp_path, monkeypatch):
    make_folder(tmp_path / "place" / "birds")
    make_folder(tmp_path / "here", seed=1)
    make_folder(tmp_path / "here" / "sub" / "birds", seed=2)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="unknown data 'birds'"):
        load_data("birds")
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / "place"))
    found = load_data("birds", validation=0)
    assert torch.equal(found.train.images, load_data(tmp_path / "place/birds", validation=0).train.images)
    assert not torch.equal(load_data("./sub/birds", validation=0).train.images, found.train.images)
    monkeypatch.chdir(tmp_path / "here" / "sub")
    with pytest.warns(UserWarning, match=r"place/birds, .*birds here; .*\./birds"):
        load_data("birds")
    monkeypatch.chdir(tmp_path / "place")  # the very same folder: nothing to say
    load_data("birds")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="unknown data 'fish'"):
        load_data("fish")
    make_folder(tmp_path / "place", seed=3)  # "." is the folder one is in, whatever lies in LAYERLOCAL_DATA
    here = load_data(tmp_path / "here", validation=0).train.images
    assert torch.equal(load_data(".", validation=0).train.images, here)
    monkeypatch.setenv("LAYERLOCAL_DATA", "")
    with pytest.raises(InputError, match="unknown data 'birds'"):
        load_data("birds")
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / "misspelt"))
    for name in ("birds", "cifar100"):  # neither looked for elsewhere nor fetched
        with pytest.raises(InputError, match=r"LAYERLOCAL_DATA .*misspelt'"):
            load_data(name)


# --- two images in one: the plan --------------------------------------------------------------------------------------


def linked_by(trained):
    """Classes of both factors (the second's after the first's) reached from the first class by trained pairs, one after the other."""
    edges = [(a, len(trained) + b) for a, b in np.argwhere(trained).tolist()]
    found, before = {0}, set()
    while found != before:
        before = set(found)
        found |= {node for edge in edges for node in edge if found & set(edge)}
    return found


@pytest.mark.parametrize(
    ("how", "classes", "sizes"),
    [("side", 2, (2, 2)), ("side", 5, (5, 5)), ("overlay", 4, (2, 2)), ("overlay", 7, (3, 4)), ("overlay", 10, (5, 5))],
)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3])
def test_held_out_pairs_leave_every_class_of_both_factors_in_training(how, classes, sizes, share):
    for seed in range(5):
        plan = plan_composition(classes, how=how, held_out=share, seed=seed)
        trained = ~plan.held_out
        assert (len(plan.first), len(plan.second)) == trained.shape == sizes
        assert plan.held_out.sum() == round(share * sizes[0] * sizes[1])
        assert trained.any(0).all() and trained.any(1).all()
        per_class = plan.held_out.sum(1)
        assert per_class.max() - per_class.min() <= 1
        assert linked_by(trained) == set(range(sum(sizes)))
        more = plan_composition(classes, how=how, held_out=share + 0.05, seed=seed).held_out
        assert not (plan.held_out & ~more).any()
    factors = (set(plan.first), set(plan.second))
    assert factors[0] | factors[1] == set(range(classes))
    assert factors[0] == factors[1] if how == "side" else not factors[0] & factors[1]


@pytest.mark.parametrize("how", ["side", "overlay"])
def test_which_pairs_are_held_out_depends_on_the_seed_alone(how):
    plans = [plan_composition(10, how=how, held_out=0.2, seed=seed).held_out for seed in range(6)]
    np.random.seed(5)
    again = [plan_composition(10, how=how, held_out=0.2, seed=seed).held_out for seed in range(6)]
    assert all(map(np.array_equal, plans, again))
    assert len({plan.tobytes() for plan in plans}) == 6


@pytest.mark.parametrize(
    ("how", "classes", "share", "message"),
    [
        ("side", 3, 0.9, "held_out=0.9 of 3×3 pairs"),
        ("side", 2, 0.5, "leaves too few"),  # every class is trained, but always with the same partner
        ("side", 3, 0.55, "leaves too few"),  # the 4 of 9 that are left cannot link six classes
        ("side", 3, 0.99, "leaves too few"),
        ("side", 3, 1.0, "below 1"),
        ("side", 3, -0.1, "at least 0"),
        ("overlay", 3, 0.2, r"at least 4 classes, .*3"),
        ("side", 1, 0.2, "at least 2 classes"),
        ("above", 4, 0.2, "unknown compose 'above'; known: overlay, side"),
    ],
)
def test_an_impossible_plan_is_one_clear_sentence(how, classes, share, message):
    with pytest.raises(InputError, match=message) as caught:
        plan_composition(classes, how=how, held_out=share, seed=0)
    assert "\n" not in str(caught.value)


# --- two images in one: the images ------------------------------------------------------------------------------------


def half_width(images):
    """Columns averaged in twos, by plain numpy."""
    return np.rint((images[..., 0::2].astype(np.float64) + images[..., 1::2]) / 2).astype(np.uint8)


def parts_of(images, split, how):
    """The rows of the raw split that each composed picture is made of: (N, 2)."""
    base = np.asarray(split.open_images())
    if how == "side":
        width = base.shape[-1] // 2
        rows = {key: row for row, key in enumerate(as_bytes(half_width(base[..., : 2 * width])))}
        assert len(rows) == len(base)
        halves = images[..., :width].numpy(), images[..., width : 2 * width].numpy()
        return np.array([[rows[key] for key in as_bytes(half)] for half in halves]).T
    sums = (base[:, None].astype(int) + base[None] + 1) // 2  # (N, N, C, H, W), half a grey level is rounded up
    rows = {sums[i, j].astype(np.uint8).tobytes(): (i, j) for i in range(len(base)) for j in range(len(base))}
    found = np.array([rows[key] for key in as_bytes(images)])
    first = (
        split.labels[found] < 2
    )  # either order has the same sum: the first factor has the first half of four classes
    return np.where(first[:, :1], found, found[:, ::-1])


def composed(how, *, shape=(1, 4, 6), opened=None, **options):
    raw = make_raw(4, shape=shape, opened=opened)
    return raw, assemble(raw, ask(compose=how, **({"num_train": 96, "num_test": 40} | options)))


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 4, 6), (2, 4, 7)], ids=str)
@pytest.mark.parametrize("how", ["side", "overlay"])
def test_a_composed_image_is_made_of_images_of_its_two_classes(how, shape):
    raw, data = composed(how, shape=shape)
    second = 4 if how == "side" else 2
    for found, split in ((data.train, raw.train), (data.validation, raw.train), (data.take_test(), raw.test)):
        assert found.images.dtype == torch.uint8 and found.sample_shape == shape
        first_label, second_label = split.labels[parts_of(found.images, split, how)].T
        if how == "overlay":
            assert (first_label < 2).all() and (second_label >= 2).all()
            second_label = second_label - 2
        assert (first_label * second + second_label).tolist() == found.labels.tolist()
        if how == "side" and shape[-1] % 2:
            assert not found.images[..., -1].any()


@pytest.mark.parametrize("how", ["side", "overlay"])
def test_training_and_validation_never_show_a_held_out_pair_and_the_test_masks_say_which(how):
    _, data = composed(how, held_out=0.25)
    pairs = 16 if how == "side" else 4
    trained = set(data.train.labels.tolist())
    assert len(trained) == pairs - pairs // 4
    assert set(data.validation.labels.tolist()) == trained
    assert data.train.groups == {} == data.validation.groups
    test = data.take_test()
    assert set(test.labels.tolist()) == set(range(pairs))
    seen = torch.tensor([label in trained for label in test.labels.tolist()])
    assert set(test.groups) == {"seen", "unseen"}
    assert torch.equal(test.groups["seen"], seen) and torch.equal(test.groups["unseen"], ~seen)
    size = 4 if how == "side" else 2
    assert {label // size for label in trained} == {label % size for label in trained} == set(range(size))


@pytest.mark.parametrize("how", ["side", "overlay"])
def test_pairs_are_balanced_and_numbers_are_those_asked_for(how):
    _, data = composed(how, num_train=100, num_test=43)
    assert (len(data.train), len(data.validation)) == (75, 25)
    test = data.take_test()
    for split in (data.train, data.validation, test):
        counts = np.array([count for count in split.labels.bincount() if count])
        assert counts.max() - counts.min() <= 1
    assert data.provenance["num_images"] == {"train": 75, "validation": 25, "test": 43}
    assert data.num_classes == len(data.class_names) == (16 if how == "side" else 4)
    assert data.class_names[1] == ("c0 | c1" if how == "side" else "c0 | c3")
    assert data.chance == test.labels.bincount().max() / 43
    whole = composed(how, num_train=None, num_test=None, validation=0)[1]
    assert len(whole.train) == 48 and len(whole.take_test()) == 24 and whole.validation is None


def test_training_and_validation_pictures_share_no_base_image_and_parts_are_drawn_apart():
    raw, data = composed("side", num_train=400)
    train, validation = (parts_of(split.images, raw.train, "side") for split in (data.train, data.validation))
    assert not set(train.ravel()) & set(validation.ravel())
    assert len(set(train.ravel())) == 36 and len(set(validation.ravel())) <= 12
    assert len({tuple(pair) for pair in train}) > 200  # of 300: both parts are drawn, independently


@pytest.mark.parametrize("how", ["side", "overlay"])
def test_composed_data_are_a_function_of_the_seed(how):
    def load(seed):
        _, data = composed(how, seed=seed, validation=0)
        return data.train, data.take_test()

    first, same, other = load(1), load(1), load(2)
    for a, b, c in zip(first, same, other, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        assert not torch.equal(a.images, c.images)
    _, halved = composed(how, validation=0.5)  # as many base images and pairs in both, and yet another draw for each
    assert not torch.equal(halved.train.labels, halved.validation.labels)


def test_composed_test_pictures_stay_sealed_until_taken():
    opened = []
    _, data = composed("side", opened=opened)
    assert data.test_reads == 0 and set(opened) == {"train"}
    first, second = data.take_test(), data.take_test()
    assert data.test_reads == 2 and opened.count("test") == 2
    assert torch.equal(first.images, second.images)


def test_composition_goes_with_groups_of_classes():
    raw = make_raw(4)
    data = assemble(raw, ask(compose="side", draw="groups", classes=2, num_train=64, num_test=16, held_out=0.25))
    first, second = (half.split(" + ") for half in data.class_names[1].split(" | "))
    labels = raw.train.labels[parts_of(data.train.images, raw.train, "side")]
    groups = np.array([[f"c{k}" in second for k in pair] for pair in labels])  # 1 where it is the second group
    assert sorted(first + second) == raw.class_names
    assert (groups @ [2, 1]).tolist() == data.train.labels.tolist()


def test_parts_of_a_split_keep_its_groups():
    _, data = composed("side")
    test = data.take_test()
    index = torch.tensor([7, 3, 3, 20])
    assert torch.equal(test.subset(index).groups["unseen"], test.groups["unseen"][index])
    assert torch.equal(test.to("cpu").groups["seen"], test.groups["seen"])


def test_a_class_without_test_images_is_refused_before_training():
    raw = make_raw(4)
    keep = raw.test.labels != 2
    images = raw.test.open_images()[keep]
    test = RawSplit(labels=raw.test.labels[keep], open_images=lambda: images)
    lacking = Raw(name="toy", train=raw.train, test=test, class_names=raw.class_names, provenance={})
    with pytest.raises(InputError, match=r"test images .*none of class"):
        assemble(lacking, ask(compose="side", num_train=96, num_test=40))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draw": "groups", "classes": 3}, r"classes=3 .*10 classes"),
        ({"draw": "groups", "classes": 1}, "random groups"),
        ({"draw": "groups", "classes": 20}, "random groups"),
        ({"draw": "groups"}, "draw='groups' needs the number of classes"),
        ({"draw": "groups", "classes": [1, 2]}, "needs the number of classes"),
        ({"draw": "within", "classes": 2}, "needs superclasses"),
        ({"draw": "superclasses"}, "needs superclasses"),
        ({"draw": "above", "classes": 2}, "unknown draw 'above'; known: .*within"),
        ({"superclass": 1}, "superclass=1 goes with draw='within' only"),
        ({"superclass": 1, "draw": "groups", "classes": 2}, "goes with draw='within' only"),
        ({"compose": "above"}, "unknown compose 'above'"),
        ({"compose": "overlay", "classes": 3}, r"at least 4 classes, .*3"),
        ({"compose": "side", "held_out": 0.95}, "held_out=0.95 of 10×10 pairs"),
        ({"compose": "side", "num_train": 80, "num_test": 100}, r"72 train images .*80 pairs"),
        ({"compose": "side", "num_train": 700, "num_test": 100}, r"70 validation images .*80 pairs"),
        ({"compose": "side", "num_train": 800, "num_test": 99}, r"99 test images .*100 pairs"),
        ({"compose": "side", "num_train": 0}, "0 train images are too few"),
        ({"compose": "side", "num_test": 0}, "0 test images are too few"),
        ({"source": "teacher_student", "draw": "groups", "classes": 2}, "draw does not apply to teacher_student"),
        ({"source": "teacher_student", "compose": "side"}, "compose does not apply to teacher_student"),
        ({"source": "teacher_student", "superclass": 1}, "superclass does not apply to teacher_student"),
        ({"source": "teacher_student", "teacher": {"similarity": 1.0}}, r"similarity=1.0 .*at least 0"),
        ({"source": "teacher_student", "teacher": {"similarity": -0.1}}, "similarity=-0.1"),
        ({"source": "teacher_student", "teacher": {"noise": -1}}, "noise=-1 must be at least 0"),
        ({"source": "teacher_student", "teacher": {"groups": 0}}, r"groups .*got 0"),
        ({"source": "teacher_student", "teacher": {"noise": "much"}}, r"noise .*got 'much'"),
    ],
)
def test_bad_choices_are_one_clear_sentence(options, message):
    with pytest.raises(InputError, match=message) as caught:
        load_data(**({"source": "fashion_mnist_subset"} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draw": "within", "classes": 4}, r"classes=4 .*one superclass .*3 classes"),
        ({"draw": "within", "classes": 1}, "classes=1 of one superclass"),
        ({"draw": "within", "classes": 2, "superclass": 9}, r"superclass=9 .*2 classes; .*0, 1"),
        ({"draw": "across", "classes": 5}, r"classes=5 .*4 superclasses"),
        ({"draw": "across", "classes": 1}, "classes=1 of different superclasses"),
        ({"draw": "superclasses", "classes": 2}, "leave out classes=2"),
    ],
)
def test_more_classes_than_the_superclasses_have_is_one_clear_sentence(options, message):
    with pytest.raises(InputError, match=message) as caught:
        assemble(make_raw(12, superclasses=KINDS), ask(**options))
    assert "\n" not in str(caught.value)


def test_composing_vectors_is_refused():
    with pytest.raises(InputError, match="toy has none"):
        assemble(make_raw(4, shape=(5,)), ask(compose="side", num_train=96, num_test=40))


# --- the teacher's dials ----------------------------------------------------------------------------------------------


def stream(seed, *purpose):
    return torch.Generator().manual_seed(derive_seed(seed, "teacher_student", *purpose))


def draw_by_hand(teacher, quota, what, *, seed, noise=0.0):
    """One pool, one input after the other: kept while its class has room."""
    pool = torch.randn(1024, 64, generator=stream(seed, "inputs", what))
    hidden = (pool @ teacher.first.T).clamp(min=0)
    logits = (hidden @ teacher.second.T - teacher.centre) / teacher.spread + teacher.bias
    if noise:
        logits = logits + noise * torch.randn(1024, len(quota), generator=stream(seed, "noise", what))
    left, rows = list(quota), []
    labels = logits.argmax(1).tolist()
    for row, label in enumerate(labels):
        if left[label]:
            left[label] -= 1
            rows.append(row)
    assert not any(left), "the first pool is enough here"
    return pool[rows], torch.tensor(labels)[rows]


def test_a_teacher_without_dials_has_the_weights_and_data_of_the_formula_bit_for_bit():
    for options in (TeacherOptions(), TeacherOptions(groups=3), TeacherOptions(groups=2, similarity=0.0, noise=0.0)):
        teacher = create_teacher(options, num_classes=5, seed=3)
        assert torch.equal(teacher.first, torch.randn(256, 64, generator=stream(3, "first")) / 64**0.5)
        assert torch.equal(teacher.second, torch.randn(5, 256, generator=stream(3, "second", 5)) / 256**0.5)
        for what in ("train", "test"):
            x, y = draw_balanced(teacher, torch.full((5,), 40), shape=(64,), seed=3, what=what)
            expected = draw_by_hand(teacher, [40] * 5, what, seed=3)
            assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
    data = load_data("teacher_student", classes=5, num_train=200, num_test=50, seed=3, validation=0)
    assert data.provenance["source"] == {"kind": "mlp", "inputs": 64, "hidden": 256}
    assert torch.equal(data.train.images, draw_by_hand(teacher, [40] * 5, "train", seed=3)[0])


@pytest.mark.parametrize(("groups", "similarity"), [(3, 0.3), (3, 0.7), (4, 0.95), (1, 0.7)])
def test_weights_correlate_by_the_square_of_similarity_within_a_group_and_not_across(groups, similarity):
    options = TeacherOptions(groups=groups, similarity=similarity, hidden=2000)
    second = create_teacher(options, num_classes=9, seed=1).second.double()
    assert torch.allclose(second.norm(dim=1), torch.ones(9, dtype=torch.float64), atol=5 * (2 * 2000) ** -0.5)
    found = np.corrcoef(second.numpy())
    group = np.arange(9) % groups
    same = group[:, None] == group[None]
    expected = np.where(same, similarity**2, 0.0)
    np.fill_diagonal(expected, 1.0)
    assert np.abs(found - expected).max() < 5 / 2000**0.5
    assert second[:, 0].unique().numel() == 9


def test_classes_of_a_group_share_more_the_higher_the_similarity_and_inputs_stay_the_same_stream():
    for similarity in (0.0, 0.9):
        options = {"groups": 2, "similarity": similarity}
        data = load_data("teacher_student", classes=4, num_train=200, num_test=40, teacher=options, validation=0)
        assert data.train.labels.bincount().tolist() == [50] * 4
        pool = torch.randn(1024, 64, generator=stream(0, "inputs", "train"))
        assert set(as_bytes(data.train.images[:150])) <= set(as_bytes(pool))
    assert data.provenance["source"] == {"kind": "mlp", "inputs": 64, "hidden": 256, **options}


def test_noise_relabels_the_same_inputs_by_the_formula_and_keeps_classes_exactly_balanced():
    teacher = create_teacher(TeacherOptions(noise=0.5), num_classes=4, seed=2)
    quiet = create_teacher(TeacherOptions(), num_classes=4, seed=2)
    for name in ("first", "second", "centre", "spread", "bias"):
        assert torch.equal(getattr(teacher, name), getattr(quiet, name))
    x, y = draw_balanced(teacher, torch.full((4,), 60), shape=(64,), seed=2, what="train")
    expected = draw_by_hand(teacher, [60] * 4, "train", seed=2, noise=0.5)
    assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
    wrong = (quiet.label(x) != y).float().mean()
    assert 0.1 < wrong < 0.6


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_inputs_stay_standard_gaussian_and_classes_balanced_with_noise(noise):
    data = load_data(
        "teacher_student", classes=4, num_train=2000, num_test=400, teacher={"noise": noise}, validation=0, seed=1
    )
    assert data.train.labels.bincount().tolist() == [500] * 4
    assert data.take_test().labels.bincount().tolist() == [100] * 4
    x = data.train.images.double()
    number = x.numel()
    assert abs(x.mean()) < 5 / number**0.5
    assert abs(x.var() - 1) < 5 * (2 / number) ** 0.5
    assert abs((x**4).mean() - 3) < 5 * (96 / number) ** 0.5  # kurtosis of a Gaussian; Var(x⁴) = 105 − 9


def test_noise_confuses_classes_of_a_similar_group_more_often_than_others():
    options = {"groups": 2, "similarity": 0.95, "noise": 0.3}
    quiet = create_teacher(TeacherOptions(**options), num_classes=4, seed=0)
    x = torch.randn(4000, 64, generator=torch.Generator().manual_seed(1))
    noisy = quiet.label(x, torch.Generator().manual_seed(2))
    plain = ((quiet.raw_logits(x) - quiet.centre) / quiet.spread + quiet.bias).argmax(1)
    wrong = noisy != plain
    same_group = (noisy % 2 == plain % 2)[wrong].double().mean()
    assert (
        wrong.double().mean() > 0.05 and same_group > 0.6
    )  # one of three wrong classes is in the group: 1/3 by chance


def test_noise_draws_another_sample_for_each_split_and_seed():
    options = {"noise": 2.0}
    first, again, other = (
        load_data("teacher_student", classes=3, num_train=90, num_test=90, teacher=options, validation=0, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.train.labels, again.train.labels)
    assert not torch.equal(first.train.labels, other.train.labels)
    assert not torch.equal(first.train.labels, first.take_test().labels)


# --- the spec's hash --------------------------------------------------------------------------------------------------

FIRST = {
    "protocol": 1,
    "seed": 0,
    "data": {
        "source": "fashion_mnist_subset", "labels": None, "classes": None, "image_size": None, "num_train": None, "num_test": None,
        "validation": 0.1, "seed": 0, "teacher": None,
    },
    "network": {"name": "vgg8", "width": 1.0, "channels_last": True, "compile": False, "options": {}},
    "rule": {"name": "dtg-ff", "options": {}, "source_sha256": None},  # as class-goodness was called
    "recipe": {
        "epochs": 10, "batch_size": 64, "micro_batches": 1, "optimizer": "adamw", "learning_rate": 0.002, "momentum": 0.9,
        "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1, "clip": None, "precision": "float32", "crop": 0, "flip": False,
        "cutout": 0,
    },
}  # fmt: skip
"""The default spec when protocol 1 was first used, before views and composition."""


def test_a_spec_without_the_later_fields_keeps_the_hash_of_the_first_release():
    text = json.dumps(FIRST, sort_keys=True, separators=(",", ":"))
    assert RunSpec().hash == hashlib.sha256(text.encode()).hexdigest()[:16] == "8f9d67e6013f456f"
    assert RunSpec.parse(FIRST) == RunSpec()
    assert RunSpec(data=DataSpec(draw="any", superclass=None, compose=None, held_out=0.2)).hash == RunSpec().hash
    for other in (DataSpec(draw="groups"), DataSpec(superclass=0), DataSpec(compose="side"), DataSpec(held_out=0.0)):
        assert RunSpec(data=other).hash != RunSpec().hash
