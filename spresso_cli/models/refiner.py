"""A convolutional head behind the diffusion transformer (beyond the paper).

A token of a small transformer holds several frames of all latents in fewer numbers than these
have, so local relations get lost: that a partial continues from frame to frame, that a click is
loud in all latents at once, that the neighbours of a large latent are often large too. In latents
scaled by their deviations (deviations.py), such patterns look alike at any level, in any sound and
at any frame rate, and a few convolutions over time and latents learn them quickly. These see the
noisy latents, their sizes as predicted from z, and the transformer's output, to which they add an
offset for each latent and gains of the output and of the noisy latents.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.layers import fourier_features

LATENTS = 4  # successive latents that form one place, as its channels
FOURIER = 64  # random Fourier features of c_noise
GROUPS = 4
# Of the first convolution of each block, in frames and places.
DILATIONS = ((1, 1), (2, 1), (4, 1), (8, 2), (1, 1), (2, 1))


def check_sizes(latents: int, channels: int) -> None:
    """Raises ValueError if a refiner cannot have this many latents and channels."""
    if not latents or latents % LATENTS or channels % GROUPS:
        raise ValueError(
            f"refiner: {channels} channels for {latents} latents that have deviations;"
            f" these have to be multiples of {GROUPS} and {LATENTS}"
        )


class Norm(nn.GroupNorm):
    """Group normalisation, then a scale and a shift of each channel. Unlike torch's own sums of
    channels-last tensors, it gives the same bits with any number of threads."""

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """`[B, C, T, places]` -> same; scale and shift `[B, C]`."""
        y = x.float().permute(0, 2, 3, 1)  # [B, T, places, C], as it lies in memory
        # Sum over places first: threads then share out the remaining dimensions, not the sums.
        sums = torch.stack((y.sum(2), y.square().sum(2)), -1).sum(1)  # [B, C, 2]
        count = y.shape[1] * y.shape[2] * y.shape[3] // self.num_groups
        mean, power = (sums.unflatten(1, (self.num_groups, -1)).sum(2) / count).unbind(-1)
        deviation = (power - mean.square() + self.eps).sqrt()  # [B, groups]
        channels = y.shape[3] // self.num_groups
        mean, deviation = (v.repeat_interleave(channels, 1) for v in (mean, deviation))
        gain = scale * self.weight / deviation
        offset = shift + scale * self.bias - mean * gain
        return torch.addcmul(offset[:, None, None], y, gain[:, None, None]).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block of two convolutions, `[B, C, T, places]` -> same, whose input is scaled and
    shifted by the noise level. Before training it adds nothing."""

    def __init__(self, channels: int, dilation: tuple[int, int]):
        super().__init__()
        self.norm = Norm(GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(FOURIER, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.modulation(level).chunk(2, 1)
        h = F.silu(self.norm(x, 1 + scale, shift))
        return x + self.second(F.silu(self.first(h)))


class Refiner(nn.Module):
    """Refines the transformer's F for the first `latents` latents of each frame; before training
    it changes nothing."""

    def __init__(self, latents: int, channels: int):
        super().__init__()
        check_sizes(latents, channels)
        self.latents = latents
        self.register_buffer("frequency", torch.randn(FOURIER // 2))
        self.level = nn.Sequential(
            nn.Linear(FOURIER, FOURIER), nn.SiLU(), nn.Linear(FOURIER, FOURIER), nn.SiLU()
        )
        self.embed = nn.Conv2d(5 * LATENTS, channels, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(1, channels, 1, latents // LATENTS))
        self.blocks = nn.ModuleList(Block(channels, dilation) for dilation in DILATIONS)
        self.out = nn.Conv2d(channels, 3 * LATENTS, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, f: Tensor, x: Tensor, size: Tensor, c_noise: Tensor) -> Tensor:
        """Refine one evaluation.

        Args:
            f: the transformer's output, `[B, T, latents or more]`; any further latents are kept.
            x: its preconditioned input c_in x, of the same shape.
            size: natural logarithms of the deviations predicted from z, `[B, T, latents]`, zero
                where z is dropped.
            c_noise: ln(sigma) / 4, `[B]`.
        """
        said, rest = f.tensor_split((self.latents,), -1)
        x = x[..., : self.latents]
        level = self.level(fourier_features(c_noise, self.frequency))
        loud = size.mean(2, keepdim=True)  # of the frame
        seen = torch.stack((x, x.abs(), size - loud, ((loud + 2) / 3).expand_as(size), said), 1)
        seen = seen.unflatten(3, (-1, LATENTS)).permute(0, 1, 4, 2, 3).flatten(1, 2)
        h = self.embed(seen.contiguous(memory_format=torch.channels_last)) + self.place
        for block in self.blocks:
            h = block(h, level)
        out = self.out(F.silu(h)).to(f.dtype).unflatten(1, (3, LATENTS))  # [B, 3, 4, T, places]
        offset, of_input, of_said = out.permute(0, 1, 3, 4, 2).flatten(3).unbind(1)
        return torch.cat((said + offset + of_input * x.to(f.dtype) + of_said * said, rest), -1)
