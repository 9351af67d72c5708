"""libsndfile on open files of ours: what happens inside its callbacks is raised behind its calls.

libsndfile reads and writes such a file through callbacks, and no exception can cross them: cffi
prints a traceback, and libsndfile takes what failed for the end of the file. So a failing disk
waits until the call is over, and so does Ctrl-C, which may land in any line of a callback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import BinaryIO, Self, TypeVar

import numpy as np
import soundfile

Result = TypeVar("Result")


class Calls:
    """The calls of libsndfile on one file: `with calls:` goes around each, in any thread.

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
            raise waiting from None  # whatever libsndfile complains of

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
            if self._waiting is None:  # what libsndfile does next is its consequence
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


class Reader:
    """The sound in an open binary file, read front to back; a context manager.

    Attributes:
        format, subtype: names of libsndfile.
        rate: Hz.
        channels: 1 or more.
        frames: samples in each channel, as libsndfile takes them from the header.

    Raises:
        soundfile.LibsndfileError: of unknown format, or damaged; in `read` as well.
        OSError, ValueError: whatever else the file raises; in `read` as well.
        KeyboardInterrupt: there was one during a call.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._calls = Calls()
        self._sound: _ForwardSound | None = None
        source = _Source(file, self._calls)
        try:
            with self._calls:
                self._sound = _ForwardSound(source)
        except BaseException:
            self.close()
            raise
        self.format = self._sound.format
        self.subtype = self._sound.subtype
        self.rate = self._sound.samplerate
        self.channels = self._sound.channels
        self.frames = self._sound.frames

    def read(self, size: int) -> np.ndarray:
        """Returns the next float32 [n <= size, channels]; none are left where n is 0."""
        with self._calls:
            return self._sound.read(size, dtype="float32", always_2d=True)

    def tags(self) -> Mapping[str, str]:
        """Returns what the header says beside the sound, by soundfile's names."""
        with self._calls:
            return self._sound.copy_metadata()

    def close(self) -> None:
        """Ends the reading; the file stays open."""
        with self._calls:
            if self._sound is not None:
                self._sound.close()
            self._sound = None  # here, because its end is a call too

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Writer:
    """A sound that is encoded into an open binary file, which is empty and can seek.

    Args:
        format, subtype: names of libsndfile.
        rate: Hz.
        tags: by soundfile's names.

    Raises:
        soundfile.LibsndfileError: the encoder fails; in `write` and `close` as well.
        OSError: while writing; likewise.
        KeyboardInterrupt: there was one during a call.
    """

    def __init__(
        self,
        file: BinaryIO,
        format: str,
        subtype: str,
        rate: int,
        channels: int,
        tags: Mapping[str, str],
    ) -> None:
        self._calls = Calls()
        self._sound: soundfile.SoundFile | None = None
        target = _Target(file, self._calls)
        try:
            with self._calls:
                self._sound = soundfile.SoundFile(
                    target, "w", rate, channels, subtype, format=format
                )
                for name, value in tags.items():
                    setattr(self._sound, name, value)
        except BaseException:
            self.abandon()
            raise

    def write(self, x: np.ndarray) -> None:
        """Takes the next [n, channels]: int32, of which the upper bits count, or float32."""
        with self._calls:
            self._sound.write(x)

    def close(self) -> None:
        """Completes the file, which stays open."""
        with self._calls:
            if self._sound is not None:
                self._sound.close()
            self._sound = None  # here, because its end is a call too

    def abandon(self) -> None:
        """Ends the writing; nothing more reaches the file."""
        self._calls.over = True
        with contextlib.suppress(soundfile.LibsndfileError):
            self.close()


class _ForwardSound(soundfile.SoundFile):
    """A SoundFile read front to back only.

    The parent seeks after every read of a seekable file, which libsndfile refuses at the end of a
    FLAC file of undeclared length (what encoders write into pipes).
    """

    def seekable(self) -> bool:
        return False


class _Source:
    """A position of one's own in an open file, as libsndfile's callbacks want it.

    A damaged header may send libsndfile anywhere: positions are kept within the file. It has no
    name, so that nothing depends on a suffix.
    """

    def __init__(self, file: BinaryIO, calls: Calls) -> None:
        self._file = file
        self._calls = calls
        self._size = file.seek(0, os.SEEK_END)
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(start + offset, 0), self._size)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        data = self._calls.attempt(lambda: self._read(len(buffer)), b"")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        self._file.seek(self._position)
        return self._file.read(size)


class _Target:
    """A file for libsndfile to write, with a position of one's own, as its callbacks want it.

    Once the file is to be left alone, every write pretends to succeed, so that libsndfile gets to
    its end in peace.
    """

    def __init__(self, file: BinaryIO, calls: Calls) -> None:
        self._file = file
        self._calls = calls
        self._size = 0
        self._position = 0
        self._moved = False  # since the last access: seeking empties the buffers of a file

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        position = max(start + offset, 0)
        self._moved = self._moved or position != self._position
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes) -> int:
        self._calls.attempt(lambda: self._at_position(self._file.write, data), None)
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def read(self, size: int) -> bytes:
        data = self._calls.attempt(lambda: self._at_position(self._file.read, size), b"")
        self._position += len(data)
        return data

    def _at_position(self, access: Callable[..., Result], argument: object) -> Result:
        if self._moved:
            self._file.seek(self._position)
            self._moved = False
        return access(argument)
