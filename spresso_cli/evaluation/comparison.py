"""Is one system better than another on the same clips? Differences with paired 95 % intervals.

Both systems decode the same clips, and clips differ far more than systems do. The bootstrap
therefore draws clips, and takes both systems' scores of a clip together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spresso_cli.evaluation import metrics
from spresso_cli.evaluation.scoring import SIGNAL_METRICS, ClipScore, metric_of, summarise
from spresso_cli.evaluation.statistics import Interval, kad_difference, mean_interval

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Difference:
    """One metric of two systems, `first` less `second` with its interval.

    FAD has no interval, as in `summarise`, and hence no verdict.
    """

    key: str
    first: float
    second: float
    difference: Interval

    @property
    def verdict(self) -> Verdict:
        """Whether the first system is the better one, by an interval that excludes 0."""
        low, high = self.difference.low, self.difference.high
        if not (low > 0 or high < 0):
            return "undecided"
        return "better" if (low > 0) == (metric_of(self.key).better == "higher") else "worse"


def compare(
    first: Sequence[ClipScore], second: Sequence[ClipScore], seed: int = 0
) -> list[Difference]:
    """Every metric of two systems over the same clips.

    Raises:
        ValueError: the systems have other clips, or other embeddings.
    """
    if [score.name for score in first] != [score.name for score in second]:
        raise ValueError("the systems were scored on different clips")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if not _broken(a, b)]
    sides = [summarise([pair[side] for pair in pairs], seed=seed) for side in (0, 1)]
    if sides[0].values.keys() != sides[1].values.keys():
        raise ValueError("the systems were scored with different embeddings")
    found = []
    for key in sides[0].values:
        kind, _, embedder = key.partition("_")
        values = [side.values[key].value for side in sides]
        if kind == "kad" and embedder:
            reference, ours = _stacked([a for a, _ in pairs], embedder)
            _, theirs = _stacked([b for _, b in pairs], embedder)
            clips = np.repeat(
                np.arange(len(pairs)), [len(a.embeddings[embedder][0]) for a, _ in pairs]
            )
            interval = kad_difference(reference, ours, theirs, clips, seed)
        elif kind == "fad" and embedder:
            interval = Interval(values[0] - values[1], float("nan"), float("nan"), len(pairs))
        else:
            columns = [np.array([_value(pair[side], key) for pair in pairs]) for side in (0, 1)]
            interval = mean_interval(columns[0] - columns[1], seed)
        found.append(Difference(key, *values, interval))
    return found


def _broken(*scores: ClipScore) -> bool:
    return any(score.defect == "non-finite" for score in scores)


def _value(score: ClipScore, key: str) -> float:
    """A metric of one clip as its average has it: signed errors as magnitudes."""
    for metric in SIGNAL_METRICS:
        if metric.key == key:
            return abs(score.values[key]) if metric.signed else score.values[key]
    reference, output = score.embeddings[key.partition("_")[2]]
    mean = reference.mean(axis=0, keepdims=True), output.mean(axis=0, keepdims=True)
    return float(metrics.cosine(*mean)[0])


def _stacked(scores: Sequence[ClipScore], embedder: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [score.embeddings[embedder] for score in scores]
    return np.concatenate([r for r, _ in pairs]), np.concatenate([o for _, o in pairs])
