"""k-means with k-means++ seeding, and residual k-means, which initialises QINCo2's codebooks."""

from __future__ import annotations

import torch
from torch import Tensor

_SEEDING_VECTORS = 6  # per centroid: k-means++ is sequential, and a sample is as good
_SEEDS_A_ROUND = 16  # drawn at once, never more than there are: the odds are hardly stale by then
_CHUNK = 1 << 14  # vectors compared with all centroids at a time


def nearest_centroids(x: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centroid of each `x` `[N, D]` and its squared distance, `[N]` each."""
    norms = (centroids**2).sum(1)
    best, distance = [], []
    for part in x.split(_CHUNK):
        values, indices = (norms - 2 * part @ centroids.T).min(1)
        best.append(indices)
        distance.append(values + (part**2).sum(1))
    return torch.cat(best), torch.cat(distance).clamp(min=0)


def _seeds(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii 2007) on a sample of `x`, a few seeds a round."""
    sample = x[torch.randperm(len(x), generator=generator)[: _SEEDING_VECTORS * count]]
    centroids = sample[torch.randint(len(sample), (1,), generator=generator)]
    distance = ((sample - centroids) ** 2).sum(1)
    while len(centroids) < count:
        wanted = min(_SEEDS_A_ROUND, count - len(centroids), len(centroids))
        odds = distance.double().cpu()
        if int((odds > 0).sum()) < wanted:  # fewer distinct vectors than centroids
            odds = torch.ones_like(odds)
        chosen = sample[torch.multinomial(odds, wanted, generator=generator)]
        centroids = torch.cat((centroids, chosen))
        distance = torch.minimum(distance, nearest_centroids(sample, chosen)[1])
    return centroids


def kmeans(x: Tensor, count: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Centroids `[count, D]` of `x` `[N, D]`; empty clusters move to the worst-served vectors."""
    centroids = _seeds(x, count, generator)
    for _ in range(iterations):
        assignment, distance = nearest_centroids(x, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, assignment, x)
        counts = torch.bincount(assignment, minlength=count)
        centroids = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        worst = distance.topk(min(len(empty), len(x))).indices
        centroids[empty[: len(worst)]] = x[worst]
    return centroids


def residual_kmeans(
    x: Tensor, count: int, stages: int, iterations: int, generator: torch.Generator
) -> Tensor:
    """Codebooks `[stages, count, D]` of plain residual quantisation of `x` `[N, D]`."""
    residual, codebooks = x, []
    for _ in range(stages):
        codebook, residual = residual_stage(residual, count, iterations, generator)
        codebooks.append(codebook)
    return torch.stack(codebooks)


def residual_stage(
    residual: Tensor, count: int, iterations: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The next codebook `[count, D]` for residuals `[N, D]`, and what it leaves of them."""
    codebook = kmeans(residual, count, iterations, generator)
    return codebook, residual - codebook[nearest_centroids(residual, codebook)[0]]
