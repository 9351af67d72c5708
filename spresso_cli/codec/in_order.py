"""Work done by threads at their own pace, with its results in the order of its items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def in_order(
    pool: Executor, work: Callable[[Item], Ready], items: Iterable[Item], depth: int
) -> Iterator[Ready]:
    """Yields `work(item)` of every item in order, at most `depth` of them in advance.

    `work` runs in the pool; what it raises is raised here, in the place of its item. Items are
    taken by whoever iterates. The pool is shut down at the end; closing the iterator drops what has
    not begun and waits for what has. An interruption that is raised in it does not wait: a pipe
    that is read in the pool may never say anything.
    """
    waiting: deque[Future[Ready]] = deque()
    wait = True
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
