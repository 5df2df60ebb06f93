"""The next batches are made while the current one is trained on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


def prefetch(items: Iterable[T], *, ahead: int = 1) -> Iterator[T]:
    """``items`` in their order, made one thread ahead; for batches that are read from a file or copied to a device.

    The thread ends with the iteration, however that ends; an error in it is raised where the item was asked for.

    Args:
        items: what to iterate over.
        ahead: items made beforehand, ≥ 1; each is held in memory.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(ahead)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(items, ready, stop), name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, found = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise found
            given = [found]
            del found  # from here on the batch is the consumer's alone
            yield given.pop()
    finally:
        stop.set()
        thread.join()


def _work(items: Iterable[Any], ready: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
    """Put every item, and how it ended, into the queue, until told to stop."""
    try:
        for item in items:
            _put(ready, ("item", item), stop)
            if stop.is_set():
                return
        _put(ready, ("end", None), stop)
    except BaseException as error:
        _put(ready, ("error", error), stop)


def _put(ready: queue.Queue[tuple[str, Any]], entry: tuple[str, Any], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            return ready.put(entry, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
