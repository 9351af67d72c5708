"""A convolutional head behind the diffusion transformer (beyond the paper).

A token of a small transformer holds several frames of all latents in fewer numbers than it is made
of, so what lies next to what gets lost: that a partial goes on from frame to frame, that a click is
loud in all latents at once, that where one latent is large its neighbours may be. In units of what
z tells (deviations.py) such patterns look alike at any level, in any sound and at any frame rate,
and a few convolutions over time and latents find them soon. They see the noisy latents, what z
tells of their size, and what the transformer says, and give that a gain and an offset of each
latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.layers import fourier_features

LATENTS = 4  # neighbours that are channels of one place, in the order of the latents
FOURIER = 64  # random Fourier features of c_noise
GROUPS = 4
# Of the first convolution of each block, in frames and places.
DILATIONS = ((1, 1), (2, 1), (4, 1), (8, 2), (1, 1), (2, 1))


def check_sizes(latents: int, channels: int) -> None:
    """Raises ValueError if there can be no refiner of so many latents and channels."""
    if not latents or latents % LATENTS or channels % GROUPS:
        raise ValueError(
            f"refiner: {channels} channels for {latents} latents that have deviations;"
            f" these have to be multiples of {GROUPS} and {LATENTS}"
        )


class Norm(nn.GroupNorm):
    """Group normalisation, then a scale and a shift of each channel; the same bits from any number
    of threads, which torch's own sums of channels-last tensors are not."""

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """`[B, C, T, places]` -> same; scale and shift `[B, C]`."""
        y = x.float().permute(0, 2, 3, 1)  # [B, T, places, C], as it lies in memory
        # The places first: threads divide what is left among them, not what is summed.
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
    """Two convolutions beside a shortcut, `[B, C, T, places]` -> same; the noise level scales and
    shifts what goes in. Says nothing at first."""

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
    """F of the first `latents` latents of each frame, out of the transformer's; at first equal."""

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
            f: what the transformer says, `[B, T, latents or more]`; what is more stays as it is.
            x: its preconditioned input c_in x, alike.
            size: natural logarithms of the deviations that z tells, `[B, T, latents]`, zero where z
                is dropped.
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
