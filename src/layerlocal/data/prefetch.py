"""The next batches are made while the current one is trained on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Prefetched"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


class Prefetched(Generic[T]):
    """Iterates over ``items`` in their order, made one thread ahead; for batches that are read from a file or copied to a device.

    The thread ends with the iteration, however that ends; an error in it is raised where the item was asked for.

    Args:
        items: what to iterate over.
        ahead: items made beforehand, ≥ 1; each is held in memory.

    Attributes:
        waited_s: seconds in which the consumer waited for an item.
    """

    def __init__(self, items: Iterable[T], *, ahead: int = 1) -> None:
        self.items = items
        self.ahead = ahead
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[T]:
        ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(self.ahead)
        stop = threading.Event()

        def put(entry: tuple[bool, T | BaseException | None]) -> None:
            while not stop.is_set():
                try:
                    return ready.put(entry, timeout=_POLL_SECONDS)
                except queue.Full:
                    continue

        def work() -> None:
            try:
                for item in self.items:
                    put((True, item))
                    if stop.is_set():
                        return
                put((False, None))
            except BaseException as error:
                put((False, error))

        thread = threading.Thread(target=work, name="prefetch", daemon=True)
        thread.start()
        try:
            while True:
                start = time.perf_counter()
                more, item = ready.get()
                self.waited_s += time.perf_counter() - start
                if more:
                    given = [item]
                    del item  # the consumer's alone
                    yield given.pop()  # type: ignore[misc]
                elif isinstance(item, BaseException):
                    raise item
                else:
                    return
        finally:
            stop.set()
            thread.join()
