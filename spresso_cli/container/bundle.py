"""Many sounds in one `.sprb` file, read one at a time by name (format_spec.md, 13).

A loose file of 73 bytes occupies a whole block of a disk; in a bundle it costs its payload, its
name and at most eight bytes more. Every clip comes out as exactly the `.spr` file that went in.
"""

from __future__ import annotations

import heapq
import os
import tempfile
import zlib
from bisect import bisect_left
from collections.abc import Iterable
from typing import BinaryIO, Self

from spresso_cli.container import leb128, spr, tlv
from spresso_cli.container.bundle_index import (
    MAX_ALL_NAMES_BYTES,
    MAX_CLIPS,
    MAX_INDEX_BYTES,
    Clip,
    Group,
    Index,
    entry_bytes,
    front_coded,
    group_bytes,
    name_fault,
)
from spresso_cli.container.stream import Stream
from spresso_cli.errors import CorruptStream, SpressoError, UnsupportedStream, UsageError

MAGIC = b"\xf5SB"
VERSION = 1
_CRC_BYTES = 4  # of the header and index; CRC-32, most significant byte first
_HELD_BYTES = 1 << 26  # of a pipe in memory; what is beyond goes to a temporary file
_TRUNCATED = "the bundle is truncated or damaged: get a complete copy"


def held(pipe: BinaryIO) -> BinaryIO:
    """Reads a bundle from a pipe into a seekable file, on disk if it is a large one.

    It reads at most what the index calls for and one byte more, which shows that a bundle is too
    long.

    Raises:
        CorruptStream, UnsupportedStream: as `Bundle.open`, which looks at the length as well.
        OSError: the pipe cannot be read, or there is no room on disk.
    """
    data, index = _read_index(pipe, None)
    spool = tempfile.SpooledTemporaryFile(max_size=_HELD_BYTES)  # noqa: SIM115 - outlives us
    try:
        spool.write(data)
        spool.writelines(spr.pieces(pipe, index.end + 1 - len(data)))
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool


def write_bundle(clips: Iterable[tuple[str, Stream]], file: BinaryIO) -> int:
    """Writes clips as a bundle, the same one for any order of them; returns its size in bytes.

    The index comes first in the file, so all payloads are held in memory until the last clip.

    Args:
        clips: names (relative POSIX paths, by convention without `.spr`) with their streams.
        file: open for writing; it need not be seekable.

    Raises:
        UsageError: a name is impossible or used twice, or there are too many clips.
    """
    groups: dict[bytes, dict[bytes, tuple[bytes, bytes]]] = {}  # name -> entry, stored bytes
    names: set[bytes] = set()
    for name, stream in clips:
        encoded = name.encode(errors="surrogateescape")
        if fault := name_fault(encoded):
            raise UsageError(f"the name {name!r} {fault}: rename the sound to bundle it")
        if encoded in names:
            raise UsageError(f"two sounds are called {name!r}: rename one to bundle both")
        names.add(encoded)
        metadata = tlv.pack(stream.metadata)
        after_header = spr.write(stream)[len(spr.header_bytes(stream)) :]
        group = groups.setdefault(group_bytes(Group.of(stream)), {})
        group[encoded] = entry_bytes(stream, len(metadata)), metadata + after_header

    index = bytearray(leb128.encode(len(groups)))
    bodies: list[bytes] = []
    for header, members in sorted(groups.items()):
        index += header + leb128.encode(len(members))
        ascending = sorted(members)
        for name, coded in zip(ascending, front_coded(ascending), strict=True):
            entry, stored = members[name]
            index += coded + entry
            bodies.append(stored)
    if (
        len(names) > MAX_CLIPS
        or len(index) > MAX_INDEX_BYTES
        or sum(map(len, names)) > MAX_ALL_NAMES_BYTES
    ):
        raise UsageError(f"{len(names)} sounds are too many for one bundle: make several")

    head = MAGIC + bytes([VERSION << 4]) + leb128.encode(len(index)) + index
    pieces = [head, zlib.crc32(head).to_bytes(_CRC_BYTES, "big"), *bodies]
    file.writelines(pieces)
    return sum(map(len, pieces))


class Bundle:
    """An open bundle. Reading a clip moves the file's position: use one Bundle per thread."""

    def __init__(self, file: BinaryIO, index: Index) -> None:
        """Use `Bundle.open`."""
        self._file = file
        self._index = index
        self._groups = [(index.names[r.start : r.stop], r.start) for r in index.groups()]
        #: The names of all clips, in the order of their UTF-8 bytes.
        self.names = tuple(heapq.merge(*(names for names, _ in self._groups)))

    @classmethod
    def open(cls, file: BinaryIO) -> Self:
        """Reads header and index of a bundle, but no clip.

        Args:
            file: open for reading and seekable, at any position; the caller closes it.

        Raises:
            CorruptStream: not a bundle, damaged, truncated or extended.
            UnsupportedStream: the bundle needs a newer reader.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        _, index = _read_index(file, size)
        if index.end != size:
            change = "truncated" if size < index.end else "extended"
            raise CorruptStream(
                f"the bundle is {change}: it has {size} bytes, its index calls for {index.end}"
            )
        return cls(file, index)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._number(name) is not None

    def clip(self, name: str) -> Clip:
        """Returns what the index says of a clip, without reading it.

        Raises:
            UsageError: there is no such clip.
        """
        number = self._number(name)
        if number is None:
            raise UsageError(f"the bundle has no sound called {name!r}: list it to see its names")
        return self._index.clip(number)

    def read(self, name: str) -> Stream:
        """Reads one clip; `spr.write` of it gives the bytes of the original file.

        Raises:
            UsageError: there is no such clip.
            CorruptStream: it is damaged.
            UnsupportedStream: its metadata needs a newer reader.
        """
        return self._read(self.clip(name))

    def verify(self) -> dict[str, SpressoError]:
        """Reads every clip, in the order of the file; returns the faulty ones with their errors."""
        faults: dict[str, SpressoError] = {}
        for number, name in enumerate(self._index.names):
            try:
                self._read(self._index.clip(number))
            except (CorruptStream, UnsupportedStream) as error:
                faults[name] = error
        return faults

    def _read(self, clip: Clip) -> Stream:
        self._file.seek(clip.offset)
        stored = self._file.read(clip.stored_bytes)
        metadata, rest = stored[: clip.metadata_bytes], stored[clip.metadata_bytes :]
        # The clip's own file again: one reader, and one checksum over all that the clip means.
        return spr.read(spr.header_bytes(clip.header, metadata) + rest)

    def _number(self, name: str) -> int | None:
        for names, first in self._groups:
            place = bisect_left(names, name)
            if place < len(names) and names[place] == name:
                return first + place
        return None


def _read_index(file: BinaryIO, size: int | None) -> tuple[bytes, Index]:
    """Reads from the start of a bundle to the end of its index, or a few bytes further.

    Returns what was read, and the index. Raises as `Bundle.open`.

    Args:
        size: size of the whole bundle, if known.
    """
    data = file.read(len(MAGIC) + 1 + leb128.MAX_BYTES)
    spr.check_signature(data, MAGIC, VERSION, ".sprb")
    index_bytes, position = leb128.decode(data, len(MAGIC) + 1)
    bodies = position + index_bytes + _CRC_BYTES
    if not 1 <= index_bytes <= MAX_INDEX_BYTES or (size is not None and bodies > size):
        raise CorruptStream(_TRUNCATED)
    data += b"".join(spr.pieces(file, bodies - len(data)))
    if len(data) < bodies:
        raise CorruptStream(_TRUNCATED)
    head = data[:bodies]
    if zlib.crc32(head[:-_CRC_BYTES]).to_bytes(_CRC_BYTES, "big") != head[-_CRC_BYTES:]:
        raise CorruptStream("the checksum of the bundle's index does not match: it is damaged")
    if head[len(MAGIC)] & 0x0F:
        raise UnsupportedStream(
            "the bundle uses flags that this version does not know: install a newer spresso"
        )
    return data, Index(head[position:-_CRC_BYTES], bodies)
