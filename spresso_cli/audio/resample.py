"""Sample-rate conversion with exact lengths, in one piece or in a stream; soxr does the filtering.

Both ways run the same filter on the same samples, so a stream is bit-identical to one piece
whatever its block size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

# 20-bit precision: the filter's own error lies below -120 dB, far under what the networks hear,
# and it is linear-phase with its delay removed, so sample k stays at time k / rate.
QUALITY = "HQ"

_MAX_OUTPUT = 1 << 16  # samples that one call of soxr may give: bounds memory at extreme ratios


def resampled_length(samples: int, source: int, target: int) -> int:
    """Returns ceil(samples x target / source), the length of every conversion here."""
    return -(-samples * target // source)


class Resampler:
    """Converts a stream of blocks from `source` Hz to `target` Hz.

    `push` every block, then call `finish` once; together they return exactly
    `resampled_length(samples pushed)` samples.
    """

    def __init__(self, source: int, target: int, channels: int) -> None:
        self.source, self.target, self.channels = source, target, channels
        self._taken = 0  # samples pushed
        self._given = 0  # samples returned
        self._soxr = None
        if source != target:
            self._soxr = soxr.ResampleStream(
                source, target, channels, dtype="float32", quality=QUALITY
            )
        self._step = max(1, _MAX_OUTPUT * source // target)  # samples a call takes

    def push(self, block: np.ndarray) -> np.ndarray:
        """Takes float32 [n, channels]; returns what is ready, float32 [m, channels], m >= 0."""
        self._taken += len(block)
        return self._count(self._run(block))

    def finish(self) -> np.ndarray:
        """Returns the rest, float32 [m, channels]; nothing can be pushed afterwards."""
        missing = resampled_length(self._taken, self.source, self.target) - self._given
        if missing == 0 or self._soxr is None:
            return self._empty()
        # soxr rounds its length to the nearest sample and may stop one short of the ceiling:
        # silence behind the end makes it give that sample too, as the filter's own tail.
        silence = np.zeros((2 + 2 * (self.source // self.target), self.channels), np.float32)
        tail = np.concatenate(
            [self._run(silence), self._soxr.resample_chunk(self._empty(), last=True)]
        )
        return self._count(tail[:missing])

    def _run(self, block: np.ndarray) -> np.ndarray:
        block = np.ascontiguousarray(block, dtype=np.float32)
        if self._soxr is None:
            return block
        pieces = [
            self._soxr.resample_chunk(block[start : start + self._step])
            for start in range(0, len(block), self._step)
        ]
        return np.concatenate(pieces) if pieces else self._empty()

    def _count(self, block: np.ndarray) -> np.ndarray:
        self._given += len(block)
        return block

    def _empty(self) -> np.ndarray:
        return np.zeros((0, self.channels), np.float32)


def resample_blocks(
    blocks: Iterable[np.ndarray], source: int, target: int, channels: int
) -> Iterator[np.ndarray]:
    """Yields the blocks, float32 [n, channels], converted from `source` Hz to `target` Hz."""
    resampler = Resampler(source, target, channels)
    for block in blocks:
        converted = resampler.push(block)
        if len(converted):
            yield converted
    rest = resampler.finish()
    if len(rest):
        yield rest


def resample(x: np.ndarray, source: int, target: int) -> np.ndarray:
    """Converts float32 [n, C] from `source` Hz to `target` Hz: float32 [ceil(n t / s), C]."""
    resampler = Resampler(source, target, x.shape[1])
    return np.concatenate([resampler.push(x), resampler.finish()])
