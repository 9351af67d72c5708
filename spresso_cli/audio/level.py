"""Level: what a source's is, how one byte holds it, how a decoded sound is brought back to it.

The gain byte is defined in format_spec.md, section 4; the networks see peak-normalised sound, so
the byte carries all that is known about loudness.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spresso_cli.container.stream import STEPS_PER_DB, ZERO_DB

# The networks see every sound with this peak, the middle of the levels they were trained on.
NETWORK_PEAK = 0.5

# The limiter leaves samples up to the knee alone and bends what lies above it towards full scale.
KNEE = 0.8
_MAX_DRIVE = 1000.0  # of the peak over full scale: 60 dB, where every sound is a square wave

# |x| is counted in bins that are linear within an octave: the top bits of a float32.
_SHIFT = 15  # keeps 8 bits of mantissa: bins at most 0.4 % wide, 0.03 dB
_BINS = 1 << (31 - _SHIFT)


def gain_byte(rms: float) -> int:
    """Returns the byte of an RMS (1.0 = 0 dBFS): 0 for zero, else 1..255 in steps of 0.5 dB."""
    if rms <= 0.0:
        return 0
    return min(255, max(1, round(STEPS_PER_DB * 20 * math.log10(rms)) + ZERO_DB))


def rms_of(byte: int) -> float:
    """Returns the RMS (1.0 = 0 dBFS) that a gain byte stands for."""
    return 0.0 if byte == 0 else 10.0 ** ((byte - ZERO_DB) / (20 * STEPS_PER_DB))


@dataclass(frozen=True)
class Level:
    """Level of a whole sound, 1.0 = full scale."""

    samples: int  # in each channel
    rms: tuple[float, ...]  # of each channel
    peak: tuple[float, ...]  # of each channel, of |x|
    identical: bool  # all channels carry the same samples, bit for bit; true of mono

    @property
    def overall_rms(self) -> float:
        """RMS over the samples of all channels."""
        return math.sqrt(sum(rms * rms for rms in self.rms) / len(self.rms))

    @property
    def overall_peak(self) -> float:
        return max(self.peak)

    @property
    def silent(self) -> bool:
        """Digital silence: every sample is zero."""
        return self.overall_peak == 0.0

    @property
    def gains(self) -> tuple[int, tuple[int, ...] | None]:
        """The gain byte of a `.spr` file, and those of its channels where each is coded."""
        if self.silent:
            return 0, None
        levels = None if self.identical else tuple(map(gain_byte, self.rms))
        return gain_byte(self.overall_rms), levels


def measure(blocks: Iterable[np.ndarray]) -> Level:
    """Measures float32 blocks [n, C] in one pass; raises ValueError when there is no sample."""
    samples, squares, peak, identical = 0, np.zeros(1), np.zeros(1), True
    for block in blocks:
        samples += len(block)
        squares = squares + np.square(block, dtype=np.float64).sum(axis=0)  # [C]
        peak = np.maximum(peak, np.abs(block).max(axis=0, initial=0.0))  # [C]
        identical = identical and bool((block == block[:, :1]).all())
    if samples == 0:
        raise ValueError("there are no samples to measure")
    return Level(
        samples=samples,
        rms=tuple(float(value) for value in np.sqrt(squares / samples)),
        peak=tuple(float(value) for value in peak),
        identical=identical,
    )


@dataclass(frozen=True)
class Fit:
    """How each channel is brought to its level: a drive, and whether peaks have to be bent."""

    drive: tuple[float, ...]
    limited: tuple[bool, ...]

    def apply(self, block: np.ndarray) -> np.ndarray:
        """Returns float32 [n, C] in -1..1 of float32 [n, C]; sample by sample, without memory."""
        out = block * np.asarray(self.drive)  # float64: a drive may lie outside float32
        for channel, limited in enumerate(self.limited):
            if limited:
                out[:, channel] = _bend(out[:, channel])
        # Rounding may have left an unlimited peak just above 1.
        return np.clip(out, -1.0, 1.0).astype(np.float32)


class Leveller:
    """Collects what has to be known of a sound, block by block, to fit it to a level.

    Memory does not grow with the sound: peak, energy and a histogram of |x| are enough to know the
    RMS behind the limiter at every drive.
    """

    def __init__(self, channels: int) -> None:
        self._samples = 0
        self._squares = np.zeros(channels)
        self.peak = np.zeros(channels)  # of |x|, so far
        self._counts = np.zeros((channels, _BINS), np.int64)

    def add(self, block: np.ndarray) -> None:
        """Takes float32 [n, C], finite."""
        magnitude = np.abs(np.asarray(block, np.float32)).T  # [C, n]
        self._samples += len(block)
        self._squares += np.square(magnitude, dtype=np.float64).sum(axis=1)
        self.peak = np.maximum(self.peak, magnitude.max(axis=1, initial=0.0))
        bins = np.ascontiguousarray(magnitude).view(np.int32) >> _SHIFT
        for channel, row in enumerate(bins):
            self._counts[channel] += np.bincount(row, minlength=_BINS)

    def fit(self, rms: Sequence[float]) -> Fit:
        """Returns how to give each channel its RMS (1.0 = 0 dBFS), one target per channel.

        Where plain gain keeps the peak within full scale it is plain gain. Otherwise peaks are
        bent and the drive is raised until the RMS is met within 0.01 dB; where no drive meets it
        (a target above full scale, a sound that is mostly silence), the nearest possible is taken.
        """
        fits = [self._channel(channel, float(target)) for channel, target in enumerate(rms)]
        return Fit(tuple(drive for drive, _ in fits), tuple(limited for _, limited in fits))

    def _channel(self, channel: int, target: float) -> tuple[float, bool]:
        peak = float(self.peak[channel])
        if peak == 0.0 or target == 0.0:
            return 0.0, False
        plain = target / math.sqrt(self._squares[channel] / self._samples)
        if plain * peak <= 1.0:
            return plain, False
        filled = np.flatnonzero(self._counts[channel])
        counts = self._counts[channel, filled]
        magnitude = _centres(filled)

        def reached(drive: float) -> float:
            bent = _bend(magnitude * drive)
            return math.sqrt(float(np.dot(counts, bent * bent)) / self._samples)

        low, high = plain, max(plain, _MAX_DRIVE / peak)
        while high > low * 1.0002:  # 0.002 dB
            middle = math.sqrt(low * high)
            low, high = (middle, high) if reached(middle) < target else (low, middle)
        return high, True


def fit_level(x: np.ndarray, rms: Sequence[float]) -> np.ndarray:
    """Brings a sound in memory, float32 [n, C], to one RMS per channel; see `Leveller.fit`."""
    leveller = Leveller(x.shape[1])
    leveller.add(x)
    return leveller.fit(rms).apply(x)


def _bend(x: np.ndarray) -> np.ndarray:
    """The limiter's curve: straight up to the knee, then a tanh that ends at full scale."""
    over = np.abs(x) - KNEE
    bent = KNEE + (1.0 - KNEE) * np.tanh(over / (1.0 - KNEE))
    return np.where(over > 0.0, np.copysign(bent, x), x)


def _centres(bins: np.ndarray) -> np.ndarray:
    """The |x| in the middle of each histogram bin, float64; bin 0 holds the zeros."""
    middle = (bins.astype(np.int32) << _SHIFT) | (1 << (_SHIFT - 1))
    return np.where(bins > 0, middle.view(np.float32).astype(np.float64), 0.0)
