"""Canonical unsigned LEB128, the container's only variable-length integer (format_spec.md, 2)."""

from __future__ import annotations

from spresso_cli.errors import CorruptStream

MAX_BYTES = 9  # 63 bits: every value fits a signed 64-bit integer


def encode(value: int) -> bytes:
    """Returns the shortest LEB128 form of `value`, 0 <= value < 2^63, low seven bits first."""
    if not 0 <= value < 1 << (7 * MAX_BYTES):
        raise ValueError(f"{value} does not fit {MAX_BYTES} LEB128 bytes")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, position: int) -> tuple[int, int]:
    """Reads one integer at `position`; returns it with the position after it.

    Raises:
        CorruptStream: the data ends inside the integer, it is longer than nine bytes, or it ends
            in a zero byte that a canonical form would not have.
    """
    if position < len(data) and data[position] < 0x80:
        return data[position], position + 1  # most are: an index of a million clips has millions
    value = 0
    for index in range(MAX_BYTES):
        if position + index >= len(data):
            raise CorruptStream("the file ends inside an integer: truncated or not a valid file")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise CorruptStream("an integer is not in its shortest form: not a valid file")
            return value, position + index + 1
    raise CorruptStream(f"an integer is longer than {MAX_BYTES} bytes: not a valid file")
