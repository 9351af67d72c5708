"""Mel filters, and a log-mel spectrum with one frame for each latent frame; finer bands can be
added after the usual ones."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.audio_ae import SAMPLE_RATE

BANDS = 64
LOWEST, HIGHEST = 50.0, 20_000.0  # Hz, ends of the outer bands
WINDOW = 2048
FLOOR = 1e-2  # of a band's summed magnitudes; a full-scale sine has 512, white noise of 1e-5 less

# Everything that the values depend on: those of different definitions must not be mixed.
DEFINITION = (BANDS, LOWEST, HIGHEST, WINDOW, FLOOR)


def mel_filters(n_fft: int, bands: int, low: float, high: float, narrowest: float = 0.0) -> Tensor:
    """Triangular filters evenly spaced on the HTK mel scale, unit peak, `[n_fft/2 + 1, bands]`.

    Args:
        narrowest: least width of each side of a triangle, Hz.
    """

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1 + hz / 700.0)

    points = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64)
    hz = 700.0 * (10 ** (points / 2595.0) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    below, above = ((hz[1:] - hz[:-1]).clamp(min=narrowest)[i : i + bands] for i in (0, 1))
    rise = (bins - hz[1:-1]) / below + 1
    fall = 1 - (bins - hz[1:-1]) / above
    return torch.minimum(rise, fall).clamp(min=0).float()


@lru_cache(maxsize=8)
def to_fine_bands(fine: int, device: torch.device) -> Tensor:
    """The matrix `[64, fine]` from values of bands to finer bands: linear in mel between the
    middles of bands, constant beyond the outer ones."""
    with torch.inference_mode(False):  # cached, and training may use it after inference made it
        place = torch.arange(1, fine + 1, dtype=torch.float64) * (BANDS + 1) / (fine + 1) - 1
        place = place.clamp(0, BANDS - 1)
        distance = (place - torch.arange(BANDS, dtype=torch.float64)[:, None]).abs()
        return (1 - distance).clamp(min=0).float().to(device)


def fine_detail(mel: Tensor) -> Tensor:
    """What finer bands show of the mean spectrum of windows and 64 bands do not.

    Args:
        mel: log-mels with finer bands, `[..., T, 64 + fine]`: one window each.

    Returns:
        Natural logarithms, 0 where the spectrum is smooth, `[..., fine]`. Means are over power, so
        that a sound that is short in its window still determines them.
    """
    mean = 0.5 * ((2 * mel).logsumexp(-2) - math.log(mel.shape[-2]))
    fine = mel.shape[-1] - BANDS
    return mean[..., BANDS:] - mean[..., :BANDS] @ to_fine_bands(fine, mel.device)


def going_on(mel: Tensor, sounding: Tensor) -> Tensor:
    """Log-mels `[B, T, bands]` of sounds with `sounding` frames each `[B]`, whose last frame is
    repeated after their end. The decoder cuts that part off, so no numbers are spent on silence."""
    last = sounding.clamp(min=1)[:, None] - 1
    place = torch.arange(mel.shape[1], device=mel.device).minimum(last)
    return mel.gather(1, place[..., None].expand_as(mel))


class LogMel(nn.Module):
    """Natural log of a mel spectrum, `[B, hop T]` -> `[B, T, 64 + fine]`; frame j is centred on
    sample hop (j + 0.5), and the sound is zero beyond its ends.

    Finer bands come after the others, at the same level: a smooth spectrum has the same values in
    both, and so has silence. They are no narrower than a bin.
    """

    def __init__(self, hop: int, fine: int = 0) -> None:
        super().__init__()
        self.hop = hop
        filters = mel_filters(WINDOW, BANDS, LOWEST, HIGHEST)
        if fine:
            finer = mel_filters(WINDOW, fine, LOWEST, HIGHEST, SAMPLE_RATE / WINDOW)
            level = filters.sum(0).log() @ to_fine_bands(fine, filters.device)
            filters = torch.cat((filters, finer / finer.sum(0) * level.exp()), 1)
        self.register_buffer("filters", filters, persistent=False)  # [1025, 64 + fine]
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self.spectrum(x))

    def spectrum(self, x: Tensor) -> Tensor:
        """Sound `[B, hop T]` -> windowed spectra, complex `[B, T, 1025]`."""
        centred = F.pad(x, ((WINDOW - self.hop) // 2,) * 2)
        return torch.fft.rfft(centred.unfold(-1, WINDOW, self.hop) * self.window)

    def of(self, spectrum: Tensor) -> Tensor:
        """Spectra `[B, T, 1025]` -> log-mel `[B, T, 64 + fine]`."""
        return (spectrum.abs() @ self.filters).clamp(min=FLOOR).log()

    def sound(self, spectrum: Tensor) -> Tensor:
        """The sound whose spectra are nearest to these (Griffin and Lim, eq. 6)."""
        frames = torch.fft.irfft(spectrum, n=WINDOW) * self.window  # [B, T, 2048]
        return self._overlap_add(frames) / self._overlap_add(
            (self.window**2).expand(1, frames.shape[1], -1)
        )

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """`[B, T, 2048]` -> `[B, hop T]`; parts beyond either end are cut off."""
        count, pad = frames.shape[1], (WINDOW - self.hop) // 2
        length = (count - 1) * self.hop + WINDOW
        whole = F.fold(frames.transpose(1, 2), (1, length), (1, WINDOW), stride=(1, self.hop))
        return whole[:, 0, 0, pad : pad + count * self.hop]
