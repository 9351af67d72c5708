"""Does a decode resemble its own source more than other sources? An identification test.

Clips have the same length and loudness; the mean over all sources is subtracted from embeddings, so
that what all sounds share does not count. The score is the probability that the true source ranks
first by cosine among `candidates` sources: itself and others drawn at random. This probability is
computed exactly, so nothing is drawn and no seed is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from spresso_cli.evaluation.statistics import Interval, mean_interval

TARGET_RMS = 0.1


@dataclass(frozen=True)
class Identification:
    """Share of first ranks with its 95 % interval over clips, against `chance`.

    `cosine` is that of each decode with its own source, mean removed, averaged over clips.
    """

    share: Interval
    candidates: int
    cosine: Interval

    @property
    def chance(self) -> float:
        """The score of decodes that know nothing of their sources."""
        return 1.0 / self.candidates


def identify(sources: np.ndarray, decodes: np.ndarray, candidates: int = 20) -> Identification:
    """Identification of decode i [n, D] as source i [n, D] among `candidates` sources.

    Ties count against the decode. With fewer sources than candidates, all of them compete.
    Raises ValueError for fewer than two sources.
    """
    if sources.ndim != 2 or sources.shape != decodes.shape or len(sources) < 2:
        raise ValueError(f"expected two sets [n, D], got {sources.shape} and {decodes.shape}")
    centre = sources.mean(axis=0, dtype=np.float64)
    similarity = _unit_rows(decodes - centre) @ _unit_rows(sources - centre).T
    own = np.diag(similarity)
    better = np.sum(similarity >= own[:, None], axis=1) - 1  # others at least as near
    others = len(sources) - 1
    drawn = min(candidates - 1, others)
    chances = np.array([comb(others - int(k), drawn) / comb(others, drawn) for k in better])
    return Identification(mean_interval(chances), drawn + 1, mean_interval(own))


def at_equal_loudness(x: np.ndarray) -> np.ndarray:
    """Clips [B, n] scaled to an RMS of -20 dB of full scale each; silent clips stay as they are."""
    level = np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=1, keepdims=True))
    return (x * np.divide(TARGET_RMS, level, out=np.ones_like(level), where=level > 0)).astype(
        np.float32
    )


def derangement(count: int, seed: int = 0) -> np.ndarray:
    """A permutation [count] that leaves nobody in place: every clip gets another clip's codes.

    Raises ValueError for fewer than two.
    """
    if count < 2:
        raise ValueError("a single clip has no other to trade codes with")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    result = np.empty(count, dtype=np.int64)
    result[order] = np.roll(order, 1)
    return result


def _unit_rows(x: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1.0)
