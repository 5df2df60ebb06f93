"""Folders of images: ``train/<class>/<image>``, ``<class>/<image>`` where a test split is drawn, and Tiny-ImageNet's own layout.

Read with the file system alone. Hidden folders and those that programs leave behind are passed over, links are followed.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from layerlocal.data.decode import EncodedImage
from layerlocal.data.split_source import (
    TEST_NAMES,
    OpenSplit,
    SplitSource,
    describe_depth,
    file_identity,
    readable,
    share_depth,
)
from layerlocal.types import InputError

__all__ = ["files_below", "has_training_images", "image_folder", "image_suffixes"]

ANNOTATIONS = "val_annotations.txt"  # Tiny-ImageNet's: name of the image, class, box
_LEFT_BEHIND = {
    "@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "__pycache__", "lost+found", "System Volume Information",
    "Thumbs.db", "desktop.ini", "ehthumbs.db",
}  # fmt: skip
_SPLIT_WORDS = {"train", "training", "testing", *TEST_NAMES}
_LOOK_AT = 10_000
_UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow knows these but needs other programs for them


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Endings, in small letters, of the files that Pillow reads."""
    from PIL import Image

    found = {end: kind for end, kind in Image.registered_extensions().items() if kind not in _UNREADABLE}
    return frozenset(end for end, kind in found.items() if kind in Image.OPEN or kind == "MPO")


@dataclass(frozen=True)
class _Split:
    """The images of one split with their classes, and how many files by their ending are not among them."""

    place: Path
    files: list[tuple[Path, int]]
    left_out: Counter[str]


def image_folder(folder: Path, *, test_share: bool) -> tuple[SplitSource, SplitSource | None]:
    """Training and test source; the test source is None where there is none and ``test_share`` allows it.

    Raises:
        InputError: no training or test images, links that lead in a circle.
    """
    train = folder / "train"
    if not train.is_dir():
        return _sources(*_without_splits(folder, test_share=test_share))
    names = _class_folders(train)
    if not names:
        raise InputError(f"{readable(train)} has no class folders; put images in {train.name}/<class>/")
    if (folder / "val" / ANNOTATIONS).is_file():
        return _sources(names, [_scan(train, names, passed=(".txt",)), _annotated(folder / "val", names)])
    test, notes = _test_folder(folder, set(names))
    if test is None:
        if not test_share:
            raise InputError(
                f"{readable(folder)} has no test/<class>/<image> (or val/, validation/){notes[0] if notes else ''}; "
                "put the test images there, or draw them from the training images with --set data.test=0.2"
            )
        return _sources(names, [_scan(train, names)])
    names += [name for name in _class_folders(test) if name not in names]
    return _sources(names, [_scan(train, names), _scan(test, names)], notes)


def has_training_images(folder: Path) -> bool:
    """Whether there is an image in ``train/<class>/``; among the first files found."""
    train = folder / "train"
    return train.is_dir() and any(_has_image(train / name, strict=False) for name in _class_folders(train))


def _test_folder(folder: Path, classes: set[str]) -> tuple[Path | None, list[str]]:
    """The first test folder with a class of the training folder, and what to say where another one comes before it."""
    there = [folder / name for name in TEST_NAMES if (folder / name).is_dir()]
    test = next((place for place in there if classes & set(_class_folders(place))), None)
    if not there or test == there[0]:
        return test, []
    if test is None:
        return None, [f": {there[0].name}/ has no class folder of train/"]
    return test, [f"{there[0].name}/ has no class folder of train/, so {test.name}/ is the test split"]


def _without_splits(folder: Path, *, test_share: bool) -> tuple[list[str], list[_Split]]:
    """Class folders right in ``folder``, from which a test split will be drawn."""
    names = [name for name in _class_folders(folder) if _has_image(folder / name, strict=test_share)]
    split = next((name for name in _class_folders(folder) if name.lower() in _SPLIT_WORDS), None)
    if split is not None or len(names) < 2:
        raise InputError(
            f"{readable(folder)} has neither train-*.parquet nor train/<class>/<image>; put the training images there"
        )
    if not test_share:
        raise InputError(
            f"{readable(folder)} has {len(names)} class folders but no train/ and test/; draw a test split from them with "
            "--set data.test=0.2, or put them into train/ and test/"
        )
    return names, [_scan(folder, names, passed=(".txt", ".md", ""))]


def _has_image(place: Path, *, strict: bool) -> bool:
    """Among the first files found: the folder may be anybody's home, where links in circles are only spoken of if it is asked for."""
    try:
        return any(path.suffix.lower() in image_suffixes() for path in itertools.islice(files_below(place), _LOOK_AT))
    except InputError:
        if strict:
            raise
        return False


def _sources(
    names: list[str], splits: list[_Split], notes: Sequence[str] = ()
) -> tuple[SplitSource, SplitSource | None]:
    reads, bits = share_depth([partial(_read, split) for split in splits])
    said = [*notes, *_describe_left_out(splits)]
    empty = next((split for split in splits if not split.files), None)
    if empty is not None:
        raise InputError(
            f"{readable(empty.place)} has no images in its class folders; add some{f' ({said[-1]})' if said else ''}"
        )
    identity = [
        [file_identity([file for file, _ in split.files], split.place), [k for _, k in split.files]] for split in splits
    ]

    def opened(index: int) -> OpenSplit:
        labels = np.array([k for _, k in splits[index].files], dtype=np.int64)
        found = [*said, *describe_depth(bits())]
        facts = {"notes": found} if found else {}
        return OpenSplit(len(labels), {"label": labels}, {"label": list(names)}, reads[index], facts)

    found = [
        SplitSource(["imagefolder", index, names, said, identity], partial(opened, index))
        for index in range(len(splits))
    ]
    return found[0], found[1] if len(found) > 1 else None


def _read(split: _Split) -> Iterator[EncodedImage]:
    for file, _ in split.files:
        yield EncodedImage(file, readable(file.relative_to(split.place.parent)))


def _describe_left_out(splits: Sequence[_Split]) -> list[str]:
    """One line with numbers, where there is something to say."""
    counts = sum((split.left_out for split in splits), Counter())
    if not counts:
        return []
    endings = ", ".join(f"{number} {end or 'without an ending'}" for end, number in counts.most_common(4))
    more = f" and {len(counts) - 4} other endings" if len(counts) > 4 else ""
    total, places = counts.total(), " and ".join(f"{readable(split.place)}" for split in splits if split.left_out)
    return [
        f"{total} file{'s' * (total > 1)} in {places} {'are' if total > 1 else 'is'} left out, being no image in a class folder: {endings}{more}"
    ]


def _class_folders(place: Path) -> list[str]:
    """Names, sorted."""
    found = [entry for entry in _entries(place) if not _is_passed(entry.name)]
    for entry in found:
        if entry.is_symlink() and not Path(entry.path).exists():
            raise InputError(f"{readable(Path(entry.path))} is a broken link; replace it or take it out")
    names = sorted(entry.name for entry in found if _is_folder(entry))
    strange = next((name for name in names if not name.isprintable()), None)
    if strange is not None:
        raise InputError(
            f"the class folder {readable(place / strange)} has a name that is not UTF-8 or cannot be printed; rename it"
        )
    return names


def _scan(place: Path, names: Sequence[str], *, passed: Sequence[str] = ()) -> _Split:
    """All images of a split, class by class, each sorted; files with the endings ``passed`` are not spoken of."""
    files: list[tuple[Path, int]] = []
    left_out = [Path(entry.path) for entry in _entries(place) if not _is_passed(entry.name) and not _is_folder(entry)]
    for index, name in enumerate(names):
        inside = list(files_below(place / name)) if (place / name).is_dir() else []
        images = [path for path in inside if path.suffix.lower() in image_suffixes()]
        files += [(path, index) for path in sorted(images)]
        left_out += [path for path in inside if path.suffix.lower() not in image_suffixes()]
    ends = Counter(readable(Path(path.suffix.lower())) if path.suffix else "" for path in left_out)
    return _Split(place, files, Counter({end: number for end, number in ends.items() if end not in passed}))


def _annotated(place: Path, names: Sequence[str]) -> _Split:
    """Tiny-ImageNet's validation images, whose classes are in a file.

    Raises:
        InputError: a line that is none, a class that is not among the training images, an image that is not there.
    """
    file, files = place / ANNOTATIONS, []
    classes = {name: index for index, name in enumerate(names)}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file} ({error}); copy it again") from error
    for number, line in enumerate(lines, 1):
        image, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if not line.strip():
            continue
        if not name or Path(image).name != image:
            raise InputError(f"line {number} of {file} is not <image> TAB <class>; copy it again")
        if name not in classes:
            raise InputError(f"line {number} of {file} has the class {name!r}, which train/ lacks; copy the set again")
        if not (place / "images" / image).is_file():
            raise InputError(
                f"line {number} of {file} names {image}, which is not in {place / 'images'}; copy the set again"
            )
        files.append((place / "images" / image, classes[name]))
    listed = {path for path, _ in files}
    if len(listed) < len(files):
        raise InputError(f"{file} names an image twice; copy it again")
    rest_ = [path for path in files_below(place / "images") if path not in listed] if files else []
    return _Split(place, files, Counter(path.suffix.lower() for path in rest_))


def _is_passed(name: str) -> bool:
    return name.startswith(".") or name in _LEFT_BEHIND


def _entries(place: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(
            f"{readable(place)} cannot be read ({error.strerror}); give the permission or take it out"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one."""
    try:
        return entry.is_dir()
    except OSError as error:
        raise InputError(f"{readable(Path(entry.path))} cannot be read ({error.strerror}); take it out") from error


def files_below(place: Path) -> Iterator[Path]:
    """All files in a folder and the folders in it, through links; hidden ones and what programs leave behind are passed over.

    Raises:
        InputError: a link leads to a folder that holds it.
    """
    below = [(place, frozenset[str]())]
    while below:
        here, above = below.pop()
        real = os.path.realpath(here)
        if real in above:
            raise InputError(f"{readable(here)} is a link to a folder around it, which never ends; take it out")
        for entry in _entries(here):
            if _is_passed(entry.name):
                continue
            if _is_folder(entry):
                below.append((here / entry.name, above | {real}))
            else:
                yield here / entry.name
