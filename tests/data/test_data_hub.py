"""The Hugging Face Hub, played by a small server on this machine: which files are fetched, what they give, and what is said without it."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import shutil
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from layerlocal.data import load_data
from layerlocal.data.benchmarks import BENCHMARKS, benchmark_table
from layerlocal.data.hub import CONVERTED, split_files
from layerlocal.data.raw import content_sum
from layerlocal.data.task import content_of, task_of
from layerlocal.data.text import is_text
from layerlocal.spec import DataSpec
from layerlocal.types import InputError, UnreachableError

CLASSES = ["cat", "dog", "eel"]
MAIN, OTHER = "a" * 40, "b" * 40
CIFAR10 = ("plain_text/train-00000-of-00002.parquet", "plain_text/train-00001-of-00002.parquet",
           "plain_text/test-00000-of-00001.parquet")  # fmt: skip


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(number):
    out = io.BytesIO()
    Image.fromarray(picture(number)).save(out, "PNG")
    return out.getvalue()


def parquet(images, names=CLASSES, *, image="img", marked=True, **labels):
    """The bytes of a file with a column of images and columns of labels, all marked with the same class names."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {image: pa.array([{"bytes": data, "path": "0.png"} for data in images], kind)}
    table = pa.table(columns | {name: pa.array(values, pa.int64()) for name, values in labels.items()})
    features = {image: {"_type": "Image"}} | {name: {"names": names, "_type": "ClassLabel"} for name in labels}
    if marked:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def cifar10():
    parts = [parquet([png(i) for i in range(start, start + 6)], label=[0, 1, 2] * 2) for start in (0, 6, 12)]
    return dict(zip(CIFAR10, parts, strict=True))


class Hub:
    """What the server has and was asked: ``branches`` is {branch: (commit, {file: bytes})} of the one repository."""

    def __init__(self):
        self.name, self.branches = "uoft-cs/cifar10", {"main": (MAIN, cifar10())}
        self.listed, self.fetched, self.tokens, self.cut = [], [], [], 0


@pytest.fixture(scope="module")
def server():
    """Plays the hub that its attribute ``hub`` is; one for all tests, because the client keeps its address."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def send(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in ({"Content_Length": str(len(body))} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self):
            planted = server.hub
            path = urllib.parse.unquote(self.path.partition("?")[0])
            planted.tokens.append(self.headers["Authorization"])
            if listing := re.fullmatch(f"/api/datasets/{planted.name}/revision/(.+)", path):
                planted.listed.append(listing[1])
                if listing[1] not in planted.branches:
                    return self.send(404, X_Error_Code="RevisionNotFound")
                commit, files = planted.branches[listing[1]]
                content = {"id": planted.name, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
                return self.send(200, json.dumps(content).encode(), Content_Type="application/json")
            if not (file := re.fullmatch(f"/datasets/{planted.name}/resolve/([0-9a-f]+)/(.+)", path)):
                return self.send(404, X_Error_Code="RepoNotFound")
            body = {commit: files for commit, files in planted.branches.values()}[file[1]][file[2]]
            facts = {"X_Repo_Commit": file[1], "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
            if self.command == "HEAD":
                return self.send(200, Content_Length=str(len(body)), **facts)
            planted.fetched.append(file[2])
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            facts |= {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
            if planted.cut:
                planted.cut -= 1
                self.send(200, body[:100], **facts | {"Content_Length": str(len(body))})
                self.close_connection = True
                return None
            return self.send(206 if start else 200, body[start:], **facts)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(server, monkeypatch):
    server.hub, address = Hub(), f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return server.hub


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Our cache of decoded images; beside it, the Hub's own."""
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERLOCAL_DATA", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def test_files_of_the_hub_give_what_was_written_and_later_loads_ask_nobody(hub, capsys):
    data = load_data("cifar10", validation=0)
    expected = torch.from_numpy(np.stack([picture(i) for i in range(12)])).permute(0, 3, 1, 2)
    assert torch.equal(data.train.images, expected) and data.train.labels.tolist() == [0, 1, 2] * 4
    assert len(data.take_test()) == 6 and data.class_names == tuple(CLASSES)
    assert data.provenance["kind"] == "hub" and data.provenance["source"] == "uoft-cs/cifar10"
    assert data.provenance["revision"] == MAIN and data.provenance["licence"] == "unknown"
    assert hub.listed == ["main"] and sorted(hub.fetched) == sorted(CIFAR10)
    assert set(hub.tokens) == {None}
    load_data("cifar10")
    assert len(hub.listed) == 1
    assert capsys.readouterr().err == ""  # no bars where nobody looks at a terminal


def test_reading_again_looks_for_a_newer_commit_and_fetches_only_what_is_not_there(hub):
    first = load_data("cifar10")
    again = load_data("cifar10", reread=True)
    assert hub.listed == ["main"] * 2 and len(hub.fetched) == 3 and again.content_sha256 == first.content_sha256
    hub.branches["main"] = (OTHER, cifar10() | {CIFAR10[2]: parquet([png(99)] * 3, label=[0, 1, 2])})
    newer = load_data("cifar10", reread=True)
    assert newer.provenance["revision"] == OTHER and newer.content_sha256 != first.content_sha256


def test_the_hub_and_a_folder_of_the_same_files_are_the_same_data(hub, tmp_path):
    for name, content in hub.branches["main"][1].items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    assert load_data("cifar10").content_sha256 == load_data(tmp_path / "copy").content_sha256


def test_names_labels_and_the_sum_of_the_data_are_those_that_the_datasets_library_gives(hub, tmp_path, cache):
    datasets = pytest.importorskip("datasets")
    names = {"fine_label": ["ape", "bee", "cow"], "coarse_label": ["small", "large"]}
    features = {"img": datasets.Image(), **{name: datasets.ClassLabel(names=of) for name, of in names.items()}}
    files = {}
    for split, numbers in (("train", range(9)), ("test", range(20, 26))):
        rows = {"img": [{"bytes": png(i), "path": None} for i in numbers], "fine_label": [i % 3 for i in numbers]}
        rows["coarse_label"] = [i % 2 for i in numbers]
        written = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        written.to_parquet(str(tmp_path / f"{split}.parquet"))
        files[split] = tmp_path / f"{split}.parquet"
    hub.name = "uoft-cs/cifar100"
    contents = {f"cifar100/{split}-00000-of-00001.parquet": file.read_bytes() for split, file in files.items()}
    hub.branches["main"] = (MAIN, contents)
    read = {
        split: datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "arrow"))
        for split, file in files.items()
    }
    for column, asked in (("fine_label", None), ("coarse_label", "coarse")):
        data = load_data("cifar100", labels=asked, validation=0)
        known = read["train"].features[column].names
        assert data.class_names == tuple(known) == tuple(names[column])
        assert data.train.labels.tolist() == list(read["train"][column])
        assert data.take_test().labels.tolist() == list(read["test"][column])
        total = hashlib.sha256()
        for split in ("train", "test"):
            pixels = np.stack([np.asarray(row["img"]).transpose(2, 0, 1) for row in read[split]])
            total.update(hashlib.sha256(pixels.tobytes()).hexdigest().encode())
            total.update(np.array(read[split][column], np.int64).tobytes())
        assert data.content_sha256 == content_sum(total.hexdigest(), [3, 8, 8], known)


LAYOUTS = {
    "mnist": ("mnist/{}-00000-of-00001.parquet", ()),
    "fashion_mnist": ("fashion_mnist/{}-00000-of-00001.parquet", ()),
    "kmnist": ("data/{}-00000-of-00001.parquet", ()),
    "svhn": (
        "cropped_digits/{}-00000-of-00001.parquet",
        ("cropped_digits/extra-00000-of-00002.parquet", "full_numbers/train-00000-of-00001.parquet",
         "full_numbers/test-00000-of-00001.parquet"),
    ),
    "cifar10": ("plain_text/{}-00000-of-00001.parquet", ()),
    "cifar100": ("cifar100/{}-00000-of-00001.parquet", ()),
    "stl10": ("data/{}-00000-of-00001.parquet", ("data/unlabeled-00000-of-00001.parquet",)),
    "tiny_imagenet": ("data/{}-00000-of-00001-1359597a978bc4fa.parquet", ("classes.py",)),
    "imagenet100": ("data/{}-00000-of-00001.parquet", ()),
    "tinystories": (
        "data/{}-00000-of-00001-869c898b519ad725.parquet",
        ("TinyStories-train.txt", "TinyStories_all_data.tar.gz"),
    ),
    **{
        f"wikitext{n}": (
            f"wikitext-{n}-raw-v1/{{}}-00000-of-00001.parquet",
            (f"wikitext-{n}-raw-v1/validation-00000-of-00001.parquet", f"wikitext-{n}-v1/train-00000-of-00001.parquet",
             f"wikitext-{n}-v1/test-00000-of-00001.parquet"),
        )
        for n in (2, 103)
    },
}  # fmt: skip


@pytest.mark.parametrize("info", [info for info in benchmark_table() if info.hub_id], ids=lambda info: info.name)
def test_the_files_of_every_benchmark_are_found_in_the_layout_that_is_assumed(info):
    pattern, others = LAYOUTS[info.name]
    train, test = (pattern.format(split) for split in (info.train_split, info.test_split))
    assert split_files([*others, "README.md", test, ".gitattributes", train], info) == [[train], [test]]
    assert split_files([*others, test], info) is None
    place = info.config or "default"
    train, more, test = (f"{place}/{part}.parquet" for part in ("train/0000", "train/0001", f"{info.test_split}/0000"))
    assert split_files([test, more, train, "other/train/0000.txt"], info, branch=CONVERTED) == [[train, more], [test]]
    partial = train.replace("/train/", "/partial-train/")  # of a large set the Hub converts only a part
    assert split_files([test, partial], info, branch=CONVERTED) is None


def test_what_the_hub_converted_is_read_where_the_main_branch_has_no_parquet(hub):
    train, more, test = cifar10().values()
    converted = {"plain_text/train/0000.parquet": train, "plain_text/train/0001.parquet": more,
                 "plain_text/test/0000.parquet": test}  # fmt: skip
    expected = load_data("cifar10").content_sha256
    hub.branches = {"main": (OTHER, {"cifar10.py": b"", "cifar10.tar.gz": b""}), CONVERTED: ("c" * 40, converted)}
    data = load_data("cifar10", reread=True)
    assert data.content_sha256 == expected and data.provenance["revision"] == "c" * 40


def test_offline_the_files_in_the_hub_s_cache_are_used(hub, cache, monkeypatch):
    first = load_data("cifar10")
    shutil.rmtree(cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.listed), len(hub.fetched)
    data = load_data("cifar10")
    assert data.content_sha256 == first.content_sha256 and data.provenance["revision"] == MAIN
    assert (len(hub.listed), len(hub.fetched)) == asked


@pytest.mark.parametrize("lost", CIFAR10)
def test_offline_a_split_that_is_not_whole_is_not_used(hub, cache, tmp_path, monkeypatch, lost):
    load_data("cifar10")
    shutil.rmtree(cache)
    next((tmp_path / "hub").glob(f"datasets--*/snapshots/*/{lost}")).resolve().unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match=r"cannot reach uoft-cs/cifar10 .*offline"):
        load_data("cifar10")


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_the_message_names_what_and_offers_a_folder(monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(
        UnreachableError, match=r"cannot reach ylecun/mnist .*Parquet files .*LAYERLOCAL_DATA"
    ) as caught:
        load_data("mnist")
    assert "\n" not in str(caught.value)


def test_without_the_extra_hub_it_is_named_and_what_to_do_by_hand(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnreachableError, match=r"uoft-cs/cifar10 .*layerlocal\[hub\].*LAYERLOCAL_DATA"):
        load_data("cifar10")


def test_a_download_that_breaks_off_is_taken_up_again(hub, cache):
    expected = load_data("cifar10").content_sha256
    hub.branches["main"], hub.cut = (OTHER, cifar10()), 1
    for blob in cache.parent.glob("hub/datasets--*/blobs/*"):
        blob.unlink()
    assert load_data("cifar10", reread=True).content_sha256 == expected
    assert hub.cut == 0 and len(hub.fetched) == 3 + 1 + 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_cache_of_the_hub_without_room_is_one_sentence(hub, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "no room or no right")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(InputError, match=r"uoft-cs/cifar10 .*HF_HOME"):
        load_data("cifar10")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"README.md": b""}, r"uoft-cs/cifar10 .*Parquet files .*train and test"),
        (cifar10() | {f"b/{split}.parquet": b"" for split in ("train", "test")}, "in b and plain_text"),
        (cifar10() | {CIFAR10[0].replace("-of-00002", "-of-00002-ab12"): b""}, r"two files .*shard 0 of train"),
        ({name: cifar10()[name] for name in CIFAR10[1:]}, "1 of the 2 train files"),
        (dict.fromkeys(CIFAR10, parquet([png(0)], image="picture", label=[0])), "columns picture, label, not img"),
        (dict.fromkeys(CIFAR10, parquet([png(0)], marked=False, label=[0])), "label with class names"),
    ],
)  # fmt: skip
def test_a_repository_that_is_not_as_the_table_says_is_refused(hub, files, sentence):
    hub.branches["main"] = (MAIN, files)
    with pytest.raises(InputError, match=sentence) as caught:
        load_data("cifar10")
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    ("image", "label", "sentence"),
    [
        (None, 0, r"uoft-cs/cifar10 .*row 0 .*'img'.*not followed"),
        (b"x", None, r"'label' .*train-00000-of-00002.parquet .*1 row"),
        (b"x", -1, r"row 0 .*train-00000-of-00002.parquet .*-1"),
        (b"x", 3, r"'label' .*label 3 but 3 class names"),
    ],
)
def test_rows_of_the_hub_hold_images_and_labels_themselves(hub, image, label, sentence):
    hub.branches["main"][1][CIFAR10[0]] = parquet([image], label=[label])
    with pytest.raises(InputError, match=sentence):
        load_data("cifar10")


def test_no_benchmark_s_column_is_guessed(hub):
    """Another column of images or of labels beside those of the table changes nothing."""
    expected = load_data("cifar10").content_sha256
    for name, content in hub.branches["main"][1].items():
        table = pq.read_table(io.BytesIO(content))
        more = table.append_column("image", table["img"]).append_column("fine_label", pa.array([0] * len(table)))
        out = io.BytesIO()
        pq.write_table(more.replace_schema_metadata(table.schema.metadata), out)
        hub.branches["main"][1][name] = out.getvalue()
    hub.branches["main"] = (OTHER, hub.branches["main"][1])
    assert load_data("cifar10", reread=True).content_sha256 == expected
    assert BENCHMARKS["cifar10"].image_column == "img"


# --- text -------------------------------------------------------------------------------------------------------------

TEXTS = {"train": ["alpha beta gamma", "", "delta epsilon"], "test": ["zeta eta theta"]}
WIKI = {split: f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet" for split in TEXTS}


def texts(rows, **columns):
    out = io.BytesIO()
    pq.write_table(pa.table({"text": rows} | columns), out)
    return out.getvalue()


@pytest.fixture
def library(hub):
    """A Hub that has a set of text, with another configuration beside the one of the table."""
    files = {WIKI[split]: texts(rows, id=list(range(len(rows)))) for split, rows in TEXTS.items()}
    others = {name.replace("-raw", ""): texts(["<unk>" * 9] * 3) for name in WIKI.values()}
    hub.name, hub.branches = "Salesforce/wikitext", {"main": (MAIN, files | others)}
    return hub


def read_back(split):
    """Samples put together again, without what was left over at the end."""
    return bytes(split.images[:1, 0].tolist()) + bytes(split.labels.flatten().tolist())


def joined(rows):
    return b"".join(row.encode() + b"\0" for row in rows)


def test_text_of_the_hub_is_its_rows_byte_by_byte_and_later_loads_ask_nobody(library):
    data = load_data("wikitext2", context=4, validation=0)
    for split, rows in ((data.train, TEXTS["train"]), (data.take_test(), TEXTS["test"])):
        whole = joined(rows)
        assert read_back(split) == whole[: 4 * ((len(whole) - 1) // 4) + 1]
    assert (data.vocabulary, data.num_classes, data.name) == (256, 256, "wikitext2")
    facts = {"kind": "hub", "source": "Salesforce/wikitext", "config": "wikitext-2-raw-v1", "revision": MAIN, "text_column": "text",
             "licence": "CC BY-SA 3.0"}  # fmt: skip
    assert facts.items() <= data.provenance.items()
    assert library.listed == ["main"] and sorted(library.fetched) == sorted(WIKI.values())
    load_data("wikitext2", context=8, validation=0)
    assert library.listed == ["main"]


def test_text_of_the_hub_read_again_is_that_of_a_newer_commit(library):
    first = load_data("wikitext2", context=4, validation=0)
    files = library.branches["main"][1] | {WIKI["test"]: texts(["iota kappa lambda"])}
    library.branches["main"] = (OTHER, files)
    assert load_data("wikitext2", context=4, validation=0).content_sha256 == first.content_sha256
    newer = load_data("wikitext2", context=4, validation=0, reread=True)
    assert newer.provenance["revision"] == OTHER and newer.content_sha256 != first.content_sha256
    assert read_back(newer.take_test()) == b"iota kappa lambda\0"[:17]
    assert content_of(DataSpec(source="wikitext2")) == newer.content_sha256


def test_text_of_the_hub_and_a_folder_of_the_same_files_are_the_same_data(library, tmp_path, monkeypatch):
    place = tmp_path / "mine" / "wikitext2"
    place.mkdir(parents=True)
    for split, name in WIKI.items():
        (place / f"{split}.parquet").write_bytes(library.branches["main"][1][name])
    of_hub = load_data("wikitext2", context=4, validation=0).content_sha256
    assert load_data(place, context=4, validation=0).content_sha256 == of_hub
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / "mine"))
    asked = len(library.listed)
    own = load_data("wikitext2", context=4, validation=0, reread=True)
    assert (own.content_sha256, len(library.listed)) == (of_hub, asked)
    assert (own.provenance["source"], own.provenance["licence"]) == ("own copy of wikitext2", "CC BY-SA 3.0")


def test_text_of_the_hub_goes_before_a_folder_of_its_name_and_a_line_says_so(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wikitext2").mkdir()
    for name in "ab":
        (tmp_path / "wikitext2" / f"{name}.txt").write_text("mine " * 50)
    with pytest.warns(UserWarning, match=r"the data are wikitext2 on the Hub, .*write ./wikitext2"):
        data = load_data("wikitext2", context=4, validation=0)
    assert b"alpha" in read_back(data.train)
    assert b"mine" in read_back(load_data("./wikitext2", context=4, validation=0, test=0.5).train)


def test_that_a_set_of_the_hub_is_text_is_known_before_anything_is_fetched(library):
    assert is_text(DataSpec(source="wikitext2")) and not is_text(DataSpec(source="cifar10"))
    assert not library.listed
    task = task_of(DataSpec(source="wikitext2", context=4, validation=0))
    count = [(len(joined(rows)) - 1) // 4 for rows in TEXTS.values()]
    assert (task.sample_shape, task.vocabulary, task.num_train, task.num_test) == ((4,), 256, *count)


def test_offline_text_in_the_hub_s_cache_is_used_and_without_it_a_sentence_says_what_to_do(library, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match=r"cannot reach Salesforce/wikitext .*folder 'wikitext2'"):
        load_data("wikitext2")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    first = load_data("wikitext2", context=4, validation=0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_data("wikitext2", context=4, validation=0, reread=True)
    assert again.content_sha256 == first.content_sha256 and again.provenance["revision"] == MAIN


def test_another_column_of_text_of_the_hub_is_asked_for_by_name(library):
    library.branches["main"] = (OTHER, {name: texts(["a" * 20], title=["b" * 20]) for name in WIKI.values()})
    assert set(read_back(load_data("wikitext2", labels="title", context=4, validation=0).train)) == set(b"b\0")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": "poem"}, r"Salesforce/wikitext has no text in a column 'poem' \(its columns: text, id\)"),
        ({"labels": "id"}, r"no text in a column 'id' .*labels=…"),
        ({"test": 0.5}, "test=0.5 draws a test split, but wikitext2 has its own"),
        ({"classes": 3}, "classes is for images, and wikitext2 is text"),
    ],
)
def test_what_a_set_of_text_has_not_is_refused(library, options, sentence):
    with pytest.raises(InputError, match=sentence):
        load_data("wikitext2", context=4, **options)


def test_a_set_of_text_without_a_column_of_text_is_refused(library):
    library.branches["main"] = (OTHER, dict.fromkeys(WIKI.values(), parquet([png(0)], label=[0])))
    with pytest.raises(InputError, match=r"no text in a column 'text' \(its columns: img, label\)"):
        load_data("wikitext2")
