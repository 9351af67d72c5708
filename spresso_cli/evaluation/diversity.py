"""Distance between takes of one sound over distance between sounds (S-PRESSO 4: diversity).

The ratio is 0 if every seed gives the same sound, and 1 if a take is no more like the other takes
of its clip than like takes of other clips.
"""

from __future__ import annotations

import numpy as np

from spresso_cli.evaluation.statistics import RESAMPLES, Interval, resample_counts


def diversity(vectors: np.ndarray) -> Interval:
    """Distance between takes of one clip over distance to takes of other clips.

    Args:
        vectors: embeddings of takes, `[clips, takes, D]`; Euclidean distances.

    Returns:
        The ratio of the mean distances, with its 95 % interval over clips.

    Raises:
        ValueError: fewer than two clips or two takes, or all takes are equal.
    """
    if vectors.ndim != 3 or min(vectors.shape[:2]) < 2:
        raise ValueError(f"expected at least two takes of two clips, got {vectors.shape}")
    within, across = distances(vectors)
    if not across.any():
        raise ValueError("all takes of all clips are equal")
    count = len(vectors)
    others = across.sum(1) / (count - 1)  # the diagonal is 0
    draws = []
    for weights in resample_counts(count, RESAMPLES, seed=0):
        # Copies of one clip are no other clip to each other.
        pairs = weights.sum() ** 2 - (weights**2).sum()
        if pairs > 0 and (far := weights @ across @ weights / pairs) > 0:
            draws.append(weights @ within / weights.sum() / far)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(within.mean() / others.mean()), float(low), float(high), count)


def distances(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean distances of takes: within each clip `[clips]`, and between clips `[clips, clips]`.

    Between clips takes of all seeds are compared; the diagonal is 0.
    """
    clips, takes, _ = vectors.shape
    x = vectors.reshape(clips * takes, -1).astype(np.float64)
    squares = np.square(x).sum(1)
    squared = squares[:, None] + squares[None] - 2.0 * x @ x.T
    np.fill_diagonal(squared, 0.0)
    every = np.sqrt(np.maximum(squared, 0.0)).reshape(clips, takes, clips, takes)
    between = every.sum((1, 3))  # [clips, clips]
    within = np.diag(between) / (takes * (takes - 1))
    across = between / takes**2
    np.fill_diagonal(across, 0.0)
    return within, across
