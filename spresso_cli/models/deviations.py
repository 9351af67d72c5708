"""How large every latent is, as z tells it: what the network need not find (beyond the paper).

z describes the envelope of its window, and a linear map knows which (envelope.py). AudioAE latents
are about as large as the envelope at their time and frequency says; divided by that, they are noise
of unit variance with whatever the envelope does not describe, and that is what the network
denoises: partials, hits, grain. (A few latents are not about zero: an AudioAE may use them for what
it likes. So z tells a mean as well.) A network that has learnt nothing yet then is a Wiener filter
that knows z, and samples of it are noise of z's envelope. Without this, a young network spends its
training on finding the envelope in z, and strays from it.

The network also sees the told deviations themselves, frame by frame, beside the tokens that f_phi
makes of z (`AudioDown` in dit.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spresso_cli.models.envelope import FINE_SMOOTHED, EnvelopeConfig, smoothed
from spresso_cli.models.log_mel import BANDS, FLOOR

# Deviations that a scaled latent may be: where z misses a click, it is hundreds of them large, and
# squared errors would be about nothing else.
LIMIT = 6.0
# In nepers above the floor: a frame with no band louder has nothing in it to be learnt.
FAINT = 1.0


class Deviations(nn.Module):
    """One frame rate's maps from z to log-mels and from these to deviations, as buffers.

    `latents` is how many of the first latents of a frame they tell; what comes behind them (levels
    of high bands) stays as it is.
    """

    def __init__(self, config: EnvelopeConfig, latents: int):
        super().__init__()
        self.config = config
        self.latents = latents
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("read_out", torch.zeros(config.channels, config.inputs))
        bands = BANDS + config.fine
        # From log-mels to means, and to logarithms of deviations.
        self.register_buffer("to_mean", torch.zeros(bands, latents))
        self.register_buffer("mean_offset", torch.zeros(latents))
        self.register_buffer("to_size", torch.zeros(bands, latents))
        self.register_buffer("size_offset", torch.zeros(latents))

    @property
    def fitted(self) -> bool:
        """Whether the maps have been found."""
        return bool(self.to_size.any())

    def mel(self, z: Tensor) -> Tensor:
        """What z `[B, n, channels]` tells of log-mels, fine bands as what they have beside the
        others, `[B, n t, 64 + fine]`."""
        config = self.config
        course, detail = (z @ self.read_out + self.mean).tensor_split((config.coarse,), 2)
        frames = smoothed(config.frames(course), config.block)
        if not config.fine:
            return frames
        detail = detail.repeat_interleave(config.pool, 1)
        return torch.cat((frames, smoothed(detail, min(FINE_SMOOTHED, config.pool))), 2)

    def forward(self, z: Tensor) -> Told:
        """What z `[B, n, channels]` tells of `[B, n t]` frames."""
        mel = self.mel(z)
        loudest = mel[..., :BANDS].amax(2)
        heard = (loudest > math.log(FLOOR) + FAINT).to(mel)
        mean = mel @ self.to_mean + self.mean_offset
        return Told(mean, mel @ self.to_size + self.size_offset, heard)


class Told(NamedTuple):
    """What is told of the first latents of each frame.

    Attributes:
        mean: `[B, T, latents]`.
        size: natural logarithms of standard deviations, alike.
        heard: 1 for frames in which there is any sound, 0 for silent ones, `[B, T]`.
    """

    mean: Tensor
    size: Tensor
    heard: Tensor

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents `[B, T, 128]` in units of their deviations, at most `LIMIT` of them; what comes
        behind those that are told stays as it is."""
        first, rest = latents.tensor_split((self.size.shape[-1],), -1)
        first = (first - self.mean) * (-self.size).exp()
        return torch.cat((first.clamp(-LIMIT, LIMIT), rest), -1)

    def restored(self, latents: Tensor) -> Tensor:
        """Latents as the AudioAE knows them: the reverse of `scaled`."""
        first, rest = latents.tensor_split((self.size.shape[-1],), -1)
        return torch.cat((first * self.size.exp() + self.mean, rest), -1)
