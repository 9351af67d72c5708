"""What of an envelope can be heard, and the z that says that best. Beyond the paper.

64 numbers cannot say all of a second's envelope, nor 96 bits all of these numbers. Principal
components and squared errors of z share what is lost out evenly, in decibels, over all bands and
moments, though what is 70 dB below full scale is heard by nobody who hears the rest. Where windows
are coded one by one an encoder may do better, as any z is as good as any other to a decoder: it
takes the z whose envelope is nearest to the sound's where that is loud, and looks for codes whose
errors are small there. What a sound's last window has behind its end nobody hears at all: the
decoder cuts it off, so any envelope will do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.log_mel import BANDS, going_on

# Nepers, as log-mels have them of a sound whose peak is 0.5, which reach from -4.6 to 5.5: what is
# louder than the one counts in full, what is softer than the other LEAST. Otherwise it would come
# back loud.
LOUD, SOFT, LEAST = 1.0, -3.0, 0.3
# Share of what z moves its envelope by, all bands alike, that keeps it near the encoder's.
TETHER = 0.01


@dataclass(frozen=True)
class Audibility:
    """The envelopes that z of one frame rate describes: `read_out` `[channels, inputs]` and `mean`
    `[inputs]` of an EnvelopeFilter."""

    envelope: EnvelopeConfig
    read_out: Tensor
    mean: Tensor

    @classmethod
    def of(cls, envelope: EnvelopeFilter) -> Audibility:
        """By the read-out that holds a decoded sound to its z."""
        return cls(envelope.config, envelope.read_out, envelope.mean)

    def heard(self, z: Tensor, mel: Tensor, sounding: Tensor) -> tuple[Tensor, Tensor]:
        """What codes are to say of windows.

        Args:
            z: the encoder's, `[B, n, channels]`.
            mel: log-mels `[B, n t, 64 + fine]`.
            sounding: latent frames of each row that are of the sound, `[B]`; what lies behind them
                counts for nothing, and goes on as they end where it has to be something.

        Returns:
            The z to take, `[B, n, channels]`, and how its envelope counts, `[B, n, coarse]`.
        """
        mel = going_on(mel, sounding)
        weights = self.weights(mel) * self._sounding(sounding, mel.shape[1])
        return self.nearest(z, mel, weights), weights

    def weights(self, mel: Tensor) -> Tensor:
        """How much each block and band of log-mels `[B, n t, 64 + fine]` counts, 0.3 to 1, `[B, n,
        coarse]`; what fine bands add to the others always counts in full."""
        above = (self.envelope.course(mel) - SOFT) / (LOUD - SOFT)
        return LEAST + (1 - LEAST) * above.clamp(0, 1)

    def _sounding(self, frames: Tensor, length: int) -> Tensor:
        """How much of each block matters to the first `frames` `[B]` of `length`, 0 to 1, as
        `weights` has it."""
        block = self.envelope.block
        # An envelope is linear between the middles of blocks: half of one depends on the next.
        reach = block / 2 if block > 1 else 0
        begins = torch.arange(0, length, block, device=frames.device) - reach
        share = ((frames[:, None] - begins) / block).clamp(0, 1)
        return share.repeat_interleave(BANDS, 1).unflatten(1, (-1, self.envelope.coarse))

    def nearest(self, z: Tensor, mel: Tensor, weights: Tensor) -> Tensor:
        """Of all z `[B, n, channels]` near an encoder's that whose envelope is nearest to the
        log-mels, as weighted."""
        missing = self.envelope.windows(mel) - (z @ self.read_out + self.mean)
        pull = (missing * self._of_all(weights)) @ self.read_out.T
        return z + torch.linalg.solve(self._form(weights), pull)

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


def packed(weights: Tensor) -> Tensor:
    """Weights of 0 to 1 in steps of 1/255, uint8: a quarter of the memory, for whole sounds."""
    return (255 * weights).round().to(torch.uint8)


def unpacked(weights: Tensor) -> Tensor:
    """The reverse of `packed`, up to rounding."""
    return weights / 255
