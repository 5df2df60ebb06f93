"""Which test images a run answered right: one bit an image, kept beside its result, so that a difference has a sampling error of its own.

    answers.bin   of the test split (of a run judged on validation data: of that split), in its order: was the fused prediction right?
    images.bin    of the source's test images, in their order, up to the last one of the split: is it in the split?

Both are `numpy.packbits` of booleans, read with ``numpy.unpackbits(numpy.fromfile(name, "uint8"))``. Runs of 0.1.0 have neither; where it
is not known which of the source's images a split has (composed images, validation splits), there is no ``images.bin``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from layerlocal.runs.records import RunRecord, damaged_run, read_sums, unreadable
from layerlocal.types import InputError

__all__ = ["ANSWERS", "IMAGES", "Answers", "read_answers"]

ANSWERS = "answers.bin"
IMAGES = "images.bin"


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answered on the images it is judged on.

    Attributes:
        right: bool (N,), in the order of the split.
        source: what the images were taken from; two runs with the same one and the same place have the same image.
        places: int64 (N,), ascending: which images of the source they are.
    """

    right: NDArray[np.bool_]
    source: str
    places: NDArray[np.int64]


def read_answers(path: Path, record: RunRecord) -> Answers | None:
    """The answers of a finished run; ``None`` of a run that kept none.

    Args:
        path: its folder.
        record: what it says.

    Raises:
        InputError: a file that is not what was written, or cannot be read; bits that do not fit the number of images.
    """
    try:
        sums = read_sums(path)
        bits = {name: _content(path / name, sums[name]) for name in (ANSWERS, IMAGES) if name in sums}
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise damaged_run(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if ANSWERS not in bits:
        return None
    kind = "validation" if record.spec.judged_on == "validation" else "test"
    count = record.result.get(f"num_{kind}")
    if not isinstance(count, int) or len(bits[ANSWERS]) != (count + 7) // 8:
        raise _unfitting(path, ANSWERS, f"{8 * len(bits[ANSWERS])} bits", f"{count} {kind} images")
    right = _unpacked(bits[ANSWERS])[:count]
    if IMAGES not in bits:
        return Answers(right, f"{kind} of {_words(record)}", np.arange(count))
    places = _places(bits[IMAGES])
    if len(places) != count:
        raise _unfitting(path, IMAGES, f"{len(places)} bits that are set", f"{count} {kind} images")
    return Answers(right, _source(record), places)


@lru_cache(maxsize=256)
def _places(content: bytes) -> NDArray[np.int64]:
    """Which bits are set: one array for all runs on the same images."""
    found = np.flatnonzero(_unpacked(content))
    found.flags.writeable = False
    return found


def _content(path: Path, expected: object) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"{path.name} is not what was written")
    return content


def _unpacked(content: bytes) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(content, np.uint8)).astype(bool)


def _unfitting(path: Path, name: str, bits: str, images: str) -> InputError:
    return InputError(
        f"{name} of run {path} has {bits}, which do not fit its {images}; delete that folder and run it again; the other runs are untouched"
    )


def _words(record: RunRecord) -> str:
    """The data of a run, as it asked for them: equal words, equal images."""
    return json.dumps(record.spec.data.model_dump(mode="json"), sort_keys=True)


def _source(record: RunRecord) -> str:
    """What is the same for all draws of images from one set; drawn data are another set at every draw."""
    data = record.spec.data
    if data.teacher is not None or data.source == "teacher_student":
        return _words(record)
    drawn = "all images" if data.test is not None else "test images"
    return f"{drawn} of {data.content_sha256 or data.source}"
