"""Locks of runs: two processes, or machines on one file system, never work on the same run. The system releases a lock with its process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import IO

from layerlocal.files import cannot_write
from layerlocal.types import InputError

__all__ = ["RunBusyError", "open_lock", "take_lock"]

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What a lock that another process holds gives; whatever else it gives, waiting does not help."""


class RunBusyError(RuntimeError):
    """Another process is working on this run."""


def open_lock(path: Path) -> IO[bytes]:
    """The run's lock file, made with its folder where they are missing; both are the run's own, and no links to somewhere else.

    Raises:
        RunBusyError: another process is just giving the run up.
        InputError: a link, another kind of file, or a folder that cannot be written.
    """
    try:
        for link in (path, path / "checkpoint", path / "LOCK"):
            if link.is_symlink():
                raise InputError(f"{link} is a link, and a run is written in its own folder only; delete the link")
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / "LOCK", "ab", opener=_open_at_once)  # noqa: SIM115 (held until the run ends)
        if not stat.S_ISREG(os.fstat(lock.fileno()).st_mode):
            lock.close()
            raise InputError(f"{path / 'LOCK'} is no plain file, so that run {path.name} cannot be locked; delete it")
        return lock
    except FileNotFoundError as error:  # removed by another process between the two lines
        raise RunBusyError(f"run {path.name} was just given up by another process") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            path.rmdir()  # it has just been made, where it is empty
        raise cannot_write(path, error) from error


def _open_at_once(name: str, flags: int) -> int:
    """Without waiting for the other end of a pipe that somebody made there."""
    return os.open(name, flags | os.O_NONBLOCK, 0o666)


def take_lock(lock: IO[bytes], path: Path) -> None:
    """Take the lock, and see that its file is still the one in the folder (its last holder may have removed both).

    Raises:
        RunBusyError: another process holds it, or just gave it up.
        InputError: a file system without locks.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            raise RunBusyError(f"run {path.name} is being trained by another process") from error
        raise InputError(
            f"{path} cannot be locked ({error.strerror or error}), so two processes could write it at once; "
            "name a folder on a file system with locks, with --out"
        ) from error
    try:
        same = os.fstat(lock.fileno()).st_ino == os.stat(path / "LOCK").st_ino
    except FileNotFoundError:
        same = False
    except OSError as error:
        raise cannot_write(path, error) from error
    if not same:
        raise RunBusyError(f"run {path.name} was just given up by another process")
