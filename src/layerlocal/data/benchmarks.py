"""The real benchmarks as one table, nine of images and three of text on the Hugging Face Hub and eleven of MedMNIST, and which were exercised.

Those of MedMNIST are files that the user fetches (medmnist.py). Of the Hub no revision is pinned: the commit that was read is
recorded in a run's provenance.

Their Parquet files are found in the listing of the repository (hub.py), by splits and configuration. Every set is taken to have them in its
main branch, in ``mnist/``, ``fashion_mnist/``, ``data/`` (kmnist, stl10, tiny_imagenet, imagenet100), ``cropped_digits/``, ``plain_text/``
(cifar10) and ``cifar100/``, of text in ``data/`` (tinystories), ``wikitext-2-raw-v1/`` and ``wikitext-103-raw-v1/``: assumed, not looked up on
the Hub.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerlocal.data.medmnist import MEDMNIST, PublishedFile

__all__ = ["BENCHMARKS", "BenchmarkInfo", "benchmark_table"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkInfo:
    """Where one benchmark is and how it is laid out.

    Attributes:
        name: our name for it.
        hub_id: ``owner/name`` on the Hub; empty where it is not read from there.
        file: what the user fetches, of a set that is not on the Hub, else None. Then the fields on splits and columns say nothing.
        config: the configuration to ask for (None: its only one).
        train_split: the Hub's name for what we train on.
        test_split: the Hub's name for what we test on.
        image_column: column of encoded images.
        label_column: column of class indices that is used unless another is asked for.
        text_column: of text, the column that is learned unless another is asked for; then those of images and labels say nothing.
        licence: as stated by the data's card or authors; "unknown" where neither says.
        exercised: whether this layout was read in our tests (from local Parquet; nothing was downloaded).
        note: what was and was not checked, and what to know.
    """

    name: str
    hub_id: str = ""
    file: PublishedFile | None = None
    config: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    image_column: str = "image"
    label_column: str = "label"
    text_column: str | None = None
    licence: str
    exercised: bool = False
    note: str = "not exercised: needs network"


def _published(file: PublishedFile) -> BenchmarkInfo:
    train, val, test = (f"{number:,}" for number in file.parts)
    facts = [
        f"{file.sizes[2]} classes",
        f"{train} images of train and {val} of val to train on, {test} to test, 28×28, {'gray' if file.channels == 1 else 'colour'}",
        *filter(None, [file.note]),
        "not exercised: the layout is read in tests, the file itself was not at hand",
    ]
    return BenchmarkInfo(name=file.name, file=file, licence=file.licence, note="; ".join(facts))


_CIFAR_NOTE = "from Parquet, in tests (same columns, the images named `image`); the download itself needs network"

_LINES = "not exercised: needs network; a row is a line of an article, so the validation split is drawn line by line"

_TABLE = (
    BenchmarkInfo(name="mnist", hub_id="ylecun/mnist", licence="MIT (the Hub card's word)"),
    BenchmarkInfo(name="fashion_mnist", hub_id="zalando-datasets/fashion_mnist", licence="MIT"),
    BenchmarkInfo(name="kmnist", hub_id="tanganke/kmnist", licence="CC BY-SA 4.0 (the authors' word)"),
    BenchmarkInfo(
        name="svhn",
        hub_id="ufldl-stanford/svhn",
        config="cropped_digits",
        licence="research only (non-commercial)",
        note="not exercised: needs network; the `extra` split is not used",
    ),
    BenchmarkInfo(
        name="cifar10",
        hub_id="uoft-cs/cifar10",
        image_column="img",
        licence="unknown",
        exercised=True,
        note=_CIFAR_NOTE,
    ),
    BenchmarkInfo(
        name="cifar100",
        hub_id="uoft-cs/cifar100",
        image_column="img",
        label_column="fine_label",
        licence="unknown",
        exercised=True,
        note=_CIFAR_NOTE + "; labels='coarse' gives the 20 superclasses",
    ),
    BenchmarkInfo(
        name="stl10",
        hub_id="tanganke/stl10",
        licence="unknown",
        note="not exercised: needs network; labelled images only",
    ),
    BenchmarkInfo(
        name="tiny_imagenet",
        hub_id="zh-plus/tiny-imagenet",
        test_split="valid",
        licence="research only (ImageNet's terms)",
        note="not exercised: needs network; `valid` is used as test (the original test labels are not public)",
    ),
    BenchmarkInfo(
        name="imagenet100",
        hub_id="clane9/imagenet-100",
        test_split="validation",
        licence="research only (ImageNet's terms)",
        note="not exercised: needs network; `validation` is used as test; give image_size=224",
    ),
    BenchmarkInfo(
        name="tinystories",
        hub_id="roneneldan/TinyStories",
        test_split="validation",
        text_column="text",
        licence="CDLA-Sharing-1.0",
        note="not exercised: needs network; `validation` is used as test; 2 GB of text, read into memory",
    ),
    BenchmarkInfo(
        name="wikitext2",
        hub_id="Salesforce/wikitext",
        config="wikitext-2-raw-v1",
        text_column="text",
        licence="CC BY-SA 3.0",
        note=_LINES,
    ),
    BenchmarkInfo(
        name="wikitext103",
        hub_id="Salesforce/wikitext",
        config="wikitext-103-raw-v1",
        text_column="text",
        licence="CC BY-SA 3.0",
        note=_LINES + "; 0.5 GB of text, read into memory",
    ),
    *map(_published, MEDMNIST.values()),
)

BENCHMARKS: dict[str, BenchmarkInfo] = {info.name: info for info in _TABLE}


def benchmark_table() -> list[BenchmarkInfo]:
    """The real benchmarks: id or file, configuration, splits, columns, licence, and whether they were exercised."""
    return list(_TABLE)
