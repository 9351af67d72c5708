"""What a sound file says beside its sound: RIFF chunks and tags (format_spec.md, section 4.8).

The chunks bext, iXML, smpl and cue travel as they are, because a decoded file has the same rate and
length and every position in them stays true; so do the labels of cue points (adtl). Tags travel as
JSON, so that every format can have them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from spresso_cli.audio import declared
from spresso_cli.container import tlv
from spresso_cli.errors import AudioError

# What `.spr` carries: record type -> RIFF chunk id, and the type of a list.
CHUNKS = {
    tlv.BEXT: (b"bext", b""),
    tlv.IXML: (b"iXML", b""),
    tlv.SMPL: (b"smpl", b""),
    tlv.CUE: (b"cue ", b""),
    tlv.ADTL: (b"LIST", b"adtl"),
}

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

# Readers take these to pieces, and damaged ones lead libsndfile past the sound behind them.
_TRAILING = frozenset({tlv.SMPL, tlv.CUE, tlv.ADTL})

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
        file.seek(start)
        list_type = file.read(min(size, 4)) if name == b"LIST" else b""
        kind = wanted.get((name, list_type))
        if kind is None or kind in records:  # the first of a name is the one that counts
            continue
        size -= len(list_type)
        _check_size(size + sum(map(len, records.values())))
        records[kind] = file.read(size)
    if tlv.CUE not in records:  # there is nothing to label
        records.pop(tlv.ADTL, None)
    tags = {**tags, **dict(_info_tags(file))}
    kept = {name: _plain(tags[name]) for name in sorted(TAGS) if tags.get(name)}
    if kept:
        records[tlv.TAGS] = json.dumps(kept, ensure_ascii=False).encode()
    _check_size(sum(map(len, records.values())))
    return tuple(sorted(records.items()))


def _info_tags(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Tags of a WAV file by soundfile's names.

    libsndfile leaves out long ones, and takes those in Windows-1252, which older files have, for
    damaged UTF-8.
    """
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
                try:
                    yield name, text.decode("utf-8")
                except UnicodeDecodeError:
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


def wav_chunks(records: tuple[tuple[int, bytes], ...]) -> tuple[bytes, bytes]:
    """Returns the records of a stream as chunks of a WAV file: those that stand before the sound,
    where bext belongs, and those behind it."""
    places = {False: b"", True: b""}
    for kind, body in records:
        if kind in CHUNKS:
            name, list_type = CHUNKS[kind]
            places[kind in _TRAILING] += chunk(name, list_type + body)
    tags = tags_of(records)
    if tags:
        info = b"".join(chunk(TAGS[name], value.encode() + b"\0") for name, value in tags.items())
        places[False] += chunk(b"LIST", b"INFO" + info)
    return places[False], places[True]


def chunk_names(records: tuple[tuple[int, bytes], ...]) -> tuple[str, ...]:
    """Returns the names of those records that nothing but a WAV file can hold."""
    names = (CHUNKS[kind] for kind, _ in records if kind in CHUNKS)
    return tuple((list_type or name).decode().strip() for name, list_type in names)


def chunk(name: bytes, body: bytes) -> bytes:
    """Returns one RIFF chunk: id, length, body, and a zero where the body is odd."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields (id, offset of the body, length) of the chunks of a RIFF, RF64 or BW64 WAVE file.

    Other files have none. Chunks end with the file: one that runs over its end is left out, and
    with it whatever a damaged length hides; that is for the sound's reader to complain about.
    """
    layout = declared.layout_of(file)
    end = file.seek(0, os.SEEK_END)
    if layout is declared.RIFF:
        for name, start, size in declared.chunks(file, layout):
            if start + size > end:
                return
            yield name, start, size


def _plain(text: str) -> str:
    """The text without what no file can hold: zeros and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise AudioError(
            f"more than {_MAX_BYTES >> 10} KiB of metadata: run without --keep-metadata"
        )
