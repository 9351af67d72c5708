"""The cores of a CPU, each at work on something of its own: a sound, or a window of one.

Threads that share an operation have to meet thousands of times a second. If they sleep in between
they take long to wake; if they spin they keep the core from others. Whole sounds, or windows of one
sound, meet only once. So every worker here has torch for itself, computing with one thread. More
threads may also add up products in another order; this way results depend neither on the number of
cores nor on what else is at work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import torch

from spresso_cli.codec.in_order import in_order

# Of a worker's time about a tenth is the interpreter's, which all of them share.
MOST = 8
# Items that take much memory and are at work at once; their parts keep all workers busy.
LARGE = 2

Item = TypeVar("Item")
Ready = TypeVar("Ready")
# `map`, or a way to go through items that threads share.
Each = Callable[[Callable[[Item], Ready], Iterable[Item]], Iterable[Ready]]


class Cores:
    """As many workers as torch may use threads where this is called, and no more than `MOST`."""

    def __init__(self, device: torch.device):
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        self.workers = min(threads, MOST)
        self._large = threading.Semaphore(LARGE)
        self._parts = self._crew("part") if self.workers > 1 else None

    def close(self) -> None:
        """Parts that have begun are finished; all others are dropped."""
        if self._parts is not None:
            self._parts.shutdown(wait=False, cancel_futures=True)

    def through(
        self,
        stage: Callable[[Iterable[Item]], Iterable[Ready]],
        items: Iterable[Item],
        large: Callable[[Item], bool] = lambda item: False,
    ) -> Iterator[Ready]:
        """The results of a stage, one for every item, in order. A single worker gives it all items
        at once, several give it one item each, and large ones `LARGE` at a time. The stage may use
        `each`."""
        if self.workers == 1:
            yield from stage(items)
            return

        def alone(item: Item) -> list[Ready]:
            with self._large if large(item) else nullcontext():
                return list(stage([item]))

        sounds = in_order(self._crew("sound"), alone, items, 2 * self.workers)
        try:
            for results in sounds:
                yield from results
        except BaseException:
            self.close()  # before the wait for what is inside
            raise
        finally:
            sounds.close()

    def each(self, work: Callable[[Item], Ready], items: Iterable[Item]) -> Iterable[Ready]:
        """`map` for the parts of one sound, in inference mode."""
        if self._parts is None:
            return map(work, items)
        some = list(items)
        if len(some) < 2:
            return map(work, some)

        def one(item: Item) -> Ready:
            with torch.inference_mode():
                return work(item)

        return self._parts.map(one, some)

    def _crew(self, name: str) -> ThreadPoolExecutor:
        """Threads in which torch uses one."""
        started = threading.Barrier(self.workers + 1)
        threads = torch.get_num_threads()

        def begin() -> None:
            torch.get_num_threads()  # else it would start with the number set last
            torch.set_num_threads(1)
            started.wait()

        crew = ThreadPoolExecutor(self.workers, f"spresso-{name}", initializer=begin)
        for _ in range(self.workers):
            crew.submit(int)  # makes it start one
        started.wait()
        # What threads set for themselves, torch also sets for those that are still to come.
        torch.set_num_threads(threads)
        return crew
