"""Headers: a sound that ends before they say is noticed, whatever the kind of file."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from spresso_cli.audio import declared
from spresso_cli.audio.files import open_audio

RATE = 8000


def saved(format: str, subtype: str = "PCM_16", seconds: float = 2.0) -> bytes:
    file = io.BytesIO()
    x = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * RATE), 2))
    soundfile.write(file, x, RATE, format=format, subtype=subtype)
    return file.getvalue()


def notes(data: bytes) -> tuple[str, ...]:
    return open_audio(data).notes


FORMATS = ["WAV", "WAVEX", "RF64", "AIFF", "W64", "AU"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_file_has_no_notes(format: str) -> None:
    assert notes(saved(format)) == ()


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_was_cut_off_says_how_much_is_there(format: str) -> None:
    data = saved(format)
    assert notes(data[: len(data) - RATE * 2]) == ("ends after 1.50 of 2.00 s: cut off?",)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_so_do_other_samples(subtype: str) -> None:
    data = saved("WAV", subtype)
    (note,) = notes(data[: len(data) // 2])
    assert note.startswith("ends after 1.0") and " of 2.0" in note


def test_chunks_before_and_behind_the_sound_do_not_count() -> None:
    data = saved("WAV")
    header, sound = data[:36], data[36:]
    junk = b"junk" + struct.pack("<I", 999) + bytes(1000)
    assert notes(header + junk + sound + junk) == ()
    assert notes(header + junk + sound + junk[:500]) == ()


@pytest.mark.parametrize("size", [0, 1 << 31, 0x7FFFF000, 0x7FFFFF00, 0xFFFFFFFF, 0xFFFFFFD3])
def test_what_programs_write_into_pipes_is_no_length(size: int) -> None:
    data = bytearray(saved("WAV"))
    data[40:44] = struct.pack("<I", size)
    assert declared.ratio(io.BytesIO(data)) == 1.0
    au = bytearray(saved("AU"))
    au[8:12] = struct.pack(">I", size)
    assert declared.ratio(io.BytesIO(au)) == 1.0


@pytest.mark.parametrize("size", [0, (1 << 64) - 1])
def test_neither_is_an_rf64_length_that_was_never_filled_in(size: int) -> None:
    data = bytearray(saved("RF64"))
    at = data.index(b"ds64") + 8 + 8
    data[at : at + 8] = struct.pack("<Q", size)
    assert declared.ratio(io.BytesIO(data)) == 1.0


def test_a_header_that_is_counted_as_sound_is_no_loss() -> None:
    data = bytearray(saved("WAV"))
    data[40:44] = struct.pack("<I", len(data))
    assert notes(bytes(data)) == ()


@pytest.mark.parametrize("format", FORMATS)
def test_any_beginning_of_a_file_can_be_looked_at(format: str) -> None:
    data = saved(format, seconds=0.01)
    for length in range(len(data)):
        assert declared.ratio(io.BytesIO(data[:length])) >= 1.0


@pytest.mark.parametrize("format", FORMATS)
def test_lengths_beyond_all_bounds_end_the_walk(format: str) -> None:
    data = saved(format, seconds=0.01)
    for start in range(12, 100, 4):
        for value in (0xFF, 0x7F, 0):
            damaged = bytearray(data)
            damaged[start : start + 8] = bytes([value]) * 8
            assert declared.ratio(io.BytesIO(damaged)) >= 1.0


@pytest.mark.parametrize("data", [b"", b"fLaC" + bytes(50), b"FORM\0\0\0\x088SVX", b"riff" * 20])
def test_other_files_declare_nothing(data: bytes) -> None:
    assert declared.ratio(io.BytesIO(data)) == 1.0
