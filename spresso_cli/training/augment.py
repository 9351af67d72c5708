"""Augmentation of training sound: cheap, batched, on the device, and all in the FFT domain.

Polarity, speed by resampling, smooth random equalisation, mixing in a second sound, and level.
Every example draws its own parameters, so that no part of a batch is systematically different.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`[count]` uniform draws on the CPU."""
    return low + (high - low) * torch.rand(count, generator=generator)


# Lengths are rounded up to this many samples: an FFT of a large prime length is very slow.
_GRAIN = 4800


def _smooth_length(x: Tensor) -> Tensor:
    return F.pad(x, (0, -x.shape[-1] % _GRAIN))


def change_speed(x: Tensor, factor: float) -> Tensor:
    """Resample `[B, n]` by an FFT so that it plays about `factor` times faster, `[B, n']`.

    Frequencies that would pass the Nyquist limit are dropped.
    """
    x = _smooth_length(x)
    n = x.shape[-1]
    target = max(1, round(n / factor / _GRAIN)) * _GRAIN
    spectrum = torch.fft.rfft(x)
    bins = target // 2 + 1
    spectrum = F.pad(spectrum, (0, max(0, bins - spectrum.shape[-1])))[..., :bins]
    return torch.fft.irfft(spectrum, n=target) * (target / n)


def random_eq(x: Tensor, generator: torch.Generator) -> Tensor:
    """Smooth random equaliser: 8 knots on a log frequency axis, +-9 dB.

    Takes `[B, n]`, gives `[B, n']` with n' the next smooth length.
    """
    x = _smooth_length(x)
    batch, n = x.shape
    knots = 8
    gains = uniform(batch * knots, -9, 9, generator).view(batch, knots)
    gains = gains.to(x.device, non_blocking=True)
    bins = torch.arange(n // 2 + 1, dtype=torch.float32, device=x.device) * (48_000 / n)
    place = (torch.log2(bins.clamp(min=50.0) / 50.0) / math.log2(24_000 / 50)) * (knots - 1)
    left = place.floor().long().clamp(max=knots - 2)
    part = 0.5 - 0.5 * torch.cos(math.pi * (place - left))  # raised-cosine interpolation
    curve = gains[:, left] * (1 - part) + gains[:, left + 1] * part
    return torch.fft.irfft(torch.fft.rfft(x) * 10 ** (curve / 20), n=n)


def mix(x: Tensor, generator: torch.Generator, probability: float = 0.3) -> Tensor:
    """Add another example of the batch at -20 to +3 dB with the given probability, `[B, n]`."""
    batch = x.shape[0]
    gain = 10 ** (uniform(batch, -20, 3, generator) / 20)
    gain = gain * (torch.rand(batch, generator=generator) < probability)
    partner = torch.randperm(batch, generator=generator)
    partner = partner.to(x.device, non_blocking=True)
    return x + gain[:, None].to(x, non_blocking=True) * x[partner]


def set_peak(x: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """Random polarity, and peak between `low` and `high` dBFS; silence stays silence."""
    batch = x.shape[0]
    peak = 10 ** (uniform(batch, low, high, generator) / 20)
    sign = torch.randint(0, 2, (batch,), generator=generator) * 2 - 1
    scale = (peak * sign).to(x, non_blocking=True) / x.abs().amax(-1).clamp(min=1e-4)
    return x * scale[:, None]
