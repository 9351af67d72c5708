"""How large every latent is, as z tells it: what the diffusion network need not find (beyond the paper).

z describes the envelope of its window, and a linear map knows which (envelope.py). AudioAE latents are
about as large as the envelope at their time and frequency says; divided by that, they are noise of
unit variance with whatever the envelope does not describe, and that is what the network denoises:
partials, hits, grain. A network that has learnt nothing yet then is a Wiener filter that knows z, and
samples of it are noise of z's envelope. Without this, a young network spends its training on finding the
envelope in z, and strays from it.

The network also sees the told deviations themselves, frame by frame, beside the tokens that f_phi
makes of z (`AudioDown` in dit.py).
"""

from __future__ import annotations

import math

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

    `latents` is how many of the first latents of a frame they tell; what comes behind them (levels of
    high bands) stays as it is.
    """

    def __init__(self, config: EnvelopeConfig, latents: int):
        super().__init__()
        self.config = config
        self.latents = latents
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("read_out", torch.zeros(config.channels, config.inputs))
        self.register_buffer("to_latents", torch.zeros(BANDS + config.fine, latents))
        self.register_buffer("offset", torch.zeros(latents))

    @property
    def fitted(self) -> bool:
        """Whether the maps have been found."""
        return bool(self.to_latents.any())

    def mel(self, z: Tensor) -> Tensor:
        """What z `[B, n, channels]` tells of log-mels, fine bands as what they have beside the others,
        `[B, n t, 64 + fine]`."""
        config = self.config
        course, detail = (z @ self.read_out + self.mean).tensor_split((config.coarse,), 2)
        frames = smoothed(config.frames(course), config.block)
        if not config.fine:
            return frames
        detail = detail.repeat_interleave(config.pool, 1)
        return torch.cat((frames, smoothed(detail, min(FINE_SMOOTHED, config.pool))), 2)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What z `[B, n, channels]` tells.

        Returns:
            Natural logarithms of standard deviations `[B, n t, latents]`; and 1 for frames in which
            there is any sound, 0 for silent ones, `[B, n t]`.
        """
        mel = self.mel(z)
        loudest = mel[..., :BANDS].amax(2)
        heard = (loudest > math.log(FLOOR) + FAINT).to(mel)
        return mel @ self.to_latents + self.offset, heard


def scaled(latents: Tensor, told: Tensor) -> Tensor:
    """Latents `[B, T, 128]` in units of told deviations `[B, T, up to 128]`, at most `LIMIT` of them."""
    first, rest = latents.tensor_split((told.shape[2],), 2)
    return torch.cat(((first * (-told).exp()).clamp(-LIMIT, LIMIT), rest), 2)


def restored(latents: Tensor, told: Tensor) -> Tensor:
    """Latents as the AudioAE knows them: the reverse of `scaled`."""
    first, rest = latents.tensor_split((told.shape[-1],), -1)
    return torch.cat((first * told.exp(), rest), -1)
