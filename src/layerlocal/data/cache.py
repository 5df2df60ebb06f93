"""Images decoded once: a folder of ``.npy`` files per split, written under a temporary name and renamed when complete.

``<cache>/decoded/<key>/`` holds ``images.npy`` (uint8 (N, C, H, W)), ``label-<i>.npy`` (int64 (N,)) and ``meta.json``.
The images do not depend on the label column, so one entry serves all of them. A killed decode leaves only a temporary
folder; of two processes that decode the same split at once the second one to end throws its copy away.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from layerlocal.data.decode import EncodedImage, decode_image
from layerlocal.data.sources import READ_ROWS, OpenSplit, SplitSource, pick_label
from layerlocal.types import InputError

__all__ = ["CachedSplit", "decoded_split", "default_cache_dir"]

FORMAT = 1  # of an entry; part of its key
_PART = 32  # images a thread decodes before it takes the next part
_TEMPORARY = ".decoding-"
_STALE_SECONDS = 2 * 24 * 3600  # a temporary folder nobody wrote to for so long was left by a killed process
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_cache_dir() -> Path:
    """``LAYERLOCAL_CACHE`` where it is set, else ``~/.cache/layerlocal``."""
    return Path(os.environ.get("LAYERLOCAL_CACHE") or Path.home() / ".cache" / "layerlocal").expanduser()


@dataclass(frozen=True)
class CachedSplit:
    """A decoded split on disk.

    Attributes:
        folder: of the entry.
        meta: count, shape, class names by label column, sha256 of the pixels, facts about the source.
    """

    folder: Path
    meta: dict[str, Any]

    @property
    def channels(self) -> int:
        """C."""
        return int(self.meta["shape"][0])

    def images(self) -> np.ndarray:
        """uint8 (N, C, H, W), memory-mapped, read-only."""
        return _load(self.folder / "images.npy", mmap_mode="r")

    def labels(self, column: str) -> np.ndarray:
        """int64 (N,)."""
        return _load(self.folder / f"label-{list(self.meta['names']).index(column)}.npy")


def _load(path: Path, **options: Any) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"the decoded copy {path} is broken ({error}); delete its folder and run again") from error


def decoded_split(
    source: SplitSource, *, cache_dir: Path, image_size: int | None, labels: str | None, min_channels: int = 1
) -> CachedSplit:
    """The split's decoded copy, made now if it is not there yet.

    Args:
        source: what to decode.
        cache_dir: of all entries.
        image_size: see `decode_image`.
        labels: the label column that will be wanted; checked before anything is decoded.
        min_channels: 3 to make grayscale images RGB.

    Raises:
        InputError: a broken image, images of different sizes, a full disk, a cache folder that cannot be written.
    """
    identity = json.dumps([FORMAT, source.identity, image_size, min_channels])
    folder = cache_dir / "decoded" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if not (folder / "meta.json").exists():
        opened = source.open()
        pick_label(list(opened.labels), labels)
        _write_entry(folder, opened, image_size=image_size, min_channels=min_channels)
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"the decoded copy {folder} is broken ({error}); delete it and run again") from error
    return CachedSplit(folder, meta)


def _write_entry(folder: Path, opened: OpenSplit, *, image_size: int | None, min_channels: int) -> None:
    """Decode into a temporary folder, then rename it: the entry is there as a whole or not at all."""
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder.parent))
        meta = _write_images(temporary / "images.npy", opened, image_size=image_size, channels=min_channels)
        for position, name in enumerate(opened.names):
            packed = io.BytesIO()  # `np.save` to a file would tell of a full disk without an error number
            np.save(packed, opened.labels[name], allow_pickle=False)
            (temporary / f"label-{position}.npy").write_bytes(packed.getvalue())
        meta |= {"names": opened.names, "facts": opened.facts}
        (temporary / "meta.json").write_text(json.dumps(meta))
        _rename(temporary, folder)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InputError(
                f"the disk is full: no room for decoded images in {folder.parent}; free some or set LAYERLOCAL_CACHE"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
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
    """Put the complete entry in place, unless another process was first."""
    try:
        os.replace(temporary, folder)
    except OSError:
        if not (folder / "meta.json").exists():
            raise


def _write_images(path: Path, opened: OpenSplit, *, image_size: int | None, channels: int) -> dict[str, Any]:
    """Decode all images into one ``.npy``, a chunk at a time; starts over if gray turns out to be mixed with colour."""
    if opened.count == 0:
        raise InputError("a split has no images; add some")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
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
