"""The extension block: type-length-value records that few files need (format_spec.md, 4.8)."""

from __future__ import annotations

from collections.abc import Iterable

from spresso_cli.container import leb128
from spresso_cli.errors import CorruptStream, UnsupportedStream

MAX_BLOCK_BYTES = 1 << 20

# Ignorable: a reader that does not know the type keeps or drops the record.
BEXT, IXML, SMPL, CUE, TAGS, ADTL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06

# Must be understood: the records without which the payload cannot be decoded.
MUST_UNDERSTAND = 0x80  # the bit that says so
SOURCE_RATE, DUAL_MONO, LEVELS = 0x81, 0x82, 0x83


def pack(records: Iterable[tuple[int, bytes]]) -> bytes:
    """Returns the records as bytes, without the length of the block; types must ascend."""
    out = bytearray()
    for kind, value in records:
        out += bytes([kind]) + leb128.encode(len(value)) + value
    return bytes(out)


def unpack(block: bytes) -> tuple[tuple[int, bytes], ...]:
    """Reads the records of a whole block, which they must fill exactly.

    Raises:
        CorruptStream: a record runs over the end, or types do not strictly ascend.
        UnsupportedStream: a type that must be understood is unknown.
    """
    records: list[tuple[int, bytes]] = []
    position = 0
    while position < len(block):
        kind = block[position]
        length, start = leb128.decode(block, position + 1)
        position = start + length
        if position > len(block):
            raise CorruptStream(f"extension record 0x{kind:02x} runs over the end of its block")
        if records and kind <= records[-1][0]:
            raise CorruptStream(f"extension record 0x{kind:02x} is repeated or out of order")
        if kind & MUST_UNDERSTAND and kind not in (SOURCE_RATE, DUAL_MONO, LEVELS):
            raise UnsupportedStream(
                f"extension record 0x{kind:02x} must be understood and this version does not "
                "know it: install a newer spresso"
            )
        records.append((kind, block[start:position]))
    return tuple(records)
