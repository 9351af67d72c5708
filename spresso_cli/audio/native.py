"""Calls of native code: what Python raises in the middle of one is raised after it.

No exception can cross native code. It comes out as another error or, where a callback of cffi
raises it, as a traceback on stderr and nothing else. So Ctrl-C, which may land anywhere, waits for
the end of the call, and so does what a file of ours raises in a callback.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self, TypeVar

Result = TypeVar("Result")


class Calls:
    """Calls of native code, on one file if there is one: `with calls:` goes around each, in any
    thread.

    In the main thread a handler of SIGINT is asked at once, but what it raises waits for the end
    of the call; one that raises nothing changes nothing. The file is not touched any more after
    whatever waits, so that the call ends soon. Signals that no handler in Python takes are left
    alone.

    Attributes:
        over: whether the file is to be left alone.
    """

    def __init__(self) -> None:
        self.over = False
        self._waiting: BaseException | None = None
        self._former: Callable[[int, FrameType | None], object] | None = None
        self._at_file = False  # where an exception may be raised

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            former = signal.getsignal(signal.SIGINT)
            if callable(former):
                self._former = former
                signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The former handler may have put another one in its place.
        if self._former is not None and signal.getsignal(signal.SIGINT) == self._take:
            signal.signal(signal.SIGINT, self._former)
        self._former = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            raise waiting from None  # whatever the native code complains of

    def attempt(self, operation: Callable[[], Result], instead: Result) -> Result:
        """Returns what an operation on the file returns, or `instead` where that is over."""
        try:
            self._at_file = True
            result = instead if self.over else operation()
            self._at_file = False
            return result
        except BaseException as error:  # noqa: BLE001 - of whatever kind, it cannot pass
            self._at_file = False
            self.over = True
            if self._waiting is None:  # what is called next is its consequence
                self._waiting = error
            return instead

    def _take(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT during a call."""
        try:
            self._former(number, frame)
        except BaseException as error:
            self.over = True
            self._waiting = error
            if self._at_file:  # which may never answer; `attempt` catches it
                raise
