"""`.spr` bytes <-> Stream (format_spec.md, sections 3 and 4).

There is no length field that could contradict the rest of the file: profile, gain, source rate,
sample count and channels determine the length of the payload, so a truncated or extended file is an
error.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from spresso_cli.container import leb128, tlv
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import FLAGGED_RATES, Header, Stream
from spresso_cli.errors import CorruptStream, UnsupportedStream

MAGIC = b"\xf5SP"
VERSION = 1

STEREO, EXTENSION = 0b0001, 0b0010  # flag bits 0 and 1
RATE_SHIFT = 2  # flag bits 2 and 3: an index into FLAGGED_RATES, or
RATE_ELSEWHERE = 3  # the rate is in the extension block

# Up to here CRC-16/CCITT-FALSE finds every error of up to three bits; beyond, only CRC-32 does.
MAX_CRC16_BYTES = 4093

DEFAULT_MAX_SECONDS = 3600

# What other files start with, what they are and which command is theirs.
_SOUND = "a sound: spresso compress makes a .spr file of it"
_OTHERS = {
    MAGIC: "a .spr file: spresso decompress reads it",
    b"\xf5SB": "a bundle: spresso unbundle takes the .spr files out of it",
    b"RIFF": _SOUND,
    b"RF64": _SOUND,
    b"fLaC": _SOUND,
    b"OggS": _SOUND,
}

_MIN_BYTES = len(MAGIC) + 1 + 1 + 2 + 1 + 1 + 2
_FIRST_BYTES = tlv.MAX_BLOCK_BYTES + 64
_CHUNK = 1 << 20


def write(stream: Stream) -> bytes:
    """Returns the one `.spr` file of a stream; `read` gives the stream back."""
    body = header_bytes(stream) + stream.payload
    return body + checksum(body)


def read(data: bytes) -> Stream:
    """Reads a whole `.spr` file, checking everything the format lets a reader check.

    Raises:
        CorruptStream: not a `.spr` file, damaged, truncated or extended.
        UnsupportedStream: another format version, a reserved profile, an unknown extension.
    """
    check_signature(data, MAGIC, VERSION, ".spr")
    if len(data) < _MIN_BYTES:
        raise CorruptStream("the file is truncated: get a complete copy")
    crc_bytes = checksum_bytes(len(data))
    body, crc = data[:-crc_bytes], data[-crc_bytes:]
    if checksum(body) != crc:
        raise CorruptStream(f"the checksum does not match: {_guess(data)}")
    header, start = read_header(body)
    try:
        return Stream.of(header, body[start:])
    except ValueError as fault:
        raise CorruptStream(f"{fault}: not a valid file") from None


def load(file: BinaryIO, max_seconds: float | None = DEFAULT_MAX_SECONDS) -> Stream:
    """Reads a stream from an open file; of a file that is too long, only the start (see `take`).

    Memory is bounded by the file's true size, by the size that its header declares, and by the
    duration that the caller accepts, `max_seconds` (None: the format's own 24 hours).

    Raises:
        CorruptStream, UnsupportedStream: as `read`; the latter also for a longer sound.
    """
    stream = read(take(file, max_seconds))
    check_duration(stream, max_seconds)
    return stream


def take(file: BinaryIO, max_seconds: float | None = DEFAULT_MAX_SECONDS) -> bytes:
    """Reads the bytes of a stream from an open file, which may be a pipe; `read` checks them.

    It reads at most as many bytes as the longest header has, or as this header calls for and one
    more, which shows that a file is too long.

    Raises:
        CorruptStream, UnsupportedStream: as `load`, if the header has to be parsed to read on.
    """
    # This much holds the longest header, so all but very large files need one read only.
    data = file.read(_FIRST_BYTES)
    if len(data) < _FIRST_BYTES:
        return data
    header, _ = read_header(data)
    check_duration(header, max_seconds)
    return data + b"".join(pieces(file, file_bytes(header) + 1 - len(data)))


def pieces(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Yields the next `count` bytes of a file in pieces, or all up to its end."""
    while count > 0 and (piece := file.read(min(count, _CHUNK))):
        yield piece
        count -= len(piece)


def check_duration(header: Header, max_seconds: float | None) -> None:
    """Refuses a sound that is longer than the caller wants to decode.

    Raises:
        UnsupportedStream: it is longer than `max_seconds`.
    """
    if max_seconds is not None and header.samples > max_seconds * header.source_rate:
        raise UnsupportedStream(
            f"the sound is {header.seconds:g} s long and the limit is {max_seconds:g} s: "
            "decompress and decode-latents raise it by --max-duration"
        )


def read_header(data: bytes) -> tuple[Header, int]:
    """Reads the header at the start of `data`; returns it with the offset of the payload.

    It does not check the checksum, as `read` does. Use it for what has to be known before the whole
    file is in memory.

    Raises:
        CorruptStream, UnsupportedStream: as `read`.
    """
    check_signature(data, MAGIC, VERSION, ".spr")
    flags = data[3] & 0x0F
    profile_id, position = leb128.decode(data, 4)
    profile = Profile.from_id(profile_id)
    weights_tag = data[position : position + 2]
    gain = data[position + 2 : position + 3]
    if not gain:
        raise CorruptStream("the file ends inside its header: truncated; get a complete copy")
    samples, position = leb128.decode(data, position + 3)

    records: tuple[tuple[int, bytes], ...] = ()
    if flags & EXTENSION:
        length, position = leb128.decode(data, position)
        if not 1 <= length <= tlv.MAX_BLOCK_BYTES:
            raise CorruptStream(f"an extension block of {length} bytes: not a valid file")
        block = data[position : position + length]
        position += length
        if position > len(data):
            raise CorruptStream("the file ends inside its header: truncated; get a complete copy")
        records = tlv.unpack(block)
    required = {kind: value for kind, value in records if kind & tlv.MUST_UNDERSTAND}
    try:
        header = Header(
            profile=profile,
            weights_tag=weights_tag,
            gain=gain[0],
            source_rate=_source_rate(flags >> RATE_SHIFT, required.get(tlv.SOURCE_RATE)),
            samples=samples,
            channels=2 if flags & STEREO else 1,
            dual_mono=_dual_mono(required.get(tlv.DUAL_MONO)),
            levels=_levels(required.get(tlv.LEVELS)),
            metadata=tuple(record for record in records if record[0] not in required),
        )
    except ValueError as fault:
        raise CorruptStream(f"{fault}: not a valid file") from None
    return header, position


def header_bytes(header: Header, metadata: bytes = b"") -> bytes:
    """Returns everything of the file that precedes the payload.

    Args:
        metadata: packed metadata records of the file that `header` does not contain.
    """
    block = metadata + tlv.pack(header.extension)
    out = bytearray(MAGIC)
    flags = flags_of(header.source_rate, header.channels) | (EXTENSION if block else 0)
    out.append(VERSION << 4 | flags)
    out += leb128.encode(header.profile.id)
    out += header.weights_tag
    out.append(header.gain)
    out += leb128.encode(header.samples)
    if block:
        out += leb128.encode(len(block)) + block
    return bytes(out)


def file_bytes(header: Header, metadata_bytes: int = 0) -> int:
    """Returns the size of a file from its header alone.

    Args:
        metadata_bytes: size of packed metadata records of the file that `header` does not contain.
    """
    block = len(tlv.pack(header.extension)) + metadata_bytes
    body = len(MAGIC) + 1 + len(leb128.encode(header.profile.id)) + len(header.weights_tag) + 1
    body += len(leb128.encode(header.samples)) + header.payload_bytes
    if block:
        body += len(leb128.encode(block)) + block
    return body + (2 if body <= MAX_CRC16_BYTES else 4)


def flags_of(source_rate: int, channels: int) -> int:
    """Returns the flag bits for channels and source rate."""
    rate = RATE_ELSEWHERE
    if source_rate in FLAGGED_RATES:
        rate = FLAGGED_RATES.index(source_rate)
    return rate << RATE_SHIFT | (STEREO if channels == 2 else 0)


def checksum(body: bytes) -> bytes:
    """Returns the checksum that follows `body`, most significant byte first."""
    if len(body) <= MAX_CRC16_BYTES:
        return binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
    return zlib.crc32(body).to_bytes(4, "big")


def checksum_bytes(file_bytes: int) -> int:
    """Returns the size of the checksum in a file of `file_bytes`.

    Raises:
        CorruptStream: no file has this size.
    """
    if file_bytes <= MAX_CRC16_BYTES + 2:
        return 2
    if file_bytes >= MAX_CRC16_BYTES + 1 + 4:
        return 4
    raise CorruptStream(f"no .spr file is {file_bytes} bytes long: truncated or extended")


def check_signature(data: bytes, magic: bytes, version: int, suffix: str) -> None:
    """Checks magic and version, before anything else is believed.

    Raises:
        CorruptStream: the file is of another kind, or too short to tell.
        UnsupportedStream: the file has another format version.
    """
    if data[:3] != magic[: len(data)]:
        for start, kind in _OTHERS.items():
            if data.startswith(start):
                raise CorruptStream(f"this is not a {suffix} file but {kind}")
        raise CorruptStream(f"this is not a {suffix} file: it starts with other bytes")
    if len(data) < 4:
        raise CorruptStream("the file is truncated: get a complete copy")
    if data[3] >> 4 != version:
        raise UnsupportedStream(
            f"the file has {suffix} version {data[3] >> 4} and this spresso reads version "
            f"{version}: install a spresso that reads both"
        )


def _source_rate(flag: int, record: bytes | None) -> int:
    if (flag == RATE_ELSEWHERE) != (record is not None):
        raise ValueError("the source rate is given twice or not at all")
    if record is None:
        return FLAGGED_RATES[flag]
    rate, end = leb128.decode(record, 0)
    if end != len(record) or rate in FLAGGED_RATES:
        raise ValueError("the source rate record is malformed")
    return rate


def _dual_mono(record: bytes | None) -> bool:
    if record:
        raise ValueError("the dual mono record is not empty")
    return record is not None


def _levels(record: bytes | None) -> tuple[int, int] | None:
    if record is None:
        return None
    if len(record) != 2:
        raise ValueError("the channel level record is not two bytes")
    return record[0], record[1]


def _guess(data: bytes) -> str:
    """Says what a wrong checksum most likely means, on the assumption that the header is right."""
    try:
        expected = file_bytes(read_header(data)[0])
    except (CorruptStream, UnsupportedStream):
        return "the file is damaged"
    if expected == len(data):
        return "the file is damaged"
    if len(data) < expected:
        return f"the file is truncated or damaged ({len(data)} of {expected} bytes)"
    return f"the file is extended or damaged (its header calls for {expected} bytes, no more)"
