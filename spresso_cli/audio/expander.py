"""Upward expansion: a decoded sound whose peak stays low is too quiet where it is loudest.

Codes of few bits say less of a moment than a mean over what it could have been, and a mean over
loud and quiet is too quiet in the loudest bands of the loudest moments. Scaled to the RMS of its
source, such a sound has a background that is too loud. But the networks see every sound with the
same peak: how far below it the decoded one ends tells by how much its loudest parts have to be
raised first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

HOP_SECONDS, OVERLAP = 0.01, 4  # of a short-time spectrum; windows that every sample is in
BANDS = 64  # at most, evenly spaced on the mel scale
RANGE_DB = 35.0  # below the loudest band of any window: from here on up bands are raised
SHARE = 1.2  # of what the peak misses: the loudest band's gain. All others get less, and add to it
LIMIT_DB = 20.0  # that a band is raised by at most
CHUNK = 64  # windows at a time, whatever the blocks: results do not depend on these
QUIETEST = 1e-9  # of a band's magnitude, far below any sound


def shortfall(peak: np.ndarray, wanted: float) -> np.ndarray:
    """Returns by how much each channel's peak [C] is too low, dB; 0 where it is not."""
    missing = 20 * np.log10(wanted / np.where(peak > 0, peak, wanted))
    return missing.clip(min=0.0)


def raised(
    blocks: Callable[[], Iterable[np.ndarray]], samples: int, rate: int, missing: np.ndarray
) -> Iterator[np.ndarray]:
    """Raises the loudest parts of a sound, read twice, every channel by itself.

    Args:
        blocks: returns the sound from its beginning, float32 [n, C] each.
        samples: how many there are in each channel.
        rate: Hz.
        missing: dB [C], from `shortfall`.

    Yields:
        float32 [m, C], together as long as the sound.
    """
    spectra = _Spectra(rate)
    loudest = np.full(len(missing), -np.inf)  # dB
    for windows in spectra.windows(blocks()):
        loudest = np.maximum(loudest, spectra.levels(spectra.of(windows)).max(axis=(0, 2)))
    gain = np.minimum(SHARE * missing, LIMIT_DB)[:, None]  # dB, of the loudest band
    tail = np.zeros((0, len(missing)))
    ahead = (OVERLAP - 1) * spectra.hop  # samples of windows that begin before the sound
    for windows in spectra.windows(blocks()):
        spectrum = spectra.of(windows)
        below = loudest[:, None] - spectra.levels(spectrum)  # [k, C, bands]
        decibels = gain * (1 - below / RANGE_DB).clip(min=0)
        whole = spectra.sound(spectrum * 10 ** (spectra.to_bins(decibels) / 20))
        whole[: len(tail)] += tail
        done = len(windows) * spectra.hop
        tail = whole[done:]
        skipped = min(ahead, done)
        ready = whole[skipped:done][:samples]
        ahead, samples = ahead - skipped, samples - len(ready)
        yield ready.astype(np.float32)


class _Spectra:
    """Short-time spectra on a fixed grid, [windows, C, bins], their bands, and the way back."""

    def __init__(self, rate: int) -> None:
        self.hop = max(1, round(rate * HOP_SECONDS))
        size = OVERLAP * self.hop
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        bins = size // 2 + 1
        mels = np.linspace(0, np.log1p(rate / 2 / 700), BANDS + 1)[:-1]
        edges = np.unique((700 * np.expm1(mels) * size / rate).astype(int))  # where bands begin
        self._edges = edges
        centres = (edges + np.append(edges[1:], bins) - 1) / 2
        rows = np.eye(len(edges))
        self._to_bins = np.stack([np.interp(np.arange(bins), centres, row) for row in rows])

    def windows(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Views [k <= 64, C, size] of a sound in blocks; the first ends with its first hop."""
        hop, before = self.hop, (OVERLAP - 1) * self.hop
        held = None
        for block in blocks:
            if held is None:
                held = np.zeros((before, block.shape[1]), np.float32)
            held = np.concatenate((held, block))
            while len(held) >= CHUNK * hop + before:
                yield self._views(held[: CHUNK * hop + before])
                held = held[CHUNK * hop :]
        if held is None:
            return
        held = np.pad(held, ((0, before + -len(held) % hop), (0, 0)))
        while len(held) > before:
            yield self._views(held[: CHUNK * hop + before])
            held = held[CHUNK * hop :]

    def _views(self, samples: np.ndarray) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(samples, OVERLAP * self.hop, axis=0)
        return views[:: self.hop]

    def of(self, windows: np.ndarray) -> np.ndarray:
        """Complex [k, C, bins]."""
        return np.fft.rfft(windows * self._window)

    def levels(self, spectrum: np.ndarray) -> np.ndarray:
        """dB of bands, [k, C, bands]."""
        bands = np.add.reduceat(np.abs(spectrum), self._edges, axis=2)
        return 20 * np.log10(bands.clip(min=QUIETEST))

    def to_bins(self, bands: np.ndarray) -> np.ndarray:
        """Linear between the middles of bands: [k, C, bands] -> [k, C, bins]."""
        return bands @ self._to_bins

    def sound(self, spectrum: np.ndarray) -> np.ndarray:
        """Windows laid over each other again, [(k + 3) hop, C]."""
        count, channels, _ = spectrum.shape
        windows = np.fft.irfft(spectrum, OVERLAP * self.hop) * self._window / (0.375 * OVERLAP)
        parts = windows.reshape(count, channels, OVERLAP, self.hop)
        whole = np.zeros((count + OVERLAP - 1, self.hop, channels))
        for place in range(OVERLAP):
            whole[place : place + count] += parts[:, :, place].transpose(0, 2, 1)
        return whole.reshape(-1, channels)
