"""Which parts of an envelope can be heard, and the z that describes those best. Beyond the paper.

64 numbers cannot describe all of a second's envelope, nor can 96 bits hold all of these numbers.
Principal components and squared errors of z spread the loss evenly, in decibels, over all bands and
moments, although nobody who hears the rest hears what is 70 dB below full scale. Where windows are
coded one by one, an encoder can do better, because it is free to choose which z it sends: it takes
the z whose envelope is nearest to the sound's where that is loud, and looks for codes whose errors
are small there. What the last window of a sound contains after the sound's end does not matter at
all, because the decoder cuts it off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.log_mel import BANDS, going_on

# In nepers, like log-mels, which reach from -4.6 to 5.5 in a sound whose peak is 0.5. What is
# louder than LOUD has weight 1, and what is softer than SOFT has weight LEAST: with none at all it
# could come back loud.
LOUD, SOFT, LEAST = 1.0, -3.0, 0.3
# Weight of the penalty that keeps z near the encoder's, relative to how far z moves its envelope.
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
        """With the read-out that also holds a decoded sound to its z."""
        return cls(envelope.config, envelope.read_out, envelope.mean)

    def heard(self, z: Tensor, mel: Tensor, sounding: Tensor) -> tuple[Tensor, Tensor]:
        """What the codes of windows should describe.

        Args:
            z: the encoder's, `[B, n, channels]`.
            mel: log-mels `[B, n t, 64 + fine]`.
            sounding: how many latent frames of each row belong to the sound, `[B]`. Those after
                them have no weight; where values are needed, the last frame is continued.

        Returns:
            The z to take, `[B, n, channels]`, and the weights of its envelope, `[B, n, coarse]`.
        """
        mel = going_on(mel, sounding)
        weights = self.weights(mel) * self._sounding(sounding, mel.shape[1])
        return self.nearest(z, mel, weights), weights

    def weights(self, mel: Tensor) -> Tensor:
        """Weight of each block and band of log-mels `[B, n t, 64 + fine]`, 0.3 to 1, `[B, n,
        coarse]`. What fine bands add to the others always has weight 1."""
        above = (self.envelope.course(mel) - SOFT) / (LOUD - SOFT)
        return LEAST + (1 - LEAST) * above.clamp(0, 1)

    def _sounding(self, frames: Tensor, length: int) -> Tensor:
        """How much of each block affects the first `frames` `[B]` of `length` frames, 0 to 1, in
        the shape of `weights`."""
        block = self.envelope.block
        # An envelope is linear between the middles of blocks: half of one depends on the next.
        reach = block / 2 if block > 1 else 0
        begins = torch.arange(0, length, block, device=frames.device) - reach
        share = ((frames[:, None] - begins) / block).clamp(0, 1)
        return share.repeat_interleave(BANDS, 1).unflatten(1, (-1, self.envelope.coarse))

    def nearest(self, z: Tensor, mel: Tensor, weights: Tensor) -> Tensor:
        """The z near the encoder's z `[B, n, channels]` whose envelope is nearest to the log-mels
        under these weights."""
        missing = self.envelope.windows(mel) - (z @ self.read_out + self.mean)
        pull = (missing * self._of_all(weights)) @ self.read_out.T
        return z + torch.linalg.solve(self._form(weights), pull)

    def metric(self, weights: Tensor) -> Tensor:
        """L for weights `[n, coarse]`: an error e of z costs |e L|^2. `[n, channels, channels]`"""
        return torch.linalg.cholesky(self._form(weights))

    def _of_all(self, weights: Tensor) -> Tensor:
        return F.pad(weights, (0, self.envelope.inputs - self.envelope.coarse), value=1.0)

    def _form(self, weights: Tensor) -> Tensor:
        """The quadratic form that weighs errors of z, `[..., channels, channels]`."""
        moved = self.read_out.square().sum(1)
        weighted = self.read_out * self._of_all(weights).unsqueeze(-2)
        return weighted @ self.read_out.T + TETHER * torch.diag(moved)


def packed(weights: Tensor) -> Tensor:
    """Weights of 0 to 1 in steps of 1/255, uint8: a quarter of the memory, for whole sounds."""
    return (255 * weights).round().to(torch.uint8)


def unpacked(weights: Tensor) -> Tensor:
    """The reverse of `packed`, up to rounding."""
    return weights / 255
