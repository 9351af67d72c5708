"""Input from a pipe, held where it is seekable: never more of it than it needs.

A pipe may have no end. Its first bytes tell what it is, and the header of a `.spr` file or a bundle
tells how long it has to be; of anything else that is no sound, the rest is not read.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from spresso_cli.container import spr
from spresso_cli.errors import AudioError

_HEAD_BYTES = 1 << 12
_UNKNOWN_BYTES = 1 << 26  # of what may be a sound of a rare format

# How sounds start that people pass through pipes; RIFF of both byte orders, MP3 without tags last.
_SOUNDS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"ID3")
_SOUNDS += tuple(bytes([0xFF, second]) for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2))


def held(pipe: BinaryIO, *, sounds: bool, own: bool) -> BinaryIO:
    """Returns what a pipe holds, from its beginning.

    A `.spr` file or a bundle is read as far as its header calls for and one byte more, which shows
    whether it is too long, and is seekable. Of anything else only the beginning is held. But a
    sound, where `sounds` are wanted, stays in the pipe to be read from there; closing it closes a
    pipe that is our `own`.

    Raises:
        CorruptStream, UnsupportedStream: it begins like a `.spr` file or a bundle and is none.
        AudioError: it is long and nobody knows what it is.
        OSError: the pipe cannot be read, or there is no room for a large bundle.
    """
    head = pipe.read(_HEAD_BYTES)
    whole = io.BufferedReader(Continued(head, pipe, own=own))
    if sounds and head.startswith(_SOUNDS):
        return whole
    with whole:
        if head.startswith(spr.MAGIC):
            return io.BytesIO(spr.take(whole, max_seconds=None))
        if head.startswith(spr.MAGIC[:2]):  # the two formats of this program share a beginning
            from spresso_cli.container import bundle

            return bundle.held(whole)
        data = whole.read(_UNKNOWN_BYTES) if sounds else head
    if len(data) == _UNKNOWN_BYTES:
        raise AudioError("it begins like no known format: name the file instead of a pipe")
    return io.BytesIO(data)


class Continued(io.RawIOBase):
    """A pipe of which the beginning was read already, as if it had not been."""

    def __init__(self, head: bytes, pipe: BinaryIO, *, own: bool) -> None:
        self._head = head
        self._pipe = pipe
        self._own = own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        data = self._head[: len(buffer)] or self._pipe.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._own:
            self._pipe.close()
        super().close()
