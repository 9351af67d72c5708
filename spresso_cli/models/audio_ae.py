"""AudioAE: 48 kHz sound <-> 128 latents at exactly 100 Hz (S-PRESSO 2.1).

A Vocos-style decoder predicts complex STFT coefficients, the encoder mirrors it, and every layer
keeps the 100 Hz frame rate. Beyond the paper, `bypass = "mdct"` adds a linear path: the first MDCT
coefficients of each frame are added to the latent and synthesised back, so that the networks only
have to learn what a linear code misses. A latent of 128 numbers has no room for the MDCT bins above
these; `high_bands` instead uses the last few numbers for the levels of that many bands up there,
from which the decoder's magnitudes start. `noise_from` replaces the phases that the decoder would
predict for high bins by noise: without adversarial training it cannot know them, and repeats the
same guess in every frame, which is heard as a buzz at the frame rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLE_RATE = 48_000
# The bypass matrices stay orthonormal; the scale between them and the network's latent is a
# constant outside, because Adam destroys a small synthesis matrix within a few steps.
BYPASS_SCALE = 8.0
SMOOTHED = 9  # bins (450 Hz) whose powers are averaged where phases are noise
# A level is the natural logarithm of the root mean square of a band's bins, and at least that of
# white noise of -106 dB. As latents, levels are standardised by about the mean and standard
# deviation that they have in training sounds.
LEVEL_FLOOR, LEVEL_MEAN, LEVEL_STD = 1e-4, -4.0, 2.5
# Their standard deviation in standardised latents, where all others have 1: levels then stand out
# of the same noise four times as far, so a denoiser settles them before the details, and four times
# as exactly.
LEVEL_SPREAD = 4.0
_LOG_MAGNITUDE = 4.0  # subtracted from the head's logarithms of magnitudes, which so start at -4


@dataclass(frozen=True)
class AudioAEConfig:
    """Sizes of an AudioAE; the paper fixes n_fft, hop and latent, and leaves the rest open."""

    dim: int = 384
    encoder_blocks: int = 8
    decoder_blocks: int = 8
    kernel: int = 7
    expansion: int = 3
    latent: int = 128
    n_fft: int = 960
    hop: int = 480
    bypass: str = "mdct"  # "none" | "mdct"
    high_bands: int = 0  # above the bypass; their levels replace MDCT rows in the last latents
    noise_from: int | None = None  # STFT bin from which decoding takes given phases; None: none

    def __post_init__(self) -> None:
        if self.bypass not in ("none", "mdct"):
            raise ValueError(f"bypass must be 'none' or 'mdct', not {self.bypass!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel}: an odd number keeps the frame rate")
        if self.n_fft != 2 * self.hop:
            raise ValueError(f"n_fft {self.n_fft} is not twice the hop of {self.hop}")
        if self.high_bands and (self.bypass == "none" or not 0 < self.high_bands < self.latent):
            raise ValueError("high_bands are latents that a bypass does without: fewer than all")
        if self.noise_from is not None and not 0 < self.noise_from <= self.n_fft // 2:
            raise ValueError(f"noise_from must be a bin up to {self.n_fft // 2}")

    @property
    def rows(self) -> int:
        """MDCT rows of the bypass; also the first STFT bin above them, as both are 50 Hz apart."""
        return self.latent - self.high_bands

    @property
    def phases(self) -> int:
        """How many phases of a frame are taken from noise."""
        return 0 if self.noise_from is None else self.n_fft // 2 + 1 - self.noise_from

    @property
    def context(self) -> int:
        """Frames on either side that an output depends on, in the deeper of encoder and decoder."""
        blocks = max(self.encoder_blocks, self.decoder_blocks)
        return (self.kernel // 2) * (blocks + 1) + 1  # + 1: a frame's own STFT overlap


class ConvNeXtBlock(nn.Module):
    """Depthwise conv, LayerNorm, inverted MLP, learned scale, residual: `[B, T, D]` -> same."""

    def __init__(self, dim: int, kernel: int, expansion: int, blocks: int):
        super().__init__()
        self.dw = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.up = nn.Linear(dim, expansion * dim)
        self.down = nn.Linear(expansion * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1.0 / blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.dw(x.transpose(1, 2)).transpose(1, 2)
        return x + self.gamma * self.down(F.gelu(self.up(self.norm(h))))


class Backbone(nn.Module):
    """Vocos backbone at constant frame rate: `[B, T, inputs]` -> `[B, T, dim]`."""

    def __init__(self, inputs: int, dim: int, kernel: int, expansion: int, blocks: int):
        super().__init__()
        self.embed = nn.Conv1d(inputs, dim, kernel, padding=kernel // 2)
        self.norm_in = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(dim, kernel, expansion, blocks) for _ in range(blocks)
        )
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_in(self.embed(x.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)


def mdct_rows(hop: int, rows: int) -> Tensor:
    """The first `rows` vectors of a sine-window MDCT, orthonormal, float32 `[rows, 2 hop]`.

    With the same rows transposed as synthesis and overlap-add at `hop`, all `hop` rows
    reconstruct perfectly (Princen-Bradley).
    """
    n = torch.arange(2 * hop, dtype=torch.float64)
    k = torch.arange(rows, dtype=torch.float64)[:, None]
    window = torch.sin(math.pi * (n + 0.5) / (2 * hop))
    basis = torch.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
    return (math.sqrt(2.0 / hop) * window * basis).float()


def high_band_matrices(first: int, bins: int, bands: int) -> tuple[Tensor, Tensor]:
    """Bands evenly spaced on the mel scale over STFT bins `first` to `bins - 1` (Nyquist).

    Returns:
        The matrix from powers of these bins to the means of bands, `[bins - first, bands]`, and the
        matrix from values of bands to bins, linear between the middles of bands and constant beyond
        the outer ones, `[bands, bins - first]`.
    """
    bin_hz = SAMPLE_RATE / 2 / (bins - 1)
    low, high = (math.log1p(hz / 700) for hz in (first * bin_hz, SAMPLE_RATE / 2))
    edges = 700 * torch.linspace(low, high, bands + 1, dtype=torch.float64).expm1() / bin_hz
    edges = (edges.round() - first).long()
    edges[-1] = bins - first  # Nyquist is in the last one
    place = torch.arange(bins - first)[:, None]
    inside = ((place >= edges[:-1]) & (place < edges[1:])).double()
    middles = ((edges[:-1] + edges[1:] - 1) / 2).numpy()
    weights = [np.interp(place[:, 0], middles, row) for row in np.eye(bands)]
    means = inside / inside.sum(0).clamp(min=1)
    return means.float(), torch.from_numpy(np.stack(weights)).float()


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """`[B, T, 2 hop]` -> `[B, (T + 1) hop]`: frame j starts at sample j * hop."""
    first, second = frames[..., :hop], frames[..., hop:]
    return (F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))).flatten(1)


def _power(level: Tensor) -> Tensor:
    """Powers of levels in nepers, finite for any latents."""
    return (2 * level).clamp(max=40.0).exp()


class AudioAE(nn.Module):
    """The autoencoder. `encode` and `decode` work on latents standardised per channel.

    Both directions see at most `context` frames beyond a frame on either side, so that a long
    sound can be processed in pieces that overlap by that much and give the same result.
    """

    def __init__(self, config: AudioAEConfig):
        super().__init__()
        self.config = config
        dim, bins = config.dim, config.n_fft + 2  # real and imaginary (or m and p), 962 channels
        shape = (config.kernel, config.expansion)
        self.enc = Backbone(bins, dim, *shape, config.encoder_blocks)
        self.to_latent = nn.Linear(dim, config.latent)
        self.dec = Backbone(config.latent, dim, *shape, config.decoder_blocks)
        self.head = nn.Linear(dim, bins)
        if config.bypass == "mdct":
            rows = mdct_rows(config.hop, config.rows)
            self.ana = nn.Parameter(rows)  # [rows, 960]
            self.syn = nn.Parameter(rows.T.contiguous())  # [960, rows]
        if config.high_bands:
            to, back = high_band_matrices(config.rows, bins // 2, config.high_bands)
            self.register_buffer("to_bands", to, persistent=False)
            self.register_buffer("to_bins", back, persistent=False)
        self.register_buffer("latent_mean", torch.zeros(config.latent))
        self.register_buffer("latent_std", torch.ones(config.latent))
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.apply(self._init)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def _frames(self, x: Tensor, mode: str) -> Tensor:
        """Overlapping frames `[B, T, 960]`; frame j covers samples [480 j - 240, 480 j + 720)."""
        pad = (self.config.n_fft - self.config.hop) // 2
        x = F.pad(x[:, None], (pad, pad), mode=mode)[:, 0]
        return x.unfold(-1, self.config.n_fft, self.config.hop)

    def encode_raw(self, x: Tensor) -> Tensor:
        """`[B, 480 T]` -> latents before standardisation `[B, T, 128]` (training)."""
        spectrum = torch.fft.rfft(self._frames(x, "reflect") * self.window)  # [B, T, 481]
        # Magnitude to the power 0.5: quiet content stays visible to the network.
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-14)
        features = torch.cat((spectrum.real, spectrum.imag), -1)
        features = features * magnitude.rsqrt().repeat(1, 1, 2)
        z = self.to_latent(self.enc(features))
        if self.config.bypass == "mdct":
            known = BYPASS_SCALE * (self._frames(x, "constant") @ self.ana.T)
            if self.config.high_bands:
                known = torch.cat((known, self._levels(magnitude)), -1)
            z = z + known
        return z

    def _levels(self, magnitude: Tensor) -> Tensor:
        """Magnitudes `[B, T, 481]` -> latents that are levels of high bands, `[B, T, bands]`."""
        power = magnitude[..., self.config.rows :].square() @ self.to_bands
        return (0.5 * (power + LEVEL_FLOOR**2).log() - LEVEL_MEAN) / LEVEL_STD

    def decode_raw(self, z: Tensor, phases: Tensor | None = None) -> Tensor:
        """Latents before standardisation `[B, T, 128]` -> sound `[B, 480 T]` (training)."""
        return self.decode_parts(z, phases)[0]

    def decode_parts(self, z: Tensor, phases: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The sound, and the part of it whose phases the network predicted, `[B, 480 T]` each.

        `phases` is `[T, phases]` or `[B, T, phases]`; without it the two results are the same.
        """
        m, p = self.head(self.dec(z)).chunk(2, dim=-1)  # [B, T, 481] each
        m, rows = m.float() - _LOG_MAGNITUDE, self.config.rows
        if self.config.high_bands:
            low, high = m.tensor_split((rows,), -1)
            m = torch.cat((low, self._raised(high + _LOG_MAGNITUDE, z[..., rows:].float())), -1)
        magnitude = torch.exp(m).clamp(max=100.0)
        noise = None
        if phases is not None and self.config.noise_from is not None:
            first = self.config.noise_from
            noise = self._noise(magnitude[..., first:], phases)  # [B, T, 960]
            magnitude, p = magnitude[..., :first], p[..., :first]
        frames = torch.fft.irfft(torch.polar(magnitude, p.float()), n=self.config.n_fft)
        hop, pad = self.config.hop, (self.config.n_fft - self.config.hop) // 2
        sound = overlap_add(frames * self.window, hop)
        weights = overlap_add((self.window**2).expand(1, z.shape[1], -1), hop)[:, pad:-pad]
        sound = sound[:, pad:-pad] / weights
        if self.config.bypass == "mdct":
            linear = overlap_add(z[..., :rows] @ self.syn.T, hop) / BYPASS_SCALE
            sound = sound + linear[:, pad:-pad]
        if noise is None:
            return sound, sound
        # Frames with phases of their own add up in power, not in amplitude.
        noise = overlap_add(noise * self.window, hop)[:, pad:-pad] / weights.sqrt()
        return sound + noise, sound

    def _raised(self, shape: Tensor, latents: Tensor) -> Tensor:
        """Logarithms of magnitudes in high bins, `[B, T, 481 - rows]`.

        Args:
            shape: what the network adds to the levels of bands, shaped like the result.
            latents: those that hold these levels, `[B, T, bands]`.
        """
        levels = LEVEL_MEAN + LEVEL_STD * latents
        high = levels @ self.to_bins + shape
        if self.config.noise_from is None:
            return high
        # Losses on logarithms make noise too quiet, because the mean of its power is above the
        # median: so the network shapes a band but does not determine its power.
        own = _power(high) @ self.to_bands
        wanted = _power(levels) - LEVEL_FLOOR**2  # silence is silent
        wrong = wanted.clamp(min=1e-20).log() - own.clamp(min=1e-20).log()
        return high + 0.5 * wrong @ (self.to_bands > 0).to(wrong).T

    def _noise(self, magnitude: Tensor, phases: Tensor) -> Tensor:
        """Noise in the upper bins, frames `[B, T, 960]`, scaled so that the spectra of windowed
        frames have the magnitudes `[B, T, 481 - noise_from]`."""
        n_fft = self.config.n_fft
        # The magnitudes buzz too, as every second bin is a multiple of the frame rate: smooth them.
        power = F.avg_pool1d(F.pad(magnitude**2, (SMOOTHED // 2,) * 2, "replicate"), SMOOTHED, 1)
        spectrum = torch.polar(power.sqrt(), 2 * math.pi * phases.expand_as(power))
        spectrum = F.pad(spectrum, (n_fft // 2 + 1 - power.shape[-1], 0))
        return torch.fft.irfft(spectrum, n=n_fft) / (self.window**2).mean().sqrt()

    def encode(self, x: Tensor) -> Tensor:
        """Sound to standardised latents.

        Args:
            x: float32 `[B, n]` at 48 kHz, n a positive multiple of 480 (zero-pad the end).

        Returns:
            float32 `[B, n / 480, 128]`, zero mean and unit std per channel over training sound;
            latents that are levels have a std of `LEVEL_SPREAD`.
        """
        return (self.encode_raw(x) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor, phases: Tensor | None = None) -> Tensor:
        """Standardised latents to sound.

        Args:
            latents: `[B, T, 128]`.
            phases: uniform noise 0 to 1, `[T, config.phases]`, for an AudioAE with `noise_from`;
                None keeps the phases that the network predicts.

        Returns:
            48 kHz sound `[B, 480 T]`.
        """
        return self.decode_raw(latents * self.latent_std + self.latent_mean, phases)
