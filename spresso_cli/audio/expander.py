"""Upward expansion: a decoded sound whose peak stays low has its loudest moments too quiet.

Codes of few bits say less of a moment than a mean over what it could have been, and a mean over
loud and quiet is too quiet where the sound is loudest. Scaled to the RMS of its source, such a
sound has a background that is too loud. But the networks see every sound with the same peak: how
far below it the decoded one ends tells by how much its loudest moments have to be raised first.
"""

from __future__ import annotations

import numpy as np

FRAMES = 100  # a second
SMOOTHING = np.array((0.25, 0.5, 0.25))  # of neighbouring frames' power
RANGE_DB = 20.0  # below the loudest frame: from here on up frames are raised, the loudest by all
LIMIT_DB = 20.0  # that a frame is raised by at most


class Expander:
    """Collects the levels of frames, block by block, then raises the loudest towards a peak.

    Every channel is looked at by itself. What stays is a number for each frame and channel, 1.4 MB
    for an hour of mono.
    """

    def __init__(self, channels: int, rate: int, peak: float) -> None:
        """`rate` in Hz; `peak` is what the sound's |x| should reach."""
        self._wanted = peak
        self._peak = np.zeros(channels)
        self._hop = max(1, round(rate / FRAMES))  # samples of a frame
        self._powers: list[np.ndarray] = []  # float32 [frames, C] each
        self._rest = np.zeros((0, channels), np.float32)  # samples of a frame that is not full yet
        self._gains: np.ndarray | None = None

    def add(self, block: np.ndarray) -> None:
        """Takes float32 [n, C], finite; not after `apply`."""
        self._peak = np.maximum(self._peak, np.abs(block).max(axis=0, initial=0.0))
        samples = np.concatenate((self._rest, block))
        whole = len(samples) // self._hop * self._hop
        self._take(samples[:whole].reshape(-1, self._hop, samples.shape[1]))
        self._rest = samples[whole:]

    def apply(self, block: np.ndarray, start: int) -> np.ndarray:
        """Returns float32 [n, C] of a block that begins at sample `start`; untouched if nothing of
        the sound has to be raised."""
        gains = self._decibels()
        if not gains.any():
            return block
        # Of a frame's gain, its middle has all; between middles it goes linearly in dB.
        place = (start + np.arange(len(block)) + 0.5) / self._hop - 0.5
        frames = np.arange(len(gains))
        curve = [np.interp(place, frames, channel) for channel in gains.T]
        return (block * 10 ** (np.stack(curve, 1) / 20)).astype(np.float32)

    def _take(self, frames: np.ndarray) -> None:
        """Whole frames [count, samples, C], or the last one, which may be shorter."""
        self._powers.append(np.square(frames, dtype=np.float64).mean(1).astype(np.float32))

    def _decibels(self) -> np.ndarray:
        """How much each frame is raised, [frames, C]."""
        if self._gains is None:
            if len(self._rest):
                self._take(self._rest[None])
            padded = np.pad(np.concatenate(self._powers), ((1, 1), (0, 0)), "edge")
            views = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=0)  # [frames, C, 3]
            smooth = views @ SMOOTHING
            loudest = smooth.max(axis=0).clip(min=1e-30)
            below = -10 * np.log10((smooth / loudest).clip(min=1e-12))
            missing = 20 * np.log10(self._wanted / self._peak.clip(min=1e-15))
            missing = np.where(self._peak > 0, missing.clip(0, LIMIT_DB), 0.0)
            self._gains = missing * (1 - below / RANGE_DB).clip(min=0)
        return self._gains
