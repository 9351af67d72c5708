"""DAC's discriminators: five of periods and three of complex STFT bands (Kumar et al. 2023, 3.4).

Full width costs several times a reconstruction step. Widths are configuration, the band
discriminators run in channels-last memory, where CUDA's convolutions are fastest, and a training
step runs each of them once on the real and once on the decoded sound (audio_ae.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from spresso_cli.training.losses import hann

_SLOPE = 0.1
BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes; the defaults are DAC's."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (2048, 1024, 512)
    period_width: int = 32  # channels of the first layer; the later ones have 4, 16, 32, 32 times
    band_width: int = 32


def _conv(inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    padding = tuple((size - 1) // 2 for size in kernel)
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))


def _chain(x: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Outputs of convolutions with LeakyReLU between them."""
    maps = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        maps.append(x)
    return maps


class PeriodDiscriminator(nn.Module):
    """Looks at every p-th sample: `[B, n]` -> feature maps, the last one logits."""

    def __init__(self, period: int, width: int):
        super().__init__()
        self.period = period
        channels = (1, width, 4 * width, 16 * width, 32 * width)
        self.layers = nn.ModuleList(_conv(a, b, (5, 1), (3, 1)) for a, b in pairwise(channels))
        self.layers.append(_conv(32 * width, 32 * width, (5, 1), (1, 1)))
        self.logits = _conv(32 * width, 1, (3, 1), (1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.pad(x[:, None], (0, -x.shape[-1] % self.period), mode="reflect")
        maps = _chain(x.unflatten(-1, (-1, self.period)), self.layers)  # [B, C, n / p, p]
        return [*maps, self.logits(maps[-1])]


class BandDiscriminator(nn.Module):
    """Looks at a complex STFT in five bands: `[B, n]` -> feature maps, the last one logits."""

    def __init__(self, window: int, width: int):
        super().__init__()
        self.window = window
        bins = window // 2 + 1
        self.edges = [(int(low * bins), int(high * bins)) for low, high in BANDS]
        self.bands = nn.ModuleList(
            nn.ModuleList(
                [
                    _conv(2, width, (3, 9), (1, 1)),
                    *(_conv(width, width, (3, 9), (1, 2)) for _ in range(3)),
                    _conv(width, width, (3, 3), (1, 1)),
                ]
            )
            for _ in BANDS
        )
        self.logits = _conv(width, 1, (3, 3), (1, 1))

    def spectrum(self, x: Tensor) -> Tensor:
        """Complex STFT `[B, 2, n / hop, bins]` without centring, ends reflected."""
        hop = self.window // 4
        pad = (self.window - hop) // 2
        x = F.pad(x[:, None].float(), (pad, pad + -x.shape[-1] % hop), mode="reflect")[:, 0]
        spectrum = torch.stft(
            x,
            self.window,
            hop,
            window=hann(self.window, x.device),
            center=False,
            return_complex=True,
        )
        planes = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [B, 2, T, F]
        return planes.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> list[Tensor]:
        spectrum = self.spectrum(x)
        maps, ends = [], []
        for (low, high), layers in zip(self.edges, self.bands, strict=True):
            own = _chain(spectrum[..., low:high], layers)
            maps += own
            ends.append(own[-1])
        return [*maps, self.logits(torch.cat(ends, -1))]


class Discriminators(nn.Module):
    """All of them: `[B, n]` -> feature maps of each."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.members = nn.ModuleList(
            [
                *(PeriodDiscriminator(p, config.period_width) for p in config.periods),
                *(
                    BandDiscriminator(w, config.band_width).to(memory_format=torch.channels_last)
                    for w in config.windows
                ),
            ]
        )

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        x = x - x.mean(-1, keepdim=True)
        x = 0.8 * x / (x.abs().amax(-1, keepdim=True) + 1e-9)
        return [member(x) for member in self.members]
