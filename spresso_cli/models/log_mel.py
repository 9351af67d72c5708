"""Mel filters, and a log-mel spectrum with one frame for each latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.audio_ae import SAMPLE_RATE

BANDS = 64
LOWEST, HIGHEST = 50.0, 20_000.0  # Hz, ends of the outer bands
WINDOW = 2048
FLOOR = 1e-2  # of a band's summed magnitudes; a full-scale sine has 512, white noise of 1e-5 less

# All that the numbers depend on: what was computed by another definition is not to be mixed in.
DEFINITION = (BANDS, LOWEST, HIGHEST, WINDOW, FLOOR)


def mel_filters(n_fft: int, bands: int, low: float, high: float) -> Tensor:
    """Triangular filters evenly spaced on the HTK mel scale, unit peak, `[n_fft/2 + 1, bands]`."""

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1 + hz / 700.0)

    points = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64)
    hz = 700.0 * (10 ** (points / 2595.0) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rise = (bins - hz[:-2]) / (hz[1:-1] - hz[:-2])
    fall = (hz[2:] - bins) / (hz[2:] - hz[1:-1])
    return torch.minimum(rise, fall).clamp(min=0).float()


class LogMel(nn.Module):
    """Natural log of a mel spectrum, `[B, hop T]` -> `[B, T, 64]`; frame j is centred on
    sample hop (j + 0.5), and what lies outside of the sound is zero."""

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        filters = mel_filters(WINDOW, BANDS, LOWEST, HIGHEST)
        self.register_buffer("filters", filters, persistent=False)  # [1025, 64]
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self.spectrum(x))

    def spectrum(self, x: Tensor) -> Tensor:
        """Sound `[B, hop T]` -> windowed spectra, complex `[B, T, 1025]`."""
        centred = F.pad(x, ((WINDOW - self.hop) // 2,) * 2)
        return torch.fft.rfft(centred.unfold(-1, WINDOW, self.hop) * self.window)

    def of(self, spectrum: Tensor) -> Tensor:
        """Spectra `[B, T, 1025]` -> log-mel `[B, T, 64]`."""
        return (spectrum.abs() @ self.filters).clamp(min=FLOOR).log()

    def sound(self, spectrum: Tensor) -> Tensor:
        """The sound whose spectra come nearest (Griffin and Lim, eq. 6): inverse of `spectrum`."""
        frames = torch.fft.irfft(spectrum, n=WINDOW) * self.window  # [B, T, 2048]
        return self._overlap_add(frames) / self._overlap_add(
            (self.window**2).expand(1, frames.shape[1], -1)
        )

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """`[B, T, 2048]` -> `[B, hop T]`, what reaches beyond either end cut off."""
        count, pad = frames.shape[1], (WINDOW - self.hop) // 2
        length = (count - 1) * self.hop + WINDOW
        whole = F.fold(frames.transpose(1, 2), (1, length), (1, WINDOW), stride=(1, self.hop))
        return whole[:, 0, 0, pad : pad + count * self.hop]
