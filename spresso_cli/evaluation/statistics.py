"""Averages with 95 % bootstrap intervals, and intervals for KAD and for listening tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spresso_cli.evaluation.metrics import Bandwidth, kad_kernels, weighted_kad

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `count` is the number of clips behind it."""

    value: float
    low: float
    high: float
    count: int


def mean_interval(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of `values` [n] and its percentile bootstrap interval; NaN entries are left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    means = resample_counts(values.size, resamples, seed) @ values / values.size
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high), values.size)


def kad_interval(
    reference: np.ndarray,
    evaluated: np.ndarray,
    clips: np.ndarray,
    bandwidth: Bandwidth = "reference",
    seed: int = 0,
    resamples: int = 500,
) -> Interval:
    """KAD of paired sets [n, D] with a bootstrap over clips.

    `clips` [n] holds the clip number of each row (0 .. count-1); a clip's embeddings are drawn
    together, in both sets. The kernel width stays that of the whole set.
    """
    kernels = kad_kernels(
        np.asarray(reference, np.float64), np.asarray(evaluated, np.float64), bandwidth
    )
    ones = np.ones(len(reference))
    count = int(clips.max()) + 1
    value = weighted_kad(*kernels, ones, ones)
    draws = []
    for counts in resample_counts(count, resamples, seed):
        if np.count_nonzero(counts) > 1:
            draws.append(weighted_kad(*kernels, counts[clips], counts[clips]))
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(value, float(low), float(high), count)


def kad_difference(
    reference: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    clips: np.ndarray,
    seed: int = 0,
    resamples: int = 500,
) -> Interval:
    """KAD of `first` less KAD of `second`, sets paired with `reference` `[n, D]`, over clips.

    Arguments as in `kad_interval`; every resample draws the same clips for both systems.
    """
    kernels = [
        kad_kernels(np.asarray(reference, np.float64), np.asarray(x, np.float64))
        for x in (first, second)
    ]
    count = int(clips.max()) + 1

    def difference(weights: np.ndarray) -> float:
        ours, theirs = (weighted_kad(*kernel, weights, weights) for kernel in kernels)
        return ours - theirs

    draws = [
        difference(counts[clips])
        for counts in resample_counts(count, resamples, seed)
        if np.count_nonzero(counts) > 1
    ]
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(difference(np.ones(len(reference))), float(low), float(high), count)


def crossed_interval(scores: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of ratings [listeners, items] with listeners and items both drawn anew.

    NaN marks a missing rating. Both factors vary because a listening test means to speak about
    other listeners and about other sounds.
    """
    scores = np.asarray(scores, dtype=np.float64)
    present = ~np.isnan(scores)
    filled = np.where(present, scores, 0.0)
    listeners = resample_counts(scores.shape[0], resamples, seed)
    items = resample_counts(scores.shape[1], resamples, seed + 1)
    sums = np.einsum("rl,li,ri->r", listeners, filled, items)
    weights = np.einsum("rl,li,ri->r", listeners, present.astype(np.float64), items)
    means = sums[weights > 0] / weights[weights > 0]
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(scores[present].mean()), float(low), float(high), int(present.sum()))


def resample_counts(count: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of `count` units is drawn in each resample, float64 [resamples, count]."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)
