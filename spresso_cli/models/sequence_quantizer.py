"""The quantiser of sequences: QINCo2 for single windows, and filters in time around it, if any.

With filters, an error in one window is also an error in its neighbours, so the codes that are best
for each window alone are not the best together. Encoding therefore chooses codes again, some
windows at a time, to make up for the errors that the others have left. The last round is the one
that counts, so only it searches as widely as without filters; those before it use half the
shortlist and half the beam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.whitening import Whitening


class SequenceQuantizer(nn.Module):
    """Codes of whole sounds at one frame rate."""

    def __init__(self, qinco2: QINCo2, whitening: Whitening | None = None):
        super().__init__()
        self.qinco2 = qinco2
        self.whitening = whitening

    @property
    def reach(self) -> int:
        """How many windows on either side a decoded z depends on."""
        return 0 if self.whitening is None else self.whitening.config.reach

    @torch.inference_mode()
    def encode(
        self,
        z: Tensor,
        codebooks: int | None = None,
        shortlist: int | None = None,
        beam: int | None = None,
        micro_batch: int = 64,
        each: Callable[[Callable[[int], Tensor], Iterable[int]], Iterable[Tensor]] = map,
        metric: Callable[[int, int], Tensor] | None = None,
    ) -> Tensor:
        """z of whole sounds to codes.

        Args:
            z: float32 `[B, n, D]`.
            codebooks, shortlist, beam, micro_batch, each: as in `QINCo2.encode`.
            metric: as there, for the windows of all sounds in a row; only without filters.

        Returns:
            int64 `[B, n, M']`.
        """
        config = self.qinco2.config
        wide = (shortlist or config.shortlist, beam or config.beam)
        narrow = (max(1, wide[0] // 2), max(1, wide[1] // 2))

        def search(x: Tensor, width: tuple[int, int]) -> Tensor:
            x, like = x.flatten(0, 1), x.shape[:2]
            codes = self.qinco2.encode(x, codebooks, *width, micro_batch, each, metric)
            return codes.unflatten(0, like)

        if self.whitening is None:
            return search(z, wide)
        if metric is not None:
            raise ValueError("with filters, errors are not told apart by window")
        codes = search(self.whitening.whiten(z), narrow)
        x = self.qinco2.decode(codes)
        best, least = codes.clone(), self._error(x, z, codes.shape[2])
        apart = self.reach + 1  # of those chosen at a time: nearer ones would make up twice
        for width in (narrow, wide):
            for first in range(min(apart, z.shape[1])):
                error = self.whitening.restore(x, codes.shape[2]) - z
                wanted = x - self.whitening.pulled(error, codes.shape[2])
                chosen = search(wanted[:, first::apart], width)
                codes[:, first::apart], x[:, first::apart] = chosen, self.qinco2.decode(chosen)
            error = self._error(x, z, codes.shape[2])  # a round is not sure to gain
            best = torch.where((error < least)[:, None, None], codes, best)
            least = least.minimum(error)
        return best

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[B, n, M']` -> z `[B, n, D]`. The z of an excerpt is that of the whole, except in
        the `reach` windows next to a cut."""
        return self.restored(self.qinco2.decode(codes), codes.shape[2])

    def decode_steps(self, codes: Tensor) -> list[Tensor]:
        """z after 1, 2, ..., M' codebooks, each `[B, n, D]`."""
        steps = self.qinco2.decode_steps(codes)
        return [self.restored(self.qinco2.denormalise(x), m) for m, x in enumerate(steps, 1)]

    def searched(self, z: Tensor, codebooks: int, shortlist: int, beam: int) -> Tensor:
        """z after coding by a single quick search, `[B, n, D]`; for training."""
        x = self.qinco2.normalise(self.whitened(z).flatten(0, 1))
        _, xhat = self.qinco2.search(x, codebooks, shortlist, beam)
        return self.restored(self.qinco2.denormalise(xhat).view(z.shape), codebooks)

    def whitened(self, z: Tensor) -> Tensor:
        """z `[B, n, D]` as QINCo2 sees it."""
        return z if self.whitening is None else self.whitening.whiten(z)

    def restored(self, x: Tensor, codebooks: int) -> Tensor:
        """z from the output of QINCo2 with `codebooks` codebooks, `[B, n, D]`."""
        return x if self.whitening is None else self.whitening.restore(x, codebooks)

    def _error(self, x: Tensor, z: Tensor, codebooks: int) -> Tensor:
        """Squared error of each sound, `[B]`, for the output of `codebooks` codebooks."""
        return (self.restored(x, codebooks) - z).square().sum((1, 2))
