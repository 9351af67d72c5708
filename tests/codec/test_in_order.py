"""Work in threads, results in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from spresso_cli.codec.in_order import in_order


def test_items_are_taken_as_results_are_asked_for() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    results = in_order(ThreadPoolExecutor(2), lambda item: item * 2, items(), depth=5)
    assert not taken
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(taken) == 7
    assert list(results) == [2 * item for item in range(3, 50)]


def test_closing_drops_what_has_not_begun_and_waits_for_what_has() -> None:
    done, begun, go = [], threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == 1:
            begun.set()
            assert go.wait(10)
        done.append(item)

    results = in_order(ThreadPoolExecutor(1), work, range(9), depth=5)
    next(results)
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    results.close()
    assert done == [0, 1]


def test_an_interruption_waits_for_nothing() -> None:
    go = threading.Event()
    results = in_order(ThreadPoolExecutor(1), lambda item: item and go.wait(60), range(9), depth=5)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert not go.is_set()
    go.set()
