"""Residual vector quantisation, greedy or with a beam: the baseline for QINCo2 on the same vectors.

r_1 = x; at step m the entry c nearest to r_m is taken and r_{m+1} = r_m - c; xhat is the sum of the
entries. With a beam of B, the B best sums are kept between steps. Each step has one codebook, from
k-means on the residuals of the training vectors after the (greedy) steps before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spresso_cli.training.kmeans import residual_kmeans

_DISTANCES = 1 << 24  # computed at a time


@dataclass(frozen=True)
class RVQ:
    """Codebooks `[M, K, D]` for vectors with `mean` `[D]` removed."""

    codebooks: Tensor
    mean: Tensor

    @classmethod
    def fit(
        cls,
        z: Tensor,
        entries: int,
        codebooks: int,
        iterations: int,
        generator: torch.Generator,
    ) -> RVQ:
        """Codebooks from training vectors `[N, D]`."""
        mean = z.mean(0)
        return cls(residual_kmeans(z - mean, entries, codebooks, iterations, generator), mean)

    @torch.inference_mode()
    def encode(self, z: Tensor, codebooks: int | None = None, beam: int = 1) -> Tensor:
        """Codes int64 `[N, M']` of vectors `[N, D]`.

        Args:
            codebooks: M' (default M). The winner with a beam is the best M'-code, so its beginning
                is not the best code of fewer; a greedy code's beginning is its own.
            beam: B, sums kept between steps; 1 is greedy.
        """
        m = len(self.codebooks) if codebooks is None else codebooks
        rows = max(1, _DISTANCES // (beam * self.codebooks.shape[1]))
        parts = (z - self.mean).split(rows)
        return torch.cat([self._search(part, m, beam) for part in parts])

    def _search(self, x: Tensor, codebooks: int, beam: int) -> Tensor:
        residual = x[:, None]  # [N, F, D]
        codes = torch.zeros(len(x), 1, 0, dtype=torch.int64, device=x.device)
        rows = torch.arange(len(x), device=x.device)[:, None]
        for m, book in enumerate(self.codebooks[:codebooks]):
            # |r - c|^2, whose |r|^2 differs between hypotheses.
            distance = (book**2).sum(1) - 2 * residual @ book.T  # [N, F, K]
            distance = (distance + (residual**2).sum(-1, keepdim=True)).flatten(1)
            keep = 1 if m == codebooks - 1 else min(beam, distance.shape[1])
            best = distance.topk(keep, largest=False).indices  # [N, F']
            hypothesis, entry = best // len(book), best % len(book)
            residual = residual[rows, hypothesis] - book[entry]
            codes = torch.cat((codes[rows, hypothesis], entry[..., None]), -1)
        return codes[:, 0]

    def decode_steps(self, codes: Tensor) -> list[Tensor]:
        """Reconstructions `[N, D]` after 1, 2, ..., M' steps of codes `[N, M']`."""
        xhat, steps = self.mean, []
        for m in range(codes.shape[1]):
            xhat = xhat + self.codebooks[m, codes[:, m]]
            steps.append(xhat)
        return steps

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[N, M']` -> vectors `[N, D]`."""
        return self.decode_steps(codes)[-1]
