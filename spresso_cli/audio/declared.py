"""What the header of a file says of its chunks and its sound, which may be more than there is.

RIFF, RF64 and AIFF files consist of chunks, and so do those of Wave64; AU has a header alone. What
a broken copy leaves of such a file reads like a shorter sound.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_CHUNKS = 4096  # in one file; a hostile one could hold a chunk every eight bytes
_UNKNOWN = 0xFFFFFFFF  # a length of 32 bits that says nothing


@dataclass(frozen=True)
class Layout:
    """How a kind of file is made of chunks."""

    kind: bytes  # says that the chunks are those of a sound
    at: int  # offset of that
    first: int  # offset of the first chunk
    header: struct.Struct  # id and length of a chunk
    counted: int  # bytes of the header that the length includes
    align: int
    sound: dict[bytes, int]  # chunks that hold it -> bytes before its samples


RIFF = Layout(b"WAVE", 8, 12, struct.Struct("<4sI"), 0, 2, {b"data": 0})
_AIFF = Layout(b"AIF", 8, 12, struct.Struct(">4sI"), 0, 2, {b"SSND": 8})
_WAVE64 = Layout(b"wave", 24, 40, struct.Struct("<4s12xQ"), 24, 8, {b"data": 0})
_LAYOUTS = {b"RIFF": RIFF, b"RF64": RIFF, b"BW64": RIFF, b"FORM": _AIFF, b"riff": _WAVE64}


def layout_of(file: BinaryIO) -> Layout | None:
    """Returns how a seekable file is made, by its first bytes; None for all other kinds."""
    file.seek(0)
    head = file.read(28)
    layout = _LAYOUTS.get(head[:4])
    return layout if layout is not None and head[layout.at :].startswith(layout.kind) else None


def chunks(file: BinaryIO, layout: Layout) -> Iterator[tuple[bytes, int, int]]:
    """Yields (id, offset of the body, length) of the chunks, as they are declared.

    The last may run over the end of the file.
    """
    end = file.seek(0, os.SEEK_END)
    data_size = None  # of RF64, whose data chunk declares -1
    position = layout.first
    for _ in range(_MAX_CHUNKS):
        if position > end:
            return
        file.seek(position)
        header = file.read(layout.header.size)
        if len(header) < layout.header.size:
            return
        name, size = layout.header.unpack(header)
        if size < layout.counted:
            return
        start, size = position + layout.header.size, size - layout.counted
        if name == b"ds64" and size >= 16:
            data_size = struct.unpack("<Q", file.read(16).ljust(16, b"\0")[8:])[0]
        elif name == b"data" and size == _UNKNOWN:
            if data_size is None:  # a WAV written into a pipe: everything up to the end is sound
                yield name, start, size
                return
            size = data_size
        yield name, start, size
        position = start + size + -size % layout.align


def ratio(file: BinaryIO) -> float:
    """Returns the declared length of a file's sound in lengths of what is there; 1.0: whole.

    Lengths that programs write when they do not know any are no declaration.
    """
    end = file.seek(0, os.SEEK_END)
    start, size = _sound(file)
    there = end - start
    return size / there if 0 < there < size and not _is_placeholder(size) else 1.0


def _sound(file: BinaryIO) -> tuple[int, int]:
    """Offset and declared length of the samples in bytes; (0, 0) where nothing is known."""
    layout = layout_of(file)
    if layout is not None:
        for name, start, size in chunks(file, layout):
            if name in layout.sound:
                before = layout.sound[name]
                return start + before, size - before
        return 0, 0
    file.seek(0)
    head = file.read(12)
    if len(head) == 12 and head[:4] in (b".snd", b"dns."):
        start, size = struct.unpack(">II" if head[:4] == b".snd" else "<II", head[4:])
        return start, size
    return 0, 0


def _is_placeholder(size: int) -> bool:
    """Whether a length is what is written into pipes: the most that 31, 32 or more bits can hold,
    or a little less to leave room for the header."""
    return (size + 0x10000) & 0x7FFFFFFF <= 0x10000
