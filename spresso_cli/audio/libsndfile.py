"""libsndfile on open Python files: what goes wrong inside its callbacks is raised after its calls.

It reads and writes such a file through callbacks, and takes a failure in one for the end of the
file: native.py makes a failing disk and Ctrl-C wait until the call is over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np
import soundfile

from spresso_cli.audio.native import Calls, Result


class _Open:
    """A SoundFile whose end is a call too."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._sound: soundfile.SoundFile | None = None

    def close(self) -> None:
        """Ends the reading, or completes what is written; the file stays open."""
        with self._calls:
            if self._sound is not None:
                self._sound.close()
            self._sound = None  # here, where it may come to its end


class Reader(_Open):
    """The sound in an open binary file, read front to back.

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
        super().__init__()
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


class Writer(_Open):
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
        super().__init__()
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
