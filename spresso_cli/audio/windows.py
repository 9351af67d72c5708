"""Windows over long sounds, in code frames and latent frames; integer arithmetic only.

The encoder runs windows with context on both sides and keeps the core codes. The decoder runs
overlapping windows and averages the overlapping estimates, so every window brings its weights.
All starts are multiples of the pooling factor: one code grid for the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

WINDOW_FRAMES = 504  # latent frames (10 ms) that a network sees at most
CONTEXT_FRAMES = 100  # latent frames that windows share with each neighbour, at least
STRETCH_WINDOWS = 48  # decoder windows of a long sound that share one trajectory: bounds memory


@dataclass(frozen=True)
class EncoderWindow:
    """One run of the encoder: codes [start, stop) are computed, [keep, until) are kept."""

    start: int
    stop: int
    keep: int
    until: int


@dataclass(frozen=True)
class Plan:
    """How many codes a window of one frame-rate family holds.

    Attributes:
        pool: t, latent frames in one code frame.
        window: codes a window holds.
        context: codes two neighbouring windows share on each side (encoder) or in all (decoder).
    """

    pool: int
    window: int
    context: int

    @classmethod
    def of(cls, pool: int, patch: int = 1) -> Plan:
        """The plan for pooling factor t; full windows hold whole patches of latent frames."""
        step = next(n for n in range(1, patch + 1) if n * pool % patch == 0)
        window = WINDOW_FRAMES // (pool * step) * step
        return cls(pool, window, -(-CONTEXT_FRAMES // pool))

    def encoder_windows(self, frames: int) -> Iterator[EncoderWindow]:
        """Cover code frames 0..frames; every code is kept exactly once."""
        if frames <= self.window:
            yield EncoderWindow(0, frames, 0, frames)
            return
        core = self.window - 2 * self.context
        kept = 0
        while kept < frames:
            start = min(max(0, kept - self.context), frames - self.window)
            stop = start + self.window
            until = frames if stop == frames else start + self.context + core
            yield EncoderWindow(start, stop, kept, until)
            kept = until

    def decoder_windows(self, frames: int) -> list[tuple[int, int]]:
        """Overlapping windows (start, stop) in code frames over 0..frames."""
        if frames <= self.window:
            return [(0, frames)]
        hop = self.window - self.context
        starts = list(range(0, frames - self.window, hop)) + [frames - self.window]
        return [(start, start + self.window) for start in starts]

    def stretches(self, frames: int) -> list[tuple[int, int]]:
        """Ranges (begin, stop) of code frames that are decoded at a time; one, unless very long.

        Neighbours overlap by three contexts, because the windows at the end of a stretch lack a
        neighbour to agree with: only the middle of the overlap is faded.
        """
        hop = self.window - self.context
        span = STRETCH_WINDOWS * hop + self.context
        ranges = [(0, min(span, frames))]
        while ranges[-1][1] < frames:
            begin = ranges[-1][1] - 3 * self.context
            ranges.append((begin, min(begin + span, frames)))
        return ranges


def window_weights(windows: list[tuple[int, int]], pool: int, total: int) -> list[np.ndarray]:
    """Averaging weights of each decoder window, float32 `[latent frames]`, summing to 1 everywhere.

    Args:
        windows: (start, stop) in code frames, as `decoder_windows` gives them.
        pool: latent frames in one code frame.
        total: latent frames of the whole sound; a single window may reach beyond `stop * pool`.

    Neighbours fade linearly into each other over what they share.
    """
    spans = [(start * pool, stop * pool) for start, stop in windows]
    spans[-1] = (spans[-1][0], total)
    ramps = []
    for i, (start, stop) in enumerate(spans):
        ramp = np.ones(stop - start)
        if i > 0:
            shared = spans[i - 1][1] - start
            ramp[:shared] = np.minimum(ramp[:shared], (np.arange(shared) + 0.5) / shared)
        if i + 1 < len(spans):
            shared = stop - spans[i + 1][0]
            ramp[-shared:] = np.minimum(ramp[-shared:], (np.arange(shared)[::-1] + 0.5) / shared)
        ramps.append(ramp)
    norm = np.zeros(total)
    for (start, stop), ramp in zip(spans, ramps, strict=True):
        norm[start:stop] += ramp
    return [
        (ramp / norm[start:stop]).astype(np.float32)
        for (start, stop), ramp in zip(spans, ramps, strict=True)
    ]
