"""Spectrograms as PNG files, made with numpy and zlib alone, for pages that embed pictures."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np

from spresso_cli.evaluation.spectra import frame_count, hz_to_mel, magnitudes, mel_to_hz

WINDOW = 2048
RANGE_DB = 80.0

# Lightness rises evenly along these anchors, so that equal steps in dB look equal.
_ANCHORS = (
    (0.00, (8, 9, 20)),
    (0.20, (38, 22, 82)),
    (0.40, (104, 30, 116)),
    (0.60, (186, 54, 85)),
    (0.78, (240, 112, 42)),
    (0.92, (252, 196, 74)),
    (1.00, (253, 248, 208)),
)


def level_map(x: np.ndarray, rate: int, width: int, height: int) -> np.ndarray:
    """Levels in dB of a signal [n] or [n, C] over time and mel frequency, float64 [height, width].

    Row 0 is the Nyquist frequency, the last row 0 Hz; channels are averaged in power. A column is
    the mean of the frames that fall into it.
    """
    channels = x[:, None] if x.ndim == 1 else x
    hop = max(1, min(WINDOW // 4, len(channels) // width))
    frames = frame_count(len(channels), hop)
    columns = min(width, frames)
    filters = _row_filters(rate, height)
    power = np.zeros((columns, height))
    counts = np.zeros(columns)
    for channel in channels.T:
        start = 0
        for block in magnitudes(channel, WINDOW, hop):
            column = np.arange(start, start + len(block)) * columns // frames
            np.add.at(power, column, block**2 @ filters.T)
            np.add.at(counts, column, 1)
            start += len(block)
    power = (power / counts[:, None])[np.arange(width) * columns // width]
    # A full-scale sine peaks at 0 dB.
    return 10 * np.log10(power.T[::-1] / (WINDOW / 4) ** 2 + 1e-12)


def spectrogram_png(levels: np.ndarray, top_db: float) -> bytes:
    """A level map [height, width] as a PNG whose brightest colour is `top_db`, 80 dB of range."""
    scaled = np.clip((levels - top_db) / RANGE_DB + 1.0, 0.0, 1.0)
    return paletted_png(np.rint(scaled * 255).astype(np.uint8), palette())


@lru_cache(maxsize=1)
def palette() -> np.ndarray:
    """The colours from quiet to loud, uint8 [256, 3]."""
    at = [position for position, _ in _ANCHORS]
    colours = np.array([colour for _, colour in _ANCHORS], dtype=np.float64)
    steps = np.linspace(0.0, 1.0, 256)
    return np.rint(np.stack([np.interp(steps, at, c) for c in colours.T], axis=1)).astype(np.uint8)


def paletted_png(indices: np.ndarray, colours: np.ndarray) -> bytes:
    """An image uint8 [height, width] of indices into colours uint8 [256, 3] as a PNG file."""
    height, width = indices.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with filter type 0
    rows[:, 1:] = indices
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", colours.astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def height_of(hz: float, rate: int) -> float:
    """Where a frequency lies on a level map of this sample rate: 0 at the bottom, 1 at the top."""
    return float(hz_to_mel(hz, "htk") / hz_to_mel(rate / 2, "htk"))


@lru_cache(maxsize=8)
def _row_filters(rate: int, rows: int) -> np.ndarray:
    """Weights [rows, bins] from bins to mel-spaced rows: at least a bin wide, each summing to 1."""
    centres = mel_to_hz(np.linspace(0.0, hz_to_mel(rate / 2, "htk"), rows), "htk")
    bins = np.linspace(0.0, rate / 2, WINDOW // 2 + 1)
    spacing = np.gradient(centres)
    reach = np.maximum(spacing, bins[1])[:, None]
    weights = np.maximum(0.0, 1.0 - np.abs(bins[None, :] - centres[:, None]) / reach)
    return weights / weights.sum(axis=1, keepdims=True)
