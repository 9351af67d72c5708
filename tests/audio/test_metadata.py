"""Metadata: chunks and tags go through a stream's records, as far as formats hold them."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from spresso_cli.audio import metadata
from spresso_cli.audio.files import open_audio
from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.container import tlv
from spresso_cli.errors import AudioError

BEXT = b"a description".ljust(602, b"\0") + b"A=PCM,F=48000\r\n"
IXML = b"<BWFXML><PROJECT>doors</PROJECT></BWFXML>"
SMPL = struct.pack("<9I", 0, 0, 20833, 60, 0, 0, 0, 0, 0)
CUE = struct.pack("<I6I", 1, 1, 40, 0x61746164, 0, 0, 40)
LABELS = metadata.chunk(b"labl", struct.pack("<I", 1) + b"slam\0")
TAGS = {"artist": "Zoë", "comment": "door\nslam", "title": "Tür 💥"}

RECORDS = (
    (tlv.BEXT, BEXT),
    (tlv.IXML, IXML),
    (tlv.SMPL, SMPL),
    (tlv.CUE, CUE),
    (tlv.TAGS, json.dumps(TAGS, ensure_ascii=False).encode()),
    (tlv.ADTL, LABELS),
)


def riff(*chunks: tuple[bytes, bytes], kind: bytes = b"RIFF") -> bytes:
    fmt = struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)
    body = b"WAVE" + b"".join(
        metadata.chunk(name, content) for name, content in ((b"fmt ", fmt), *chunks)
    )
    return kind + struct.pack("<I", len(body)) + body


SOUND = (b"data", bytes(100))


def saved(format: str, records: tuple[tuple[int, bytes], ...]) -> bytes:
    file = io.BytesIO()
    x = np.zeros((50, 1), np.float32)
    with AudioSink(
        file, AudioFormat.of(format), rate=48_000, channels=1, samples=50, metadata=records
    ) as sink:
        sink.write(x)
    return file.getvalue()


def test_every_record_survives_a_wav() -> None:
    assert open_audio(saved("wav", RECORDS)).metadata() == RECORDS


@pytest.mark.parametrize("body", [b"", b"\xff", b"abc", SMPL + b"odd", struct.pack("<3I", 2, 0, 0)])
@pytest.mark.parametrize("kind", [tlv.SMPL, tlv.CUE, tlv.ADTL])
def test_a_damaged_chunk_does_not_cost_the_sound(kind: int, body: bytes) -> None:
    """libsndfile reads on where such a chunk ought to have ended."""
    data = saved("wav", ((kind, body),))
    assert len(soundfile.read(io.BytesIO(data))[0]) == 50
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert dict(open_audio(data).metadata()).get(kind, body) == body


@pytest.mark.parametrize("format", ["flac", "ogg"])
def test_tags_survive_flac_and_ogg_which_hold_no_chunks(format: str) -> None:
    assert open_audio(saved(format, RECORDS)).metadata() == RECORDS[4:5]


def test_what_only_wav_holds_is_named() -> None:
    assert metadata.chunk_names(RECORDS) == ("bext", "iXML", "smpl", "cue", "adtl")
    assert AudioFormat.of("flac").notes(RECORDS[2:]) == (
        "flac cannot hold smpl, cue, adtl: wav can",
    )
    assert AudioFormat.of("ogg").notes(RECORDS[4:5]) == ()
    assert AudioFormat.of("wav").notes(RECORDS) == ()


def test_labels_travel_with_their_cue_points_wherever_they_stand() -> None:
    labels, info = (b"LIST", b"adtl" + LABELS), (b"LIST", b"INFO" + metadata.chunk(b"ISFT", b"x"))
    for order in (labels, (b"cue ", CUE), info, SOUND), (info, SOUND, (b"cue ", CUE), labels):
        assert open_audio(riff(*order)).metadata() == ((tlv.CUE, CUE), (tlv.ADTL, LABELS))


def test_labels_without_cue_points_label_nothing() -> None:
    assert open_audio(riff((b"LIST", b"adtl" + LABELS), SOUND)).metadata() == ()


@pytest.mark.parametrize("body", [b"", b"ad", b"adtl"])
def test_lists_that_hold_nothing_do_no_harm(body: bytes) -> None:
    assert (tlv.CUE, CUE) in open_audio(riff((b"cue ", CUE), (b"LIST", body), SOUND)).metadata()


def test_chunks_are_found_before_and_behind_the_sound_and_behind_odd_lengths() -> None:
    data = riff((b"bext", BEXT), (b"odd ", b"x"), SOUND, (b"iXML", IXML), (b"cue ", CUE))
    assert open_audio(data).metadata() == (RECORDS[0], RECORDS[1], RECORDS[3])


def test_the_sound_of_a_wav_with_chunks_is_untouched() -> None:
    assert open_audio(saved("wav", RECORDS)).samples == 50
    assert soundfile.info(io.BytesIO(saved("wav", RECORDS))).frames == 50


def test_tags_of_a_wav_are_read_by_other_programs() -> None:
    with soundfile.SoundFile(io.BytesIO(saved("wav", RECORDS))) as sound:
        assert sound.title == TAGS["title"] and sound.artist == TAGS["artist"]


def test_a_sound_without_metadata_has_no_records() -> None:
    assert open_audio(riff(SOUND)).metadata() == ()


def test_the_writing_program_is_not_carried_along() -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48_000, 1, "PCM_16", format="WAV") as sound:
        sound.software = "some editor"
        sound.write(np.zeros(10))
    assert open_audio(file.getvalue()).metadata() == ()


def test_of_two_chunks_of_one_name_the_first_counts() -> None:
    data = riff((b"iXML", b"first"), SOUND, (b"iXML", b"second"))
    assert open_audio(data).metadata() == ((tlv.IXML, b"first"),)


def test_rf64_is_walked_through_its_64_bit_length() -> None:
    ds64 = struct.pack("<QQQI", 0, 100, 50, 0)
    plain = riff((b"ds64", ds64), SOUND, (b"iXML", IXML), kind=b"RF64")
    data = plain.replace(b"data" + struct.pack("<I", 100), b"data" + b"\xff" * 4)
    assert metadata.read(io.BytesIO(data), {}) == ((tlv.IXML, IXML),)


# Hostile files.


def test_a_chunk_that_runs_over_the_end_ends_the_walk() -> None:
    data = riff(SOUND, (b"bext", BEXT)) + b"iXML" + struct.pack("<I", 0xFFFFFFF0) + b"<x/>"
    assert metadata.read(io.BytesIO(data), {}) == (RECORDS[0],)


@pytest.mark.parametrize("length", range(60))
def test_any_truncation_is_walked_without_an_error(length: int) -> None:
    assert metadata.read(io.BytesIO(riff(SOUND)[:length]), {}) == ()


def test_a_swarm_of_empty_chunks_is_walked_only_so_far() -> None:
    data = riff(*[(b"junk", b"")] * 10_000)
    assert len(list(metadata.chunks(io.BytesIO(data)))) == 4096


def test_more_metadata_than_a_stream_can_carry_is_refused_without_being_read() -> None:
    data = riff(SOUND, (b"iXML", bytes(8 << 20)))
    tracemalloc.start()
    with pytest.raises(AudioError, match="run without --keep-metadata"):
        metadata.read(io.BytesIO(data), {})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_metadata_adds_up() -> None:
    half = bytes(600 << 10)
    data = riff(SOUND, (b"iXML", half), (b"bext", half))
    with pytest.raises(AudioError, match="more than 1023 KiB"):
        metadata.read(io.BytesIO(data), {})


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[1]", b'{"title": 5}', b'{"title": null}', b"[" * 100_000]
)
def test_a_sound_is_not_refused_for_damaged_tags(value: bytes) -> None:
    """format_spec.md, 4.8: they are opaque to a reader."""
    assert open_audio(saved("wav", ((tlv.TAGS, value), (tlv.BEXT, BEXT)))).metadata() == (
        (tlv.BEXT, BEXT),
    )


def test_tags_of_unknown_names_and_impossible_characters_do_no_harm() -> None:
    value = json.dumps({"title": "a\0b\ud800", "__class__": "x"}).encode()
    for format in ("wav", "flac", "ogg"):
        ((_, tags),) = open_audio(saved(format, ((tlv.TAGS, value),))).metadata()
        assert json.loads(tags) == {"title": "ab?"}


def test_tags_of_older_files_are_windows_1252() -> None:
    info = b"INFO" + metadata.chunk(b"INAM", b"T\xfcr\0") + metadata.chunk(b"IART", b"Zoe\0")
    data = riff((b"LIST", info), SOUND)
    found = metadata.read(io.BytesIO(data), {"title": "T\ufffdr", "artist": "Zoe"})
    assert metadata.tags_of(found) == {"title": "Tür", "artist": "Zoe"}


def test_tags_that_libsndfile_leaves_out_for_their_length_are_carried() -> None:
    story = "door " * 2000
    data = riff((b"LIST", b"INFO" + metadata.chunk(b"IART", story.encode() + b"\0")), SOUND)
    with open_audio(data) as source:
        assert metadata.tags_of(source.metadata()) == {"artist": story}
