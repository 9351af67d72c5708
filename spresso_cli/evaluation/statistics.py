"""Averages with 95 % bootstrap intervals, and intervals for KAD and for listening tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spresso_cli.evaluation.metrics import KAD_SCALE, Bandwidth, kad_kernels

RESAMPLES, KAD_RESAMPLES = 2000, 500


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `count` is the number of clips behind it."""

    value: float
    low: float
    high: float
    count: int


def mean_interval(
    values: np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
    clips: np.ndarray | None = None,
) -> Interval:
    """Mean of `values` [n] and its percentile bootstrap interval; NaN entries are left out.

    `clips` [n] holds the number of the clip behind each value, where some share one (takes of one
    original): these are drawn together. None: each has its own.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    values = values[known]
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    numbers = np.arange(values.size) if clips is None else np.unique(clips[known], False, True)[1]
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    counts = resample_counts(sums.size, resamples, seed)
    low, high = np.percentile(counts @ sums / (counts @ sizes), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high), sums.size)


def kad_interval(
    reference: np.ndarray,
    evaluated: np.ndarray,
    clips: np.ndarray,
    outputs: np.ndarray | None = None,
    bandwidth: Bandwidth = "reference",
    seed: int = 0,
    resamples: int = KAD_RESAMPLES,
) -> Interval:
    """KAD of paired sets [m, D] and [n, D] with a bootstrap over clips.

    The kernel width stays that of the whole set. Where clips have several outputs, KAD is the mean
    over all ways to take one of each: two outputs of one clip are not compared.

    Args:
        clips: the number of the clip of each row of the reference, 0 .. count - 1, `[m]`; all rows
            of a clip are drawn together, in both sets.
        outputs: the clip of each row of the other set and the number of its output, `[n, 2]`;
            None: each clip has one output, with as many rows.
    """
    if outputs is None:
        outputs = np.stack((clips, clips), 1)
    distance = _Kad.of(reference, evaluated, clips, outputs, bandwidth)
    count = int(clips.max()) + 1
    low, high = np.percentile(distance(_drawn(count, resamples, seed)), (2.5, 97.5))
    return Interval(float(distance(np.ones((1, count)))[0]), float(low), float(high), count)


def kad_difference(
    reference: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    clips: np.ndarray,
    seed: int = 0,
) -> Interval:
    """KAD of `first` less KAD of `second`, sets paired with `reference` `[n, D]`, over clips.

    Arguments as in `kad_interval`; every resample draws the same clips for both systems.
    """
    ours, theirs = (
        _Kad.of(reference, x, clips, np.stack((clips, clips), 1)) for x in (first, second)
    )
    count = int(clips.max()) + 1
    counts = _drawn(count, KAD_RESAMPLES, seed)
    low, high = np.percentile(ours(counts) - theirs(counts), (2.5, 97.5))
    whole = np.ones((1, count))
    return Interval(float((ours(whole) - theirs(whole))[0]), float(low), float(high), count)


@dataclass(frozen=True)
class _Mean:
    """A mean over pairs of rows that knows what becomes of it when clips are drawn anew.

    Pairs of rows of one clip and those of two are averaged apart and count as in the whole set. A
    clip that is drawn twice is not two clips that happen to be alike: if it were, outputs would lie
    near more sources in every resample than they do, and KAD would be too small in all of them.
    """

    sums: np.ndarray  # [clips, clips]
    pairs: np.ndarray  # how much the pairs in each sum count

    @classmethod
    def of(
        cls, kernel: np.ndarray, weights: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> _Mean:
        """Of a kernel [m, n], the weight of each pair, and the clips of rows and columns."""
        clips = np.arange(1 + max(rows.max(), columns.max()))
        left, right = ((numbers == clips[:, None]).astype(float) for numbers in (rows, columns))
        return cls(left @ (kernel * weights) @ right.T, left @ weights @ right.T)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """The mean in each resample `[resamples]` of so many copies of each clip."""
        parts = (self.sums, self.pairs)
        within, pairs_within = (counts @ np.diag(part) for part in parts)
        others = 1.0 - np.eye(len(self.sums))
        between, pairs_between = ((counts @ (part * others) * counts).sum(1) for part in parts)
        share = np.trace(self.pairs) / self.pairs.sum()
        own = within / np.maximum(pairs_within, 1.0)  # none at all: their share is nothing
        return share * own + (1.0 - share) * between / pairs_between


@dataclass(frozen=True)
class _Kad:
    """KAD of a set of clips and its outputs, whichever clips are drawn."""

    within_r: _Mean
    within_e: _Mean
    across: _Mean

    @classmethod
    def of(
        cls,
        reference: np.ndarray,
        evaluated: np.ndarray,
        clips: np.ndarray,
        outputs: np.ndarray,
        bandwidth: Bandwidth = "reference",
    ) -> _Kad:
        """Arguments as in `kad_interval`."""
        sets = (np.asarray(reference, np.float64), np.asarray(evaluated, np.float64))
        within_r, within_e, across = kad_kernels(*sets, bandwidth)
        of, number = outputs.T
        several = np.bincount(np.unique(outputs, axis=0)[:, 0])  # outputs of each clip
        share = 1.0 / several[of]
        alone = np.where(number[:, None] == number, share, 0.0) * (1.0 - np.eye(len(of)))
        chosen = np.where(of[:, None] == of, alone, np.outer(share, share))
        return cls(
            _Mean.of(within_r, 1.0 - np.eye(len(clips)), clips, clips),
            _Mean.of(within_e, chosen, of, of),
            _Mean.of(across, np.outer(np.ones(len(clips)), share), clips, of),
        )

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """KAD x 100 of each resample, `[resamples]`."""
        return KAD_SCALE * (self.within_r(counts) + self.within_e(counts) - 2 * self.across(counts))


def _drawn(count: int, resamples: int, seed: int) -> np.ndarray:
    """Resamples of clips in which more than one appears: KAD has no value for a single one."""
    counts = resample_counts(count, resamples, seed)
    return counts[np.count_nonzero(counts, axis=1) > 1]


def crossed_interval(scores: np.ndarray, seed: int = 0) -> Interval:
    """Mean of ratings [listeners, items] with listeners and items both drawn anew.

    NaN marks a missing rating. Both factors vary because a listening test means to speak about
    other listeners and about other sounds.
    """
    scores = np.asarray(scores, dtype=np.float64)
    present = ~np.isnan(scores)
    filled = np.where(present, scores, 0.0)
    listeners = resample_counts(scores.shape[0], RESAMPLES, seed)
    items = resample_counts(scores.shape[1], RESAMPLES, seed + 1)
    sums = np.einsum("rl,li,ri->r", listeners, filled, items)
    weights = np.einsum("rl,li,ri->r", listeners, present.astype(np.float64), items)
    means = sums[weights > 0] / weights[weights > 0]
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(scores[present].mean()), float(low), float(high), int(present.sum()))


def resample_counts(count: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of `count` units is drawn in each resample, float64 [resamples, count]."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)
