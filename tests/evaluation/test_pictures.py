"""Spectrogram pictures: right levels at right places, and PNG files that other readers accept."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from spresso_cli.evaluation import pictures

RATE = 48_000


def tone(hz: float, samples: int = RATE, level: float = 1.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 9000.0])
def test_a_tone_is_a_line_at_its_height(hz: float) -> None:
    levels = pictures.level_map(tone(hz), RATE, 300, 200)
    row = int(np.argmax(levels.mean(axis=1)))
    assert (199 - row) / 199 == pytest.approx(pictures.height_of(hz, RATE), abs=0.012)


def test_a_full_scale_tone_is_near_zero_decibels_and_a_quiet_one_lower() -> None:
    loud = pictures.level_map(tone(1000), RATE, 100, 400).max()
    assert loud == pytest.approx(0.0, abs=1.5)
    quiet = pictures.level_map(tone(1000, level=0.01), RATE, 100, 400).max()
    assert quiet == pytest.approx(loud - 40.0, abs=0.1)


@pytest.mark.parametrize("samples", [1, 10, 719, 720, 30_000, 400_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_fills_the_picture(samples: int, channels: int) -> None:
    x = np.random.default_rng(0).standard_normal((samples, channels))
    levels = pictures.level_map(x, RATE, 720, 16)
    assert levels.shape == (16, 720)
    assert np.all(np.isfinite(levels))


def test_a_click_is_where_it_was_in_time() -> None:
    x = np.zeros(100_000)
    x[75_000] = 1.0
    levels = pictures.level_map(x, RATE, 200, 32)
    assert int(np.argmax(levels.max(axis=0))) == pytest.approx(150, abs=2)


def test_silence_is_the_darkest_colour() -> None:
    levels = pictures.level_map(np.zeros(1000), RATE, 20, 10)
    assert set(unpacked(pictures.spectrogram_png(levels, 0.0)).ravel()) == {0}


def test_the_palette_gets_lighter_all_the_way() -> None:
    lightness = pictures.palette().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert np.all(np.diff(lightness) >= -0.5)


def test_the_png_holds_what_went_in() -> None:
    indices = np.arange(12 * 7, dtype=np.uint8).reshape(7, 12)
    data = pictures.paletted_png(indices, pictures.palette())
    np.testing.assert_array_equal(unpacked(data), indices)


def unpacked(data: bytes) -> np.ndarray:
    """A minimal reader of palette PNGs that checks what the standard demands."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += size + 12
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    assert len(chunks[b"PLTE"]) == 768
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]
