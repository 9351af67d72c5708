"""What of an envelope can be heard, and the z that says that best. Beyond the paper.

64 numbers cannot say all of a second's envelope, nor 96 bits all of these numbers. Principal
components and squared errors of z share what is lost out evenly, in decibels, over all bands and
moments, though what is 70 dB below full scale is heard by nobody who hears the rest. Where windows
are coded one by one an encoder may do better, as any z is as good as any other to a decoder: it
takes the z whose envelope is nearest to the sound's where that is loud, and looks for codes whose
errors are small there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.envelope import EnvelopeConfig

# Nepers, as log-mels have them of a sound whose peak is 0.5, which reach from -4.6 to 5.5: what is
# louder than the one counts in full, what is softer than the other LEAST. Otherwise it would come
# back loud.
LOUD, SOFT, LEAST = 1.0, -3.0, 0.3
# Share of what z moves its envelope by, all bands alike, that keeps it near the encoder's.
TETHER = 0.05


@dataclass(frozen=True)
class Audibility:
    """The envelopes that z of one frame rate describes: `read_out` `[channels, inputs]` and `mean`
    `[inputs]` of an EnvelopeFilter."""

    envelope: EnvelopeConfig
    read_out: Tensor
    mean: Tensor

    def weights(self, mel: Tensor) -> Tensor:
        """How much each block and band of log-mels `[B, n t, 64 + fine]` counts, 0.3 to 1, `[B, n,
        coarse]`; what fine bands add to the others always counts in full."""
        above = (self.envelope.course(mel) - SOFT) / (LOUD - SOFT)
        return LEAST + (1 - LEAST) * above.clamp(0, 1)

    def nearest(self, z: Tensor, mel: Tensor, weights: Tensor) -> Tensor:
        """Of all z `[B, n, channels]` near an encoder's that whose envelope is nearest to the
        log-mels, as weighted."""
        missing = self.envelope.windows(mel) - (z @ self.read_out + self.mean)
        wanted = (missing * self._of_all(weights)) @ self.read_out.T
        return z + torch.linalg.solve(self._form(weights), wanted)

    def metric(self, weights: Tensor) -> Tensor:
        """L for weights `[n, coarse]`: an error e of z counts |e L|^2. `[n, channels, channels]`"""
        return torch.linalg.cholesky(self._form(weights))

    def _of_all(self, weights: Tensor) -> Tensor:
        return F.pad(weights, (0, self.envelope.inputs - self.envelope.coarse), value=1.0)

    def _form(self, weights: Tensor) -> Tensor:
        """The quadratic form of errors of z, `[..., channels, channels]`."""
        moved = self.read_out.square().sum(1)
        weighted = self.read_out * self._of_all(weights).unsqueeze(-2)
        return weighted @ self.read_out.T + TETHER * torch.diag(moved)
