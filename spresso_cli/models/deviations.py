"""How large each latent is, predicted from z: the network need not learn it (beyond the paper).

z describes the envelope of its window, and a linear map reads it out (envelope.py). The size of an
AudioAE latent follows the envelope at its time and frequency. Divided by that size, latents are
noise of unit variance plus whatever the envelope does not describe (partials, hits, grain), and
that is what the network denoises. (The mean of a few latents is not zero, because an AudioAE may
use them for anything, so a mean is predicted from z as well.) Before any training, the denoiser is
then a Wiener filter that knows z, and its samples are noise with the envelope of z. Without this, a
network spends its early training on finding the envelope in z, and follows it only roughly.

The network also sees the predicted deviations themselves, frame by frame, beside the tokens that
f_phi makes of z (`AudioDown` in dit.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spresso_cli.models.envelope import FINE_SMOOTHED, EnvelopeConfig, smoothed
from spresso_cli.models.log_mel import BANDS, FLOOR

# Scaled latents are limited to this many deviations: where z misses a click, a latent can have
# hundreds, and would dominate the squared error.
LIMIT = 6.0
# In nepers above the floor: a frame in which no band is louder holds nothing to learn.
FAINT = 1.0


class Deviations(nn.Module):
    """One frame rate's maps from z to log-mels and from these to deviations, as buffers.

    `latents` is the number of latents in a frame that they cover, from the first one on; those
    after them (levels of high bands) are not scaled.
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
        """The log-mels that z `[B, n, channels]` describes, `[B, n t, 64 + fine]`; fine bands hold
        only what they add to the others."""
        config = self.config
        course, detail = (z @ self.read_out + self.mean).tensor_split((config.coarse,), 2)
        frames = smoothed(config.frames(course), config.block)
        if not config.fine:
            return frames
        detail = detail.repeat_interleave(config.pool, 1)
        return torch.cat((frames, smoothed(detail, min(FINE_SMOOTHED, config.pool))), 2)

    def forward(self, z: Tensor) -> Told:
        """Mean and size of the latents that z `[B, n, channels]` predicts, in `[B, n t]` frames."""
        mel = self.mel(z)
        loudest = mel[..., :BANDS].amax(2)
        heard = (loudest > math.log(FLOOR) + FAINT).to(mel)
        mean = mel @ self.to_mean + self.mean_offset
        return Told(mean, mel @ self.to_size + self.size_offset, heard)


class Told(NamedTuple):
    """What z predicts about the first latents of each frame.

    Attributes:
        mean: `[B, T, latents]`.
        size: natural logarithms of standard deviations, `[B, T, latents]`.
        heard: 1 for frames in which there is any sound, 0 for silent ones, `[B, T]`.
    """

    mean: Tensor
    size: Tensor
    heard: Tensor

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents `[B, T, 128]` in units of their deviations, limited to `LIMIT` of them; latents
        after those that are covered stay as they are."""
        first, rest = latents.tensor_split((self.size.shape[-1],), -1)
        first = (first - self.mean) * (-self.size).exp()
        return torch.cat((first.clamp(-LIMIT, LIMIT), rest), -1)

    def restored(self, latents: Tensor) -> Tensor:
        """Latents as the AudioAE knows them: the reverse of `scaled`."""
        first, rest = latents.tensor_split((self.size.shape[-1],), -1)
        return torch.cat((first * self.size.exp() + self.mean, rest), -1)
