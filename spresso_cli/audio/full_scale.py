"""What becomes of sounds beyond full scale, where float files can go and no decoded sound does.

A decoder meets the RMS of its source and bends what would exceed full scale (format_spec.md, 4.6),
whatever type of samples it writes. So the peaks of such a source are lost, and where its RMS lies
above full scale as well, so is its level; whoever compresses or decompresses it is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from spresso_cli.audio.files import BLOCK, AudioSource, downmix
from spresso_cli.container.stream import STEPS_PER_DB, ZERO_DB, Header

_HEARD = 10 ** (1 / (20 * STEPS_PER_DB))  # a peak that is less beyond is within a step of the gain


class PeakSource(AudioSource):
    """Another source, whose notes tell of its peak as soon as its blocks have been read.

    Args:
        mix: what counts is the mean of the channels, since that is what will be coded.
    """

    def __init__(self, source: AudioSource, *, mix: bool) -> None:
        self.rate, self.channels = source.rate, source.channels
        self.file_bytes = source.file_bytes
        self._source = source
        self._mix = mix
        self._peak = 0.0  # of |x|, so far

    @property
    def notes(self) -> tuple[str, ...]:
        if self._peak < _HEARD:
            return self._source.notes
        decibels = 20 * math.log10(self._peak)
        lost = (
            f"peaks at {decibels:+.1f} dBFS, which no decoded sound does: turn it down to keep them"
        )
        return (*self._source.notes, lost)

    @property
    def samples(self) -> int:
        return self._source.samples

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        for block in self._source.blocks(size):
            peak = np.abs(block).max()
            if peak > self._peak and self._mix:  # seldom: a mean needs more time than a maximum
                peak = max(np.abs(mono).max() for mono in downmix([block]))
            self._peak = max(self._peak, float(peak))
            yield block

    def metadata(self) -> tuple[tuple[int, bytes], ...]:
        return self._source.metadata()

    def close(self) -> None:
        self._source.close()


def level_notes(header: Header) -> tuple[str, ...]:
    """What of a stream's level no decoded sound can have, one line each."""
    beyond = max(header.levels or (header.gain,)) - ZERO_DB
    if beyond <= 0:
        return ()
    return (f"its level of {beyond / STEPS_PER_DB:+g} dBFS is above full scale: it becomes softer",)
