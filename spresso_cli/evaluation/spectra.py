"""Short-time spectra and mel filter banks in numpy, shared by metrics, embeddings and pictures.

Conventions are those of librosa and of DAC's audiotools (Kumar et al. 2023, section 3): periodic
Hann windows, centred frames with reflected ends, unnormalised magnitudes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np

MelScale = Literal["slaney", "htk"]

BLOCK_SAMPLES = 1 << 20  # samples of framed signal per FFT call: bounds memory for long files


@lru_cache(maxsize=32)
def hann(size: int) -> np.ndarray:
    """Periodic Hann window, float64 [size]."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window.setflags(write=False)
    return window


def frame_count(samples: int, hop: int) -> int:
    """Number of centred frames of a signal: 1 + samples // hop."""
    return 1 + samples // hop


def magnitudes(
    x: np.ndarray, window: int, hop: int, n_fft: int | None = None
) -> Iterator[np.ndarray]:
    """Yield the magnitude STFT of `x` [n] in blocks of consecutive frames, float64 [t, n_fft/2+1].

    Frames are centred (the ends are reflected by n_fft/2); a window shorter than `n_fft` is
    zero-padded on both sides. Raises ValueError for an empty signal.
    """
    n_fft = n_fft or window
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"expected a non-empty signal [n], got shape {x.shape}")
    left = (n_fft - window) // 2
    taper = np.pad(hann(window), (left, n_fft - window - left))
    padded = np.pad(np.asarray(x, dtype=np.float64), n_fft // 2, mode="reflect")
    framed = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # [T, n_fft]
    framed = framed[: frame_count(x.size, hop)]
    step = max(1, BLOCK_SAMPLES // n_fft)
    for start in range(0, len(framed), step):
        yield np.abs(np.fft.rfft(framed[start : start + step] * taper, axis=1))


def mean_power(x: np.ndarray, window: int = 2048, hop: int = 512) -> np.ndarray:
    """Mean power spectrum over frames, float64 [window/2+1], summing to the signal's mean square.

    One-sided: every bin but DC and Nyquist counts twice, and the window's own power is divided
    out, so that sums over bins are mean squares of the signal in that band.
    """
    total = np.zeros(window // 2 + 1)
    count = 0
    for block in magnitudes(x, window, hop):
        total += np.einsum("tf,tf->f", block, block)
        count += len(block)
    one_sided = np.full(total.size, 2.0)
    one_sided[[0, -1]] = 1.0
    return total * one_sided / (count * window * np.sum(hann(window) ** 2))


def hz_to_mel(hz: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """Frequencies in Hz to mel, on Slaney's scale (linear below 1 kHz) or HTK's."""
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    return np.where(
        hz < 1000.0, hz * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000) / np.log(6.4)
    )


def mel_to_hz(mel: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))


@lru_cache(maxsize=32)
def mel_filters(
    rate: int,
    n_fft: int,
    bands: int,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: MelScale = "slaney",
) -> np.ndarray:
    """Triangular mel filters, float64 [bands, n_fft/2+1]; `fmax` defaults to the Nyquist frequency.

    As librosa: triangles are linear in Hz; on Slaney's scale each has unit area over frequency,
    on HTK's each has unit height. Narrow bands can fall between two bins and be empty.
    """
    top = rate / 2 if fmax is None else fmax
    edges = mel_to_hz(np.linspace(hz_to_mel(fmin, scale), hz_to_mel(top, scale), bands + 2), scale)
    bins = np.linspace(0.0, rate / 2, n_fft // 2 + 1)
    widths = np.diff(edges)
    rising = (bins[None, :] - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / widths[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))  # [bands, bins]
    if scale == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    filters.setflags(write=False)
    return filters
