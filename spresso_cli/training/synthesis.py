"""Building blocks of synthetic sound, batched: `[B, n]` float32 at 48 kHz (for procedural.py).

A `Voice` holds what a batch of effects of one kind and length is made from. Every effect has its
own random generator, so that a sound does not depend on which others are rendered with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.audio_ae import SAMPLE_RATE

MOST_REPEATS = 4  # a second, of `repeated`
_STFT, _HOP = 1024, 256


@dataclass(frozen=True)
class Voice:
    """A batch in the making: named values `[B, 1]`, one generator each, length in samples."""

    values: Mapping[str, Tensor]
    generators: Sequence[torch.Generator]
    samples: int
    device: torch.device

    def __getitem__(self, name: str) -> Tensor:
        return self.values[name]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in 0..1, `[B, *shape]`."""
        return torch.stack([torch.rand(shape, generator=g) for g in self.generators]).to(
            self.device
        )

    def noise(self, samples: int | None = None) -> Tensor:
        """White Gaussian noise `[B, n]`."""
        n = samples or self.samples
        return torch.stack([torch.randn(n, generator=g) for g in self.generators]).to(self.device)

    def time(self) -> Tensor:
        """Seconds `[n]`."""
        return torch.arange(self.samples, device=self.device) / SAMPLE_RATE

    def slow(self, rate: float) -> Tensor:
        """A smooth random curve in 0..1 that changes about `rate` times a second, `[B, n]`."""
        knots = max(2, math.ceil(rate * self.samples / SAMPLE_RATE) + 1)
        curve = F.interpolate(
            self.uniform(knots)[:, None], self.samples, mode="linear", align_corners=True
        )[:, 0]
        return 0.5 - 0.5 * torch.cos(math.pi * curve)


def band(x: Tensor, low: Tensor | float, high: Tensor | float, order: float = 2.0) -> Tensor:
    """`x` `[B, n]` between two corner frequencies in Hz, `[B, 1]` or scalars, with soft edges."""
    n = x.shape[-1]
    hz = torch.arange(n // 2 + 1, device=x.device) * (SAMPLE_RATE / n) + 1.0
    gain = 1 / (1 + (low / hz) ** (2 * order)) / (1 + (hz / high) ** (2 * order))
    return torch.fft.irfft(torch.fft.rfft(x) * gain.sqrt(), n=n)


def moving_band(x: Tensor, centre: Tensor, octaves: Tensor | float) -> Tensor:
    """`x` `[B, n]` through a resonance at `centre` Hz `[B, n]`, about `octaves` wide."""
    window = torch.hann_window(_STFT, device=x.device)
    spectrum = torch.stft(
        x, _STFT, _HOP, window=window, pad_mode="constant", return_complex=True
    )  # [B, F, T]
    frames = spectrum.shape[-1]
    at = F.interpolate(centre[:, None], frames, mode="linear", align_corners=True)  # [B, 1, T]
    hz = torch.arange(_STFT // 2 + 1, device=x.device)[:, None] * (SAMPLE_RATE / _STFT) + 1.0
    width = octaves[..., None] if isinstance(octaves, Tensor) else octaves
    gain = torch.exp(-0.5 * (torch.log2(hz / at) / (0.5 * width)) ** 2)
    return torch.istft(spectrum * gain, _STFT, _HOP, window=window, length=x.shape[-1])


def modes(time: Tensor, hz: Tensor, decay: Tensor, gain: Tensor) -> Tensor:
    """Sum of damped sines: `hz`, `decay` (seconds to 1/e) and `gain` `[B, M]` -> `[B, n]`."""
    total = torch.zeros(len(hz), len(time), device=time.device)
    for m in range(hz.shape[1]):  # one mode at a time: all at once would fill the memory
        damped = torch.exp(-time / decay[:, m : m + 1])
        audible = (hz[:, m : m + 1] < 0.45 * SAMPLE_RATE) * gain[:, m : m + 1]
        total += audible * damped * torch.sin(2 * math.pi * hz[:, m : m + 1] * time)
    return total


def tone(hz: Tensor) -> Tensor:
    """A sine of changing frequency `hz` `[B, n]`."""
    return torch.sin(2 * math.pi * torch.cumsum(hz / SAMPLE_RATE, -1))


def attack_decay(time: Tensor, attack: Tensor | float, decay: Tensor | float) -> Tensor:
    """Rises over `attack` seconds, falls to 1/e in `decay` seconds; `[B, n]` or `[n]`."""
    return (time / attack).clamp(max=1.0) * torch.exp(-(time - attack).clamp(min=0) / decay)


def scattered(voice: Voice, rate: Tensor, tail: float = 1.0) -> Tensor:
    """Impulses at random times, `rate` a second on average `[B, 1]`, heights `u ** tail`, `[B, n]`.

    A larger `tail` makes most of them small.
    """
    happens = voice.uniform(voice.samples) < rate / SAMPLE_RATE
    return happens * voice.uniform(voice.samples) ** tail


def repeated(voice: Voice, rate: Tensor, jitter: float) -> Tensor:
    """Impulses about every 1 / `rate` seconds `[B, 1]`, heights 0.7 to 1, `[B, n]`.

    The same number is drawn for every rate, at most `MOST_REPEATS` a second.
    """
    count = MOST_REPEATS * voice.samples // SAMPLE_RATE
    beats = torch.arange(count, device=voice.device) + 0.2 + jitter * voice.uniform(count)
    at = (beats / rate * SAMPLE_RATE).long()  # [B, count]
    height = (0.7 + 0.3 * voice.uniform(count)) * (at < voice.samples)
    train = torch.zeros(len(at), voice.samples, device=voice.device)
    return train.scatter_add_(1, at.clamp(max=voice.samples - 1), height)


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """`x` `[B, n]` with `kernel` `[B, m]`, the first n samples."""
    size = x.shape[-1] + kernel.shape[-1]
    size += -size % 4800  # smooth lengths: an FFT of a large prime length is slow
    product = torch.fft.rfft(x, n=size) * torch.fft.rfft(kernel, n=size)
    return torch.fft.irfft(product, n=size)[:, : x.shape[-1]]


def reverberated(voice: Voice, x: Tensor) -> Tensor:
    """`x` with a diffuse tail of `room` seconds (0: dry) mixed in."""
    time = voice.time()
    room = voice["room"]
    tail = voice.noise() * torch.exp(-time / (0.15 * room).clamp(min=1e-3))
    tail = band(tail, 100.0, 6000.0)
    tail = tail / tail.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-6)
    return torch.where(room > 0, x + 0.7 * convolved(x, tail), x)
