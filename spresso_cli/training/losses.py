"""Losses of the AudioAE: DAC's (Kumar et al. 2023, section 3.5), a complex STFT loss, waveform L1.

Multi-scale mel, LSGAN and feature matching follow DAC to the letter. The compressed complex STFT
loss is ours: it depends on phase, which a mel spectrogram does not see, and on quiet bins. Windows
and filters are made once per device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from spresso_cli.models.audio_ae import SAMPLE_RATE

MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""Window length and mel bands of DAC's seven scales; the hop is a quarter of the window."""

MEL_FLOOR = 1e-5
STFT_WINDOWS = (512, 1024, 2048)
STFT_POWER = 0.5  # exponent of the magnitudes in the complex loss
_STFT_FLOOR = 1e-4  # of magnitudes: keeps the gradient of the compression finite


@lru_cache(maxsize=64)
def hann(size: int, device: torch.device) -> Tensor:
    """Periodic Hann window, float32 `[size]`."""
    return torch.hann_window(size, device=device)


def _slaney_hz(mel: Tensor) -> Tensor:
    """Slaney's mel scale to Hz: linear below 1 kHz (15 mel), logarithmic above."""
    return torch.where(mel < 15.0, mel * 200 / 3, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))


@lru_cache(maxsize=64)
def mel_filters(n_fft: int, bands: int, device: torch.device) -> Tensor:
    """librosa's default mel matrix, 0 Hz to Nyquist, unit area, float32 `[n_fft/2+1, bands]`.

    At small `n_fft` some bands fall between two bins and stay empty; the floor makes them agree.
    """
    nyquist = SAMPLE_RATE / 2
    top = 15.0 + 27.0 * torch.log(torch.tensor(nyquist / 1000, dtype=torch.float64)) / (
        torch.log(torch.tensor(6.4, dtype=torch.float64))
    )
    edges = _slaney_hz(torch.arange(bands + 2, dtype=torch.float64) * (top / (bands + 1)))
    bins = torch.linspace(0, nyquist, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0) * (2.0 / (edges[2:] - edges[:-2]))
    return filters.float().to(device)


def stft(x: Tensor, window: int) -> Tensor:
    """Centred STFT with reflected ends, hop a quarter window: `[B, n]` -> complex `[B, F, T]`."""
    return torch.stft(x, window, window // 4, window=hann(window, x.device), return_complex=True)


def _log_mel(x: Tensor, window: int, bands: int) -> Tensor:
    """log10 of mel magnitudes `[B, T, bands]`."""
    spectrum = stft(x, window)
    # abs() of a complex zero has no gradient; the floor on the square gives it zero.
    magnitude = (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-12).sqrt()
    mel = magnitude.transpose(1, 2) @ mel_filters(window, bands, x.device)
    return mel.clamp(min=MEL_FLOOR).log10()


def mel_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Multi-scale mel distance: mean |log10 mel difference| of each scale, summed over scales.

    Args:
        estimate, target: float32 `[B, n]` at 48 kHz, n over 1024.
    """
    total = estimate.new_zeros(())
    for window, bands in MEL_SCALES:
        with torch.no_grad():
            wanted = _log_mel(target, window, bands)
        total = total + (_log_mel(estimate, window, bands) - wanted).abs().mean()
    return total


def _compressed(x: Tensor, window: int) -> Tensor:
    """STFT with magnitudes to the power `STFT_POWER` and phases kept, real `[B, F, T, 2]`."""
    parts = torch.view_as_real(stft(x, window))
    power = parts.square().sum(-1, keepdim=True) + _STFT_FLOOR**2
    return parts * power ** (0.5 * (STFT_POWER - 1))


def stft_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean |difference| of real and imaginary parts of compressed spectra, summed over windows."""
    total = estimate.new_zeros(())
    for window in STFT_WINDOWS:
        with torch.no_grad():
            wanted = _compressed(target, window)
        total = total + (_compressed(estimate, window) - wanted).abs().mean()
    return total


def waveform_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the samples."""
    return (estimate - target).abs().mean()


Maps = Sequence[Sequence[Tensor]]
"""Of each discriminator the outputs of its layers; the last one is the map of logits."""


def discriminator_loss(real: Maps, fake: Maps) -> Tensor:
    """LSGAN, summed over discriminators: mean (1 - D(x))^2 + mean D(xhat)^2."""
    return torch.stack(
        [
            (1 - r[-1].float()).square().mean() + f[-1].float().square().mean()
            for r, f in zip(real, fake, strict=True)
        ]
    ).sum()


def adversarial_loss(fake: Maps) -> Tensor:
    """LSGAN for the generator, summed over discriminators: mean (1 - D(xhat))^2."""
    return torch.stack([(1 - f[-1].float()).square().mean() for f in fake]).sum()


def feature_loss(real: Maps, fake: Maps) -> Tensor:
    """L1 between feature maps, sum of means over all layers but the last; real is constant."""
    return torch.stack(
        [
            (f.float() - r.detach().float()).abs().mean()
            for reals, fakes in zip(real, fake, strict=True)
            for r, f in zip(reals[:-1], fakes[:-1], strict=True)
        ]
    ).sum()
