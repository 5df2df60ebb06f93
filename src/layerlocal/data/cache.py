"""Images decoded once: a folder of ``.npy`` files per split, written under a temporary name and renamed when complete.

``<cache>/decoded/<key>/`` holds ``images.npy`` (uint8 (N, C, H, W)), ``label-<i>.npy`` (int64 (N,)) and ``meta.json``.
The images do not depend on the label column, so one entry serves all of them. A killed decode leaves only a temporary
folder; of two processes that decode the same split at once the second one to end throws its copy away.

An entry is believed only where it is what was written: ``meta.json`` and the labels at every use, the pixels when a process
first opens them. A damaged entry is made again from its source.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL

from layerlocal.data.decode import EncodedImage, decode_image
from layerlocal.data.sources import READ_ROWS, OpenSplit, SplitSource, pick_label
from layerlocal.types import InputError, shown

__all__ = ["CachedSplit", "decoded_split", "default_cache_dir"]

FORMAT = 3  # of an entry; part of its key, as Pillow's version is: another one may decode to other pixels
_PART = 32  # images a thread decodes before it takes the next part
_TEMPORARY = ".decoding-"
_STALE_SECONDS = 2 * 24 * 3600  # a temporary folder nobody wrote to for so long was left by a killed process
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


_NEEDED = {
    "key": str,
    "count": int,
    "shape": list,
    "names": dict,
    "facts": dict,
    "pixels_sha256": str,
    "label_sha256": list,
}
_whole: set[tuple[str, int, int, int]] = set()  # image files that this process has held against their sum


def default_cache_dir() -> Path:
    """``LAYERLOCAL_CACHE`` where it is set, else ``~/.cache/layerlocal``.

    Raises:
        InputError: there is no home directory.
    """
    try:
        place = Path(os.environ.get("LAYERLOCAL_CACHE") or Path.home() / ".cache" / "layerlocal").expanduser()
        place.exists()
    except RuntimeError as error:
        raise InputError("there is no home directory to keep decoded images in; set LAYERLOCAL_CACHE") from error
    except OSError as error:
        raise InputError(f"LAYERLOCAL_CACHE names no folder: {error.strerror}: {shown(str(place))}") from error
    return place


@dataclass(frozen=True)
class CachedSplit:
    """A decoded split on disk.

    Attributes:
        folder: of the entry.
        meta: key (the folder's name), count, shape, class names by label column, sha256 of the pixels and of the label files, facts about
            the source.
        remake: decodes the source again and puts the entry in place anew; gives its meta.
    """

    folder: Path
    meta: dict[str, Any]
    remake: Callable[[], dict[str, Any]]

    @property
    def channels(self) -> int:
        """C."""
        return int(self.meta["shape"][0])

    def images(self) -> np.ndarray:
        """uint8 (N, C, H, W), memory-mapped, read-only; held against their sum when this process first opens them.

        Raises:
            InputError: they are damaged, and what the source holds now is something else.
        """
        path = self.folder / "images.npy"
        if not _is_whole(path, self.meta):
            warnings.warn(f"the decoded copy {path} was damaged and is made again", stacklevel=2)
            if self.remake()["pixels_sha256"] != self.meta["pixels_sha256"] or not _is_whole(path, self.meta):
                raise InputError(
                    f"the decoded copy {path} is damaged and its source has changed; run the command again"
                )
        return _load(path, mmap_mode="r")

    def labels(self, column: str) -> np.ndarray:
        """int64 (N,)."""
        return _load(self.folder / f"label-{list(self.meta['names']).index(column)}.npy")


def _load(path: Path, **options: Any) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"the decoded copy {path} is broken ({error}); delete its folder and run again") from error


def _is_whole(path: Path, meta: dict[str, Any]) -> bool:
    """Whether the pixels are those that were decoded; read once a process and file."""
    try:
        state = path.stat()
        known = (str(path), state.st_ino, state.st_size, state.st_mtime_ns)
        if known in _whole:
            return True
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return False
    if images.dtype != np.uint8 or list(images.shape) != [meta["count"], *meta["shape"]]:
        return False
    digest = hashlib.sha256()
    for start in range(0, len(images), READ_ROWS):
        digest.update(np.ascontiguousarray(images[start : start + READ_ROWS]).data)
    if digest.hexdigest() != meta["pixels_sha256"]:
        return False
    _whole.add(known)
    return True


def _sum_of(meta: dict[str, Any]) -> str:
    """Of everything in it but the sum itself."""
    text = json.dumps({key: value for key, value in meta.items() if key != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """What `_write_entry` wrote; ``None`` where it is missing or anything but the pixels is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        if any(not isinstance(meta[key], kind) for key, kind in _NEEDED.items()) or meta["sha256"] != _sum_of(meta):
            return None
        if meta["key"] != folder.name:  # a whole entry, but of another split
            return None
        labels = [(folder / f"label-{index}.npy").read_bytes() for index in range(len(meta["names"]))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return meta if [hashlib.sha256(part).hexdigest() for part in labels] == meta["label_sha256"] else None


def decoded_split(
    source: SplitSource,
    *,
    cache_dir: Path,
    image_size: int | None,
    labels: str | None,
    min_channels: int = 1,
    reread: bool = False,
) -> CachedSplit:
    """The split's decoded copy, made now if it is not there yet, or damaged.

    Args:
        source: what to decode.
        cache_dir: of all entries.
        image_size: see `decode_image`.
        labels: the label column that will be wanted; checked before anything is decoded.
        min_channels: 3 to make grayscale images RGB.
        reread: decode again even where files have the sizes and times they had.

    Raises:
        InputError: a broken image, images of different sizes, a full disk, a cache folder that cannot be written.
    """
    identity = json.dumps([FORMAT, PIL.__version__, source.identity, image_size, min_channels])
    folder = cache_dir / "decoded" / hashlib.sha256(identity.encode()).hexdigest()[:32]

    def make() -> dict[str, Any]:
        opened = source.open()
        pick_label(list(opened.labels), labels)
        _write_entry(folder, opened, image_size=image_size, min_channels=min_channels)
        meta = _read_meta(folder)
        if meta is None:
            raise InputError(f"the decoded copy {folder} cannot be read back; check the disk, or set LAYERLOCAL_CACHE")
        return meta

    meta = None if reread else _read_meta(folder)
    if meta is None and not reread and (folder / "meta.json").exists():
        warnings.warn(f"the decoded copy {folder} was damaged and is made again", stacklevel=2)
    return CachedSplit(folder, make() if meta is None else meta, make)


def _write_entry(folder: Path, opened: OpenSplit, *, image_size: int | None, min_channels: int) -> None:
    """Decode into a temporary folder, then rename it: the entry is there as a whole or not at all."""
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
        meta = _write_images(temporary / "images.npy", opened, image_size=image_size, channels=min_channels)
        sums = []
        for position, name in enumerate(opened.names):
            packed = io.BytesIO()  # `np.save` to a file would tell of a full disk without an error number
            np.save(packed, opened.labels[name], allow_pickle=False)
            (temporary / f"label-{position}.npy").write_bytes(packed.getvalue())
            sums.append(hashlib.sha256(packed.getvalue()).hexdigest())
        meta |= {"key": folder.name, "names": opened.names, "facts": opened.facts, "label_sha256": sums}
        meta["sha256"] = _sum_of(meta)
        (temporary / "meta.json").write_text(json.dumps(meta))
        _rename(temporary, folder)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"the disk is full: no room for decoded images in {folder.parent}; free some or set LAYERLOCAL_CACHE"
            ) from error
        if error.errno in _NO_PLACE and str(error.filename or folder).startswith(str(folder.parent.parent)):
            raise InputError(
                f"cannot write decoded images to {folder.parent} ({error.strerror}); set LAYERLOCAL_CACHE"
            ) from error
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed decodes left behind long ago."""
    for left in parent.glob(f"{_TEMPORARY}*"):
        try:
            newest = max(path.stat().st_mtime for path in (left, *left.glob("*")))
        except FileNotFoundError:  # its decode ended, or threw its copy away, while we looked: not ours to sweep
            continue
        if time.time() - newest > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    """Put the complete entry in place, unless another process has just put the same there; an entry that is not that is moved away first."""
    written = json.loads((temporary / "meta.json").read_bytes())
    for _ in range(3):
        try:
            os.replace(temporary, folder)
            return
        except OSError:
            if not folder.is_dir():
                raise
        if _read_meta(folder) == written and _is_whole(folder / "images.npy", written):
            return
        with contextlib.suppress(FileNotFoundError):  # another process moves it away too
            os.replace(folder, f"{temporary}-old")
        shutil.rmtree(f"{temporary}-old", ignore_errors=True)


def _write_images(path: Path, opened: OpenSplit, *, image_size: int | None, channels: int) -> dict[str, Any]:
    """Decode all images into one ``.npy``, a chunk at a time; starts over if gray turns out to be mixed with colour."""
    if opened.count == 0:
        raise InputError("a split has no images; add some")
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that it passes over, and it names no file
        for attempt in (channels, 3):
            stacks = _decode_chunks(opened.read(), pool, image_size=image_size)
            with path.open("wb") as file:
                meta = _write_npy(file, stacks, count=opened.count, channels=attempt)
            if meta is not None:
                return meta
    raise AssertionError("three channels hold every image")


def _write_npy(
    file: BinaryIO, chunks: Iterator[list[tuple[np.ndarray, str]]], *, count: int, channels: int
) -> dict[str, Any] | None:
    """Write the chunks behind an ``.npy`` header; None if an image has more channels than ``channels``.

    Written, not mapped: a full disk then is an error that can be caught, and not a signal that kills the process.
    """
    digest = hashlib.sha256()
    shape: tuple[int, ...] | None = None
    for chunk in chunks:
        for pixels, where in chunk:
            if shape is None:
                channels = max(channels, pixels.shape[0])
                shape = (channels, *pixels.shape[1:])
                _check_square(shape, where)
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
                np.lib.format.write_array_header_1_0(file, header)
            if pixels.shape[0] > channels:
                return None
            if pixels.shape[1:] != shape[1:]:
                raise InputError(
                    f"{where} is {pixels.shape[2]}×{pixels.shape[1]} pixels but the first image {shape[2]}×{shape[1]}; "
                    f"give image_size, e.g. image_size={min(shape[1:])}"
                )
            data = np.broadcast_to(pixels, shape).tobytes()  # grayscale among colour: three equal channels
            digest.update(data)
            file.write(data)
    return {"count": count, "shape": list(shape or ()), "pixels_sha256": digest.hexdigest()}


def _check_square(shape: tuple[int, ...], where: str) -> None:
    if shape[1] != shape[2]:
        raise InputError(
            f"{where} is {shape[2]}×{shape[1]} pixels, not square; give image_size, e.g. image_size={min(shape[1:])}, "
            "to resize and crop"
        )


def _decode_chunks(
    images: Iterator[EncodedImage], pool: ThreadPoolExecutor, *, image_size: int | None
) -> Iterator[list[tuple[np.ndarray, str]]]:
    """Decode in order, a chunk of at most ``READ_ROWS`` images at a time (PNG and JPEG decode outside the GIL)."""

    def decode(part: list[EncodedImage]) -> list[tuple[np.ndarray, str]]:
        return [(decode_image(encoded, image_size=image_size), encoded.where) for encoded in part]

    while batch := list(itertools.islice(images, READ_ROWS)):
        parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
        yield list(itertools.chain.from_iterable(pool.map(decode, parts)))
