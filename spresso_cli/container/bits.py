"""Codes to payload bits and back: MSB first, no alignment but the last byte (format_spec.md, 6).

Codes are converted in blocks, so that an hour of them is never expanded into single bits at once.
"""

from __future__ import annotations

import numpy as np
from bitarray import bitarray

_BLOCK = 1 << 16  # codes; a multiple of 8, so that every block but the last fills whole bytes


def pack_codes(codes: np.ndarray, bits: int) -> bytes:
    """Packs unsigned codes into ceil(codes.size * bits / 8) bytes; the unused last bits are 0.

    Args:
        codes: integers of any shape, taken in C order; of a Stream: [channel, frame, codebook].
        bits: number of bits in a code, 1..16.

    Raises:
        ValueError: a code needs more than `bits` bits, or `bits` is not in 1..16.
    """
    _check_width(bits)
    flat = np.ravel(codes)
    if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < 1 << bits:
        raise ValueError(f"codes must be in 0..{(1 << bits) - 1}")
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    out = []
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK].astype(np.uint16)  # [n]
        booleans = (block[:, None] >> shifts & 1).astype(np.uint8)  # [n, bits]
        packed = bitarray(endian="big")
        packed.pack(booleans.tobytes())
        out.append(packed.tobytes())
    return b"".join(out)


def unpack_codes(payload: bytes, count: int, bits: int) -> np.ndarray:
    """Unpacks `count` codes of `bits` bits; uint16 [count].

    Raises:
        ValueError: the payload is not ceil(count * bits / 8) bytes long, or `bits` is not in
            1..16. The Stream checks that the unused last bits are 0.
    """
    _check_width(bits)
    if len(payload) != -(-count * bits // 8):
        raise ValueError(f"{len(payload)} bytes do not hold exactly {count} codes of {bits} bits")
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    codes = np.empty(count, dtype=np.uint16)
    block_bytes = _BLOCK * bits // 8
    for block, start in enumerate(range(0, count, _BLOCK)):
        packed = bitarray(endian="big")
        packed.frombytes(payload[block * block_bytes : (block + 1) * block_bytes])
        size = min(_BLOCK, count - start)
        booleans = np.frombuffer(packed[: size * bits].unpack(), dtype=np.uint8)
        codes[start : start + size] = booleans.reshape(size, bits) @ weights  # [n, bits] -> [n]
    return codes


def _check_width(bits: int) -> None:
    if not 1 <= bits <= 16:
        raise ValueError(f"codes of {bits} bits: 1 to 16 are possible")
