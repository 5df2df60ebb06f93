"""Text as bytes: documents in, samples of T bytes out, each byte with the next one as its label.

The documents of a split follow one another, a byte 0 after each, and are cut into samples; what does not fill one is left out. Training,
validation and test split are of different documents. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.arguments import Request
from layerlocal.data.benchmarks import BENCHMARKS, BenchmarkInfo
from layerlocal.data.builtin import EMBEDDED_NAME, TEXT_NAME, load_embedded
from layerlocal.data.columns import text_column
from layerlocal.data.folders import files_below, image_suffixes
from layerlocal.data.hub import hub_texts
from layerlocal.data.parquet import check_shards, parquet_files, parquet_place, read_schemas, read_text_column
from layerlocal.data.raw import TEACHER_NAME, content_sum, own_copy, refuse_share, tell_of_namesake
from layerlocal.data.split_source import TEST_NAMES, readable
from layerlocal.spec import DataSpec
from layerlocal.types import InputError, derive_seed

__all__ = [
    "BYTES", "CONTEXT", "VOCABULARY", "Corpus", "Documents", "TextChoice", "choose_text", "find_text", "is_text", "refuse_context",
]  # fmt: skip

TEXT_SHA256 = "a6923b8a79ca3068bd9f28dda7f92fb78f34cfdc574c166663493d43e101ee9c"
VOCABULARY = 256
BYTES = tuple(f"byte {byte}" for byte in range(VOCABULARY))
"""Names of the classes."""
CONTEXT = 128
SUFFIXES = frozenset((".txt", ".md", ".rst", ".py", ".tex"))
LOOK_AT = 10_000
ON_HUB = {name: info for name, info in BENCHMARKS.items() if info.text_column is not None}
OF_IMAGES = (EMBEDDED_NAME, *(name for name in BENCHMARKS if name not in ON_HUB), TEACHER_NAME)
"""Both are names that go before folders of these names."""
IMAGES_ONLY = ("classes", "image_size", "superclass", "compose")


@dataclass(frozen=True)
class Documents:
    """Texts one after another.

    Attributes:
        text: uint8 (N,).
        ends: int64 (M,), where each document ends, ascending to N.
    """

    text: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Documents:
        """Those of a list."""
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        return cls(np.frombuffer(b"".join(texts), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def joined(self, chosen: np.ndarray) -> np.ndarray:
        """Some documents in this order, a byte 0 after each: uint8."""
        starts = np.concatenate([[0], self.ends[:-1]])
        parts = [part for k in chosen for part in (self.text[starts[k] : self.ends[k]], np.zeros(1, np.uint8))]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)


@dataclass(frozen=True)
class Corpus:
    """A text data set before any choice. ``test``: ``None`` where it is to be drawn from ``train`` (`DataSpec.test`)."""

    name: str
    train: Documents
    test: Documents | None
    provenance: dict[str, Any]

    @property
    def content_sha256(self) -> str:
        """What the data are: all texts, document by document."""
        digest = hashlib.sha256()
        for split in filter(None, (self.train, self.test)):
            digest.update(np.ascontiguousarray(split.text).data)
            digest.update(split.ends.astype("<i8").tobytes())
        return content_sum(digest.hexdigest(), ["text"], [])


@dataclass(frozen=True)
class TextChoice:
    """Samples of each split: uint8 (N, T + 1), the inputs and, one further on, the labels; ``context`` is T."""

    context: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def is_text(spec: DataSpec) -> bool:
    """Whether the data of a spec are text."""
    return find_text(spec.source, spec.labels) is not None


def find_text(
    source: str | Path, labels: str | None = None, *, reread: bool = False
) -> Callable[[bool], Corpus] | None:
    """What reads a text data set, told whether a test split will be drawn; ``None`` for data of another kind.

    Args:
        source: `TEXT_NAME`, a name of `ON_HUB`, or a folder, also by its name in ``LAYERLOCAL_DATA``: of Parquet files with a column of text
            and none of images (``train-*.parquet``, ``test-*.parquet``), or of text files (in ``train/`` and ``test/``, or all in one).
        labels: the column of text, where there are several.
        reread: look for a newer commit on the Hub, too.
    """
    if source == TEXT_NAME:
        return lambda _: _embedded()
    if isinstance(source, str) and source in ON_HUB:
        return _find_named(ON_HUB[source], labels, reread=reread)
    folder = None if source in OF_IMAGES else _folder(source)
    return None if folder is None else _find_in(folder, labels)


def _find_named(info: BenchmarkInfo, labels: str | None, *, reread: bool) -> Callable[[bool], Corpus] | None:
    """Of the table: the user's own copy where there is one, otherwise that of the Hub. Nothing is fetched before it is read."""
    own = own_copy(info.name, info)
    found = _find_in(own, labels or info.text_column) if own is not None else partial(_of_hub, info, labels, reread)
    if found is None:
        return None

    def read(drawn: bool) -> Corpus:
        tell_of_namesake(info.name, own, info)
        corpus = found(drawn)
        source = info.hub_id if own is None else f"own copy of {info.name}"
        facts = corpus.provenance | {"source": source, "licence": info.licence}
        return replace(corpus, name=info.name, provenance=facts)

    return read


def _find_in(folder: Path, labels: str | None) -> Callable[[bool], Corpus] | None:
    if (place := parquet_place(folder)) is not None:
        column = text_column(read_schemas(parquet_files(place, "train")[:1])[0], labels)
        return None if column is None else lambda drawn: _of_parquet(place, folder.resolve().name, column, drawn)
    return (lambda drawn: _of_files(folder, drawn)) if _has_text(folder) else None


def choose_text(corpus: Corpus, request: Request) -> TextChoice:
    """Documents for each split, and samples of them.

    Raises:
        InputError: choices that are for images, a text that is shorter than the context, more samples than there are.
    """
    _refuse_image_choices(request, corpus.name)
    context = CONTEXT if request.context is None else request.context
    train, test = np.arange(len(corpus.train)), corpus.test
    if test is None:
        assert request.test is not None
        train, drawn = _share(corpus.train, train, request.test, derive_seed(request.seed, "test split"), "test")
        tested = corpus.train.joined(drawn)
    else:
        refuse_share(request, corpus.name)
        tested = test.joined(np.arange(len(test)))
    kept, held_out = train, np.empty(0, np.int64)
    if request.validation:
        seed = derive_seed(request.seed, "validation")
        kept, held_out = _share(corpus.train, train, request.validation, seed, "validation")
    parts = {"training": corpus.train.joined(kept), "validation": corpus.train.joined(held_out), "test": tested}
    found = {name: _samples(text, context, name, corpus.name) for name, text in parts.items()}
    validating = round((request.num_train or 0) * request.validation)
    wanted = {
        "training": request.num_train and request.num_train - validating,
        "validation": request.num_train and validating,
        "test": request.num_test,
    }
    chosen = [_some(found[name], wanted[name], request.seed, name) for name in found]
    return TextChoice(context, *chosen)


def refuse_context(request: Request, source: str | Path) -> None:
    """Of data that are no text.

    Raises:
        InputError: a context is asked for.
    """
    if request.context is not None:
        raise InputError(f"context={request.context} is for text, and {source} is none; leave it out")


def _refuse_image_choices(request: Request, name: str) -> None:
    given = [key for key in IMAGES_ONLY if getattr(request, key) is not None]
    given += ["draw"] if request.draw != "any" else []
    if given:
        raise InputError(f"{given[0]} is for images, and {name} is text; leave it out")


def _share(
    documents: Documents, chosen: np.ndarray, share: float, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Documents that stay, and those drawn until they hold ``share`` of the bytes; both in their order, neither empty."""
    sizes = np.diff(documents.ends, prepend=0)[chosen]
    if len(chosen) < 2:
        raise InputError(
            f"the text is {len(chosen)} document, too few to draw a {what} split; give it as several files"
        )
    order = np.random.default_rng(seed).permutation(len(chosen))
    count = 1 + int(np.searchsorted(np.cumsum(sizes[order]), share * sizes.sum()))
    drawn = order[: min(count, len(chosen) - 1)]
    return chosen[np.setdiff1d(np.arange(len(chosen)), drawn)], chosen[np.sort(drawn)]


def _samples(text: np.ndarray, context: int, split: str, name: str) -> np.ndarray:
    """uint8 (N, T + 1), without a copy; each begins where the one before has its last label."""
    count = max(0, (len(text) - 1) // context)
    if not count and not (split == "validation" and not len(text)):
        raise InputError(
            f"the {split} split of {name} has {len(text)} bytes, and a sample of context {context} needs {context + 1}; lower the context, "
            "or give more text"
        )
    return np.lib.stride_tricks.as_strided(text, (count, context + 1), (context, 1), writeable=False)


def _some(samples: np.ndarray, number: int | None, seed: int, split: str) -> np.ndarray:
    """So many of them, drawn by seed, in their order."""
    if number is None or (split == "validation" and number >= len(samples)):
        return samples
    if number > len(samples):
        raise InputError(
            f"the {split} split has {len(samples)} samples, fewer than the {number} asked for; ask for fewer"
        )
    order = np.random.default_rng(derive_seed(seed, "subset", split)).permutation(len(samples))
    return samples[np.sort(order[:number])]


def _embedded() -> Corpus:
    data = load_embedded(TEXT_NAME, TEXT_SHA256)
    train, test = (Documents(data.array(f"{split}_text"), data.array(f"{split}_ends")) for split in ("train", "test"))
    provenance = {
        "kind": "embedded", "source": "modules of the library of CPython 3.11.7", "licence": "PSF-2.0", "checksum": TEXT_SHA256,
    }  # fmt: skip
    return Corpus(TEXT_NAME, train, test, provenance)


def _folder(source: str | Path) -> Path | None:
    """As `raw.raw_data` looks for a folder; what is none is refused there."""
    if not str(source):
        return None
    place = os.environ.get("LAYERLOCAL_DATA")
    named = isinstance(source, str) and source not in ("", ".", "..") and os.sep not in source
    own = Path(place).expanduser() / str(source) if place and named else None
    found = own if own is not None and own.is_dir() else Path(source).expanduser()
    try:
        return found if found.is_dir() else None
    except OSError:
        return None


def _has_text(folder: Path) -> bool:
    """Whether there are text files and no images, of those in ``train/`` where there is such a folder; among the first files found."""
    place = folder / "train" if (folder / "train").is_dir() else folder
    found = False
    with suppress(InputError):  # said by whoever reads it
        for path in islice(files_below(place), LOOK_AT):
            if (ending := path.suffix.lower()) in image_suffixes():
                return False
            found |= ending in SUFFIXES
    return found


def _of_files(folder: Path, drawn: bool) -> Corpus:
    """Each file a document, sorted by path."""
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    train = folder / "train" if (folder / "train").is_dir() else folder
    if test is not None and train == folder:
        raise InputError(f"{readable(folder)} has {test.name}/ and no train/; put the training text into train/")
    places = {"train": train} | ({} if test is None else {"test": test})
    _refuse_no_test(folder, "test" in places, drawn, "test/*.txt")
    splits = {name: Documents.of(list(_texts(place))) for name, place in places.items()}
    facts = {"kind": "text files", "source": folder.resolve().name, "licence": "unknown"}
    return Corpus(folder.resolve().name, splits["train"], splits.get("test"), facts)


def _texts(place: Path) -> Iterator[bytes]:
    files = sorted(path for path in files_below(place) if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{readable(place)} has no text files ({', '.join(sorted(SUFFIXES))}); put some there")
    for path in files:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise InputError(
                f"cannot read {readable(path)} ({error.strerror}); give the permission or take it out"
            ) from error


def _of_parquet(folder: Path, name: str, column: str, drawn: bool) -> Corpus:
    """Each row a document."""
    train = parquet_files(folder, "train")
    test = next((files for name in TEST_NAMES if (files := parquet_files(folder, name))), [])
    _refuse_no_test(folder, bool(test), drawn, "test-*.parquet")
    for files in filter(None, (train, test)):
        check_shards(files)
    facts = {"kind": "parquet", "source": name, "licence": "unknown", "text_column": column}
    return Corpus(name, _rows(train, column), _rows(test, column) if test else None, facts)


def _of_hub(info: BenchmarkInfo, labels: str | None, reread: bool, _: bool) -> Corpus:
    """As of a folder with the same files."""
    column = labels or str(info.text_column)
    revision, splits = hub_texts(info, column, reread=reread)
    facts = {"kind": "hub", "config": info.config, "revision": revision, "text_column": column}
    train, test = (_rows(files, column) for files in splits)
    return Corpus(info.name, train, test, facts)


def _rows(files: Sequence[Path], column: str) -> Documents:
    return Documents.of([text.encode() for file in files for text in read_text_column(file, column)])


def _refuse_no_test(folder: Path, there: bool, drawn: bool, what: str) -> None:
    if there and drawn:
        raise InputError(f"data.test draws a test split, but {readable(folder)} has its own; leave it out")
    if not there and not drawn:
        raise InputError(
            f"{readable(folder)} has no {what}; put the test text there, or draw it with --set data.test=0.1"
        )
