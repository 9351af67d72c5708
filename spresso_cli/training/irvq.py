"""Improved residual vector quantisation: residuals standardised by cluster (QINCODEC III-C).

r_{m+1} = (r_m - c) / sigma_c for the entry c nearest to r_m, with sigma_c the per-dimension spread
of the training vectors around c: outliers do not waste the next codebook. The scales accumulate,
x = c_1 + sigma_1 (c_2 + sigma_2 (c_3 + ...)). Every codebook but the first contains the zero
vector, with which a step changes nothing. The search is greedy, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spresso_cli.training.kmeans import kmeans, nearest_centroids

_FLOOR = 1e-2  # of a scale, in pooled scales: a cluster of equal vectors has none


@dataclass(frozen=True)
class IRVQ:
    """Codebooks and the scales of their entries, `[M, K, D]`, for vectors less `mean` `[D]`."""

    codebooks: Tensor
    scales: Tensor
    mean: Tensor

    @classmethod
    def fit(
        cls,
        z: Tensor,
        entries: int,
        codebooks: int,
        iterations: int,
        generator: torch.Generator,
    ) -> IRVQ:
        """Codebooks from training vectors `[N, D]`; small clusters get the scale of all of them."""
        mean = z.mean(0)
        residual, books, scales = z - mean, [], []
        for m in range(codebooks):
            book = kmeans(residual, entries - (m > 0), iterations, generator)
            if m > 0:
                book = torch.cat((torch.zeros_like(book[:1]), book))
            codes = nearest_centroids(residual, book)[0]
            scale = _scales(residual - book[codes], codes, entries)
            residual = (residual - book[codes]) / scale[codes]
            books.append(book)
            scales.append(scale)
        return cls(torch.stack(books), torch.stack(scales), mean)

    @torch.inference_mode()
    def encode(self, z: Tensor, codebooks: int | None = None) -> Tensor:
        """Codes int64 `[N, M']` of vectors `[N, D]`; a code begins with the shorter one."""
        m = len(self.codebooks) if codebooks is None else codebooks
        residual, codes = z - self.mean, []
        for book, scale in zip(self.codebooks[:m], self.scales[:m], strict=True):
            chosen = nearest_centroids(residual, book)[0]
            residual = (residual - book[chosen]) / scale[chosen]
            codes.append(chosen)
        return torch.stack(codes, 1)

    def decode_steps(self, codes: Tensor) -> list[Tensor]:
        """Reconstructions `[N, D]` after 1, 2, ..., M' steps of codes `[N, M']`."""
        xhat, scale, steps = self.mean, torch.ones_like(self.mean), []
        for m in range(codes.shape[1]):
            xhat = xhat + scale * self.codebooks[m, codes[:, m]]
            scale = scale * self.scales[m, codes[:, m]]
            steps.append(xhat)
        return steps

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[N, M']` -> vectors `[N, D]`."""
        return self.decode_steps(codes)[-1]


def _scales(errors: Tensor, codes: Tensor, entries: int) -> Tensor:
    """Root mean square of the errors `[N, D]` of each entry's vectors, `[K, D]`."""
    squares = torch.zeros(entries, errors.shape[1], dtype=errors.dtype, device=errors.device)
    squares.index_add_(0, codes, errors**2)
    counts = torch.bincount(codes, minlength=entries)[:, None]
    pooled = (errors**2).mean(0).sqrt().clamp(min=1e-12)  # [D]
    own = (squares / counts.clamp(min=1)).sqrt().maximum(_FLOOR * pooled)
    # Fewer vectors than dimensions say little about each dimension's spread.
    return torch.where(counts < errors.shape[1], pooled, own)
