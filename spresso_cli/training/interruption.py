"""Ctrl-C during a run: the first ends it after the current step, a second ends it at once."""

from __future__ import annotations

import signal
import threading
import weakref


class Interruption:
    """Whether Ctrl-C was asked for. Who handles it otherwise is left alone.

    Args:
        run: when it is gone, because a step failed, nothing waits for the end of one.
    """

    def __init__(self, run: object):
        self.asked = False
        self._run = weakref.ref(run)
        self._held = False

    def hold(self) -> None:
        """From now on, until `release`."""
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._take)
            self._held = True

    def release(self) -> None:
        """As before; raises KeyboardInterrupt if there was one meanwhile."""
        if self._held:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._held = False
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def _take(self, *_: object) -> None:
        again, self.asked = self.asked, True
        if again or self._run() is None:
            self.release()
