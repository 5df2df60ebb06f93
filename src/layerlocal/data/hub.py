"""The Hugging Face Hub: the Parquet files of a benchmark, which then take the road of a local folder of Parquet files.

The Hub's own cache keeps them (``HF_HOME`` moves it), so files that another program fetched are found there. No token is needed. Which files
make up a split is read from the listing of the repository:

- its main branch: ``<folder>/<split>-00000-of-00002.parquet``, with or without a hash before the ending, or ``<folder>/<split>.parquet``;
- else the branch to which the Hub itself converts data sets: ``<configuration>/<split>/0000.parquet``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from layerlocal.data.benchmarks import BenchmarkInfo
from layerlocal.data.columns import class_names, superclass_columns, text_column
from layerlocal.data.parquet import ParquetSet, check_shards, read_schemas
from layerlocal.data.split_source import OpenSplit, SplitSource
from layerlocal.types import InputError, UnreachableError

__all__ = ["hub_sources", "hub_texts", "split_files"]

CONVERTED = "refs/convert/parquet"
_FILE = {
    "main": re.compile(r"(?:(?P<folder>.+)/)?(?P<split>[^/]+?)(?:-\d+-of-\d+(?:-[0-9a-f]+)?)?\.parquet"),
    CONVERTED: re.compile(r"(?P<folder>.+)/(?P<split>[^/]+)/\d+\.parquet"),
}
_TIMEOUT = 10  # seconds without an answer
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def hub_sources(info: BenchmarkInfo) -> tuple[SplitSource, SplitSource]:
    """Training and test source of one benchmark; nothing is imported or fetched until a source is opened."""
    found = functools.cache(lambda: _read_layout(info, _fetch(info)))

    def source(index: int, split: str) -> SplitSource:
        return SplitSource(["hub", info.hub_id, info.config, split], lambda: _open(found(), index))

    return source(0, info.train_split), source(1, info.test_split)


def hub_texts(info: BenchmarkInfo, column: str, *, reread: bool = False) -> tuple[str, list[list[Path]]]:
    """The commit of a benchmark of text, and the files of its training and of its test split on this disk.

    Args:
        info: of which the columns do not count.
        column: of text, which every split must have.
        reread: look for a newer commit; otherwise files that were fetched before are taken, and nobody is asked.

    Raises:
        InputError: no such files, nobody who answers, or no such column.
    """
    fetched = (None if reread else _find_cached(info)) or _fetch(info)
    for schema in read_schemas([files[0] for files in fetched.splits]):
        if text_column(schema, column) is None:
            raise InputError(
                f"{info.hub_id} has no text in a column {column!r} (its columns: {', '.join(schema.names)}); name the column of text with "
                "labels=…, or give a folder of Parquet files"
            )
    return fetched.revision, fetched.splits


@dataclass(frozen=True)
class _Fetched:
    """One commit of a repository on this disk: the files of the training and of the test split, and the folder that has them all."""

    revision: str
    folder: Path
    splits: list[list[Path]]

    @classmethod
    def at(cls, revision: str, splits: Sequence[Sequence[str | Path]], branch: str) -> _Fetched:
        paths = [[Path(file) for file in files] for files in splits]
        folder = paths[0][0].parent
        return cls(revision, folder.parent if branch == CONVERTED else folder, paths)


def split_files(names: Sequence[str], info: BenchmarkInfo, *, branch: str = "main") -> list[list[str]] | None:
    """The training and the test files of a benchmark among the files of its repository, sorted; ``None`` where it lacks one of the two.

    Args:
        names: all files of the branch.
        info: of which ``config``, ``train_split`` and ``test_split`` count. Where there is a configuration, its folder has its name.
        branch: "main" or `CONVERTED`.

    Raises:
        InputError: several folders have both splits, or shards of one are missing or there twice.
    """
    folders: dict[str, dict[str, list[str]]] = {}
    for name in sorted(names):
        if match := _FILE[branch].fullmatch(name):
            folders.setdefault(match["folder"] or "", {}).setdefault(match["split"], []).append(name)
    wanted = (info.train_split, info.test_split)
    whole = {
        folder: [splits[split] for split in wanted]
        for folder, splits in folders.items()
        if all(split in splits for split in wanted) and info.config in (None, folder.rpartition("/")[2])
    }
    if len(whole) > 1:
        raise _changed(info, f"has the splits {' and '.join(wanted)} in {' and '.join(whole)}")
    found = next(iter(whole.values()), None)
    for files in found or () if branch == "main" else ():
        check_shards([Path(info.hub_id, name) for name in files])
    return found


def _changed(info: BenchmarkInfo, what: str) -> InputError:
    return InputError(f"{info.hub_id} {what}; its layout changed: give a folder of Parquet files instead")


def _fetch(info: BenchmarkInfo) -> _Fetched:
    """The files of both splits, fetched where they are not there yet; where the Hub does not answer, those fetched before.

    Raises:
        InputError: neither, or no such files on the Hub, or no room for them.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UnreachableError(
            f"{info.hub_id} is on the Hugging Face Hub, and huggingface-hub is not installed; pip install 'layerlocal[hub]', or "
            f"{_by_hand(info)}"
        )
    try:
        return _download(info)
    except InputError:
        raise
    except Exception as error:  # connection, time-out, offline mode, gated, gone: many kinds from several libraries
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise InputError(
                f"cannot keep {info.hub_id} in the cache of the Hugging Face Hub ({error.strerror}); free some room, or set HF_HOME"
            ) from error
        if (cached := _find_cached(info)) is not None:
            return cached
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreachableError(
            f"cannot reach {info.hub_id} on the Hugging Face Hub ({reason[:160]}); connect to the network, or {_by_hand(info)}"
        ) from error


def _by_hand(info: BenchmarkInfo) -> str:
    files = f"its Parquet files (train-*, {info.test_split}-*.parquet)"
    return f"put {files} into a folder {info.name!r} and name the folder around it in LAYERLOCAL_DATA"


def _download(info: BenchmarkInfo) -> _Fetched:
    """Of the newest commit; what is in the cache is not fetched again, and what was broken off is resumed. Bars only at a terminal."""
    import huggingface_hub
    from huggingface_hub.utils import RevisionNotFoundError

    api = huggingface_hub.HfApi()
    for branch in _FILE:
        try:
            listed = api.dataset_info(info.hub_id, revision=branch, timeout=_TIMEOUT)
        except RevisionNotFoundError:
            continue
        splits = split_files([file.rfilename for file in listed.siblings or ()], info, branch=branch)
        if splits is None or listed.sha is None:
            continue
        fetch = functools.partial(
            huggingface_hub.hf_hub_download,
            info.hub_id,
            repo_type="dataset",
            revision=listed.sha,
            etag_timeout=_TIMEOUT,
        )
        return _Fetched.at(listed.sha, [[fetch(name) for name in files] for files in splits], branch)
    raise _changed(info, f"has no Parquet files of its splits {info.train_split} and {info.test_split}")


def _find_cached(info: BenchmarkInfo) -> _Fetched | None:
    """The newest commit in the Hub's cache of which both splits are whole, as the names of their files tell."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE, f"datasets--{info.hub_id.replace('/', '--')}", "snapshots")
    for snapshot in sorted(home.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True):
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.parquet") if path.is_file()]
        with contextlib.suppress(InputError):
            if (splits := split_files(names, info)) is not None:
                return _Fetched.at(snapshot.name, [[snapshot / name for name in files] for files in splits], "main")
    return None


def _read_layout(info: BenchmarkInfo, fetched: _Fetched) -> tuple[str, ParquetSet]:
    """The commit and its set, of which images and labels are the columns that the table of benchmarks names.

    Raises:
        InputError: the columns are not there, or the labels have no class names.
    """
    for schema in read_schemas([files[0] for files in fetched.splits]):
        if info.image_column not in schema.names or class_names(schema, info.label_column) is None:
            raise _changed(
                info,
                f"has the columns {', '.join(schema.names)}, not {info.image_column} and {info.label_column} with class names",
            )
    others = superclass_columns(schema, info.label_column)
    return fetched.revision, ParquetSet(
        fetched.folder, fetched.splits, info.image_column, info.label_column, others, origin=info.hub_id
    )


def _open(found: tuple[str, ParquetSet], index: int) -> OpenSplit:
    """One split, with the commit among its facts."""
    opened = found[1].open(index)
    return replace(opened, facts={"revision": found[0], **opened.facts})
