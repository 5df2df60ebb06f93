"""Prefetching: the same items in the same order, made ahead by no more than asked, with no thread left behind."""

from __future__ import annotations

import threading
import time

import pytest

from layerlocal.data.prefetch import prefetch


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_their_order_and_all_of_them():
    assert list(prefetch(range(100), ahead=3)) == list(range(100))
    assert list(prefetch([])) == []
    assert not prefetch_threads()


def test_no_more_items_are_made_ahead_than_asked():
    made = []

    def items():
        for index in range(10):
            made.append(index)
            yield index

    for item in prefetch(items(), ahead=2):
        time.sleep(0.02)
        assert len(made) <= item + 1 + 2 + 1  # given out, waiting in the queue, in the worker's hand
    assert made == list(range(10))


def test_an_error_is_raised_where_its_item_was_asked_for():
    def items():
        yield 1
        raise OSError("the file is gone")

    found = []
    with pytest.raises(OSError, match="the file is gone"):
        for item in prefetch(items()):
            found.append(item)
    assert found == [1] and not prefetch_threads()


def test_leaving_early_ends_the_thread():
    iterator = iter(prefetch(iter(int, 1)))
    assert next(iterator) == 0
    iterator.close()
    assert not prefetch_threads()
