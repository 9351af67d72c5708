"""What a sound file says beside its sound: RIFF chunks and tags (format_spec.md, section 4.8).

The chunks bext, iXML, smpl and cue travel as they are, because a decoded file has the same rate and
length and every position in them stays true. Tags travel as JSON, so that every format can have
them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from spresso_cli.container import tlv
from spresso_cli.errors import AudioError

# What `.spr` carries: record type -> RIFF chunk id.
CHUNKS = {tlv.BEXT: b"bext", tlv.IXML: b"iXML", tlv.SMPL: b"smpl", tlv.CUE: b"cue "}

# Tags by the names soundfile gives them -> chunk id in the INFO list of a WAV file. `software` is
# left out: it names the program that wrote the file, and that is not the source's any more.
TAGS = {
    "title": b"INAM",
    "artist": b"IART",
    "album": b"IPRD",
    "date": b"ICRD",
    "genre": b"IGNR",
    "tracknumber": b"ITRK",
    "copyright": b"ICOP",
    "comment": b"ICMT",
}

_MAX_CHUNKS = 4096  # in one file; a hostile one could hold a chunk every eight bytes
_MAX_BYTES = tlv.MAX_BLOCK_BYTES - 1024  # of all records; the rest is room for their headers


def read(file: BinaryIO, tags: Mapping[str, str]) -> tuple[tuple[int, bytes], ...]:
    """Returns the records of a seekable sound file, types ascending; empty where there are none.

    Args:
        tags: what the decoder found, by soundfile's names; others than `TAGS` are dropped.

    Raises:
        AudioError: there is more than a `.spr` file can carry.
    """
    wanted = {name: kind for kind, name in CHUNKS.items()}
    records: dict[int, bytes] = {}
    for name, start, size in chunks(file):
        kind = wanted.get(name)
        if kind is None or kind in records:  # the first of a name is the one that counts
            continue
        _check_size(size + sum(map(len, records.values())))
        file.seek(start)
        records[kind] = file.read(size)
    damaged = {name for name, text in tags.items() if "\ufffd" in text}
    if damaged:
        tags = {**tags, **{name: text for name, text in _older_tags(file) if name in damaged}}
    kept = {name: _plain(tags[name]) for name in sorted(TAGS) if tags.get(name)}
    if kept:
        records[tlv.TAGS] = json.dumps(kept, ensure_ascii=False).encode()
    _check_size(sum(map(len, records.values())))
    return tuple(sorted(records.items()))


def _older_tags(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Tags in Windows-1252, as older WAV files have them, which decoders take for damaged UTF-8; by
    soundfile's names."""
    names = {chunk: name for name, chunk in TAGS.items()}
    for kind, start, length in chunks(file):
        file.seek(start)
        if kind != b"LIST" or length > _MAX_BYTES or file.read(4) != b"INFO":
            continue
        body, position = file.read(length - 4), 0
        while position + 8 <= len(body):
            size = struct.unpack_from("<I", body, position + 4)[0]
            text = body[position + 8 : position + 8 + size].split(b"\0")[0]
            if name := names.get(body[position : position + 4]):
                yield name, text.decode("cp1252", "replace")
            position += 8 + size + size % 2


def tags_of(records: tuple[tuple[int, bytes], ...]) -> dict[str, str]:
    """Returns the tags among the records of a stream; none where they are not the JSON object of
    strings that the format prescribes, for which no file may be refused."""
    text = dict(records).get(tlv.TAGS)
    if text is None:
        return {}
    try:
        tags = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        return {}
    return {name: _plain(value) for name, value in tags.items() if name in TAGS}


def wav_chunks(records: tuple[tuple[int, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the records of a stream as chunks of a WAV file, (id, body)."""
    known = [(CHUNKS[kind], body) for kind, body in records if kind in CHUNKS]
    tags = tags_of(records)
    if tags:
        info = b"".join(chunk(TAGS[name], value.encode() + b"\0") for name, value in tags.items())
        known.append((b"LIST", b"INFO" + info))
    return tuple(known)


def chunk(name: bytes, body: bytes) -> bytes:
    """Returns one RIFF chunk: id, length, body, and a zero where the body is odd."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields (id, offset of the body, length) of the chunks of a RIFF, RF64 or BW64 WAVE file.

    Other files have none. Chunks end with the file: one that runs over its end is left out, and
    with it whatever a damaged length hides; that is for the sound's reader to complain about.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    data_size = None  # of RF64, whose data chunk declares -1
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"data" and size == 0xFFFFFFFF:
            if data_size is None:  # a WAV written into a pipe: everything up to the end is sound
                return
            size = data_size
        start = position + 8
        if start + size > end:
            return
        if name == b"ds64" and size >= 16:
            data_size = struct.unpack("<Q", file.read(16)[8:])[0]
        yield name, start, size
        position = start + size + size % 2


def _plain(text: str) -> str:
    """The text without what no file can hold: zeros and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise AudioError(
            f"more than {_MAX_BYTES >> 10} KiB of metadata: run without --keep-metadata"
        )
