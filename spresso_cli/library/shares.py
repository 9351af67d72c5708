"""How a run's time is divided among its files, so that their times add up to it.

A codec works on several sounds at once. Time that passes meanwhile is shared by the sounds inside
it, in proportion to their lengths; time that clearly belongs to one of them is counted to it alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping


class Shares:
    """A clock that is read between two steps of one thread; files are known by number."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._spent: defaultdict[int, float] = defaultdict(float)

    def lap(self) -> float:
        """Seconds since the clock was last read; whoever drops them makes them nobody's."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds

    def add(self, number: int, seconds: float) -> None:
        """Gives one file time that was measured."""
        self._spent[number] += seconds

    def divide(self, lengths: Mapping[int, float]) -> None:
        """Gives the time since the last reading to some files, by the length of each."""
        seconds, total = self.lap(), sum(lengths.values())
        for number, length in lengths.items():
            self._spent[number] += seconds * (length / total if total else 1 / len(lengths))

    def take(self, number: int) -> float:
        """All that a file was given, with the time since the last reading; it is forgotten then."""
        return self._spent.pop(number, 0.0) + self.lap()
