"""An index of a store: what its finished runs say in one file, so that a store of many runs is read without opening their folders.

``<root>/.index`` is a copy. It may be deleted at any time, a damaged one is passed over, and where it cannot be written nothing is said.
A run is taken from it only as long as every file of that run is the one that was read then: the same inode, size, and times at which its
content (mtime) and anything of it (ctime) last changed. No program can set a ctime, and a copy of a store has ctimes of its own, so that
it is read anew. What these do not tell:

* A file that is changed in the same tick of the clock in which it was read. A run is taken in when its files have rested for `SETTLED`.
* A disk that returns other bytes than were written. It is not noticed here, but by whatever reads one run (`show HASH`, `export`): that
  holds every file against its sum. Without the file ``.index`` every command does.
* On a network share that keeps no ctime, a file edited in place to one as long, with its mtime put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa

from layerlocal.files import clear_leftovers, compact_json, write_whole
from layerlocal.runs.records import PARTS, RunContent, is_hash

__all__ = ["INDEX", "StoreIndex"]

INDEX = ".index"
FEW = 500
"""Fewer runs than these are read from their folders each time; for more the index is written anew."""
SETTLED = 2.0
"""Seconds; no file system counts time in larger steps."""
ROWS = 250
"""Runs that are packed together."""
CHUNK = 2**20
"""Bytes that are read at once to sum a file up."""


class StoreIndex:
    """The index while the runs of a store are read, in the order of their names: `content` and `add` for each, at the end `keep`.

    Args:
        root: the store.
        names: what is in its folder, sorted.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._known = root, _Known.load(root)
        self._signs: dict[str, str] = {}
        if self._known.signs or len(names) >= FEW:
            self._signs = _signs(root, names)
        news = sum(self._known.signs.get(name) != sign for name, sign in self._signs.items())
        self._writer = _Writer() if news >= FEW else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._known.close()

    def content(self, name: str) -> RunContent | None:
        """What a run says, or ``None`` where its folder is to be read."""
        sign = self._signs.get(name)
        return self._known.content(name) if sign is not None and sign == self._known.signs.get(name) else None

    def add(self, name: str, content: RunContent | None) -> None:
        """Once of each run: what it says, or ``None`` where it cannot be used and is to be read again each time."""
        if self._writer is not None and name in self._signs:
            self._writer.add(name, self._signs[name], content)

    def keep(self) -> None:
        """Write the index where much of it is new."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                clear_leftovers(self._root, (INDEX,))
                write_whole(self._root / INDEX, *self._writer.whole())


# --- which files these are --------------------------------------------------------------------------------------------

_FILES = ("DONE", *PARTS)
_NUMBERS = struct.Struct("<" + "Qqqq" * len(_FILES))


def _signs(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Name → what tells the files of a run from any that lay or will lie in their place; only of runs that have rested."""
    try:
        everybody = os.stat(root).st_mode & 0o055
    except OSError:
        return {}
    rested = time.time_ns() - int(SETTLED * 1e9)
    found = ((name, _sign(f"{root}/{name}", everybody, rested)) for name in names if is_hash(name))
    return {name: sign for name, sign in found if sign is not None}


def _sign(folder: str, everybody: int, rested: int) -> str | None:
    """``None`` also of a link, and of a run that somebody may not read who may read the index."""
    try:
        mode = os.lstat(folder).st_mode
        files = [os.stat(f"{folder}/{name}") for name in _FILES]
    except OSError:
        return None
    if not stat.S_ISDIR(mode) or everybody & ~mode:
        return None
    numbers: list[int] = []
    for file in files:
        if max(file.st_mtime_ns, file.st_ctime_ns) > rested or everybody & 0o044 & ~file.st_mode:
            return None
        numbers += (file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)
    return hashlib.blake2b(_NUMBERS.pack(*numbers), digest_size=16).hexdigest()


# --- the file ---------------------------------------------------------------------------------------------------------
# A line that names the sum of all that follows; a line of JSON: how long each group is, packed and unpacked, and the signs of its runs;
# the groups, each packed JSON: texts that its runs share, and name → the places of theirs among them, and its result.

_PACKER = "zstd"


def _head(body: Iterable[bytes]) -> bytes:
    found = hashlib.sha256()
    for part in body:
        found.update(part)
    return f"layerlocal index 1 {found.hexdigest()}\n".encode()


class _Known:
    """An index as it was written, in its file, of which one group of runs is in memory at a time."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        groups = [] if file is None else json.loads(file.readline())["groups"]
        at = 0 if file is None else file.tell()
        self.signs: dict[str, str] = {}
        self._places: dict[str, tuple[int, int, int]] = {}
        for size, unpacked, signs in groups:
            self.signs |= signs
            self._places |= dict.fromkeys(signs, (at, size, unpacked))
            at += size
        self._place: tuple[int, int, int] | None = None
        self._texts, self._runs = list[str](), dict[str, Any]()

    @classmethod
    def load(cls, root: Path) -> _Known:
        """The index of a store; an empty one where there is none, or a damaged one."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            file = stack.enter_context((root / INDEX).open("rb"))
            head = file.readline(200)
            if head == _head(iter(lambda: file.read(CHUNK), b"")):
                file.seek(len(head))
                stack.pop_all()
                return cls(file)
        return cls()

    def content(self, name: str) -> RunContent | None:
        """What a run says; ``None`` of one that could not be used, or where the file was cut since."""
        if self._place != self._places[name]:
            with contextlib.suppress(OSError, ValueError):
                self._unpack(self._places[name])
        if name not in self._runs:
            return None
        places, result = self._runs[name]
        *spec, env = (self._texts[place] for place in places)
        return RunContent(tuple(spec), env, result)

    def _unpack(self, place: tuple[int, int, int]) -> None:
        assert self._file is not None
        at, size, unpacked = place
        self._place, self._texts, self._runs = place, [], {}
        self._file.seek(at)
        self._texts, self._runs = json.loads(
            pa.Codec(_PACKER).decompress(self._file.read(size), unpacked, asbytes=True)
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Writer:
    """Takes runs in the order of their names; those that it has lie packed in memory."""

    def __init__(self) -> None:
        self._groups: list[tuple[int, int, dict[str, str]]] = []
        self._packed: list[bytes] = []
        self._clear()

    def _clear(self) -> None:
        self._texts, self._runs, self._signs = dict[str, int](), list[str](), dict[str, str]()

    def add(self, name: str, sign: str, content: RunContent | None) -> None:
        self._signs[name] = sign
        if content is not None:
            places = [self._texts.setdefault(text, len(self._texts)) for text in (*content.spec, content.env)]
            self._runs.append(f'"{name}":[{places},{compact_json(content.result)}]')
        if len(self._signs) == ROWS:
            self._pack()

    def _pack(self) -> None:
        text = f"[{compact_json(list(self._texts))},{{{','.join(self._runs)}}}]".encode()
        self._packed.append(pa.Codec(_PACKER).compress(text, asbytes=True))
        self._groups.append((len(self._packed[-1]), len(text), self._signs))
        self._clear()

    def whole(self) -> list[bytes]:
        """The file, in parts."""
        if self._signs:
            self._pack()
        body = [compact_json({"groups": self._groups}).encode(), b"\n", *self._packed]
        return [_head(body), *body]
