"""Latent encoder g_psi: 100 Hz latents -> 64 numbers at 25, 11, 5 or 1 Hz (S-PRESSO 2.3).

Transformer blocks with RoPE, a linear layer to 64 channels, average pooling over t frames. Beyond
the paper, by configuration: `bypass` adds a linear map of the window's log-mel envelope, as the
AudioAE adds one of the MDCT, so that z describes the envelope before any training and the network
learns what the map misses; `fine_bands` extends that envelope by the window's mean spectrum in
bands fine enough for partials; `unit_rms` scales every vector to unit RMS, which limits the effect
of quantisation noise; `window_positions` tells tokens where they lie in their window; and
`log_input` gives the network the logarithm of its input's power besides the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.envelope import EnvelopeConfig
from spresso_cli.models.layers import MLP, QKV, check_qkv, merge_heads, rope_table

POWER_FLOOR = 1e-4  # of `log_input`: 40 dB below an average latent


@dataclass(frozen=True)
class LatentEncoderConfig:
    """Sizes of one latent encoder; the paper fixes depth, t and the 64 output channels."""

    pool: int
    depth: int
    width: int = 256
    heads: int = 4
    latent: int = 128
    channels: int = 64
    # Latent frames per token, a divisor of t. The paper's tokens are single frames (1).
    stride: int = 1
    unit_rms: bool = True
    # A learned vector for each place in the window. Rotary positions are only relative: without it
    # the mean over a window loses the order of events.
    window_positions: bool = False
    # Loudness is heard, and is best quantised, on a logarithmic scale, which a small network takes
    # long to learn from signed amplitudes.
    log_input: bool = False
    bypass: str = "none"  # or "envelope": principal components of the log-mels, beside the network
    fine_bands: int = 0  # of the window's mean spectrum, which the bypass describes as well

    def __post_init__(self) -> None:
        check_qkv(self.width, self.heads)
        if self.bypass not in ("none", "envelope"):
            raise ValueError(f"bypass {self.bypass!r}: use none or envelope")
        if self.pool % self.stride:
            raise ValueError(f"stride {self.stride} does not divide the pooling factor {self.pool}")

    @property
    def says_envelope(self) -> bool:
        """Whether z describes an envelope, which also needs vectors of any length."""
        return self.bypass == "envelope" and not self.unit_rms

    @property
    def envelope(self) -> EnvelopeConfig:
        """The form in which the bypass sees an envelope, and z describes it."""
        return EnvelopeConfig(self.pool, self.channels, fine=self.fine_bands)


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and MLP, `[B, T, D]` -> same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = QKV(width, heads)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.qkv(self.norm1(x), table)
        x = x + self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        return x + self.mlp(self.norm2(x))


class LatentEncoder(nn.Module):
    """g_psi of one frame rate."""

    def __init__(self, config: LatentEncoderConfig):
        super().__init__()
        self.config = config
        views = 2 if config.log_input else 1
        self.embed = nn.Linear(views * config.stride * config.latent, config.width)
        self.blocks = nn.ModuleList(
            EncoderBlock(config.width, config.heads) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.out = nn.Linear(config.width, config.channels)
        if config.window_positions:
            places = config.pool // config.stride
            self.place = nn.Parameter(0.02 * torch.randn(places, config.width))
        if config.bypass == "envelope":
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
            self.envelope = config.envelope
            self.register_buffer("mean", torch.zeros(self.envelope.inputs))
            self.register_buffer("components", torch.zeros(self.envelope.inputs, config.channels))

    @property
    def needs_mel(self) -> bool:
        """Whether `forward` needs the log-mels."""
        return self.config.bypass != "none"

    @property
    def bypass_alone(self) -> bool:
        """Whether the transformer adds nothing: z is that of the bypass, without any latents."""
        learnt = (self.out.weight, self.out.bias)
        return self.needs_mel and not any(bool(tensor.any()) for tensor in learnt)

    def fill_bypass(self, mean: Tensor, components: Tensor) -> None:
        """Take the mean envelope `[inputs]` and the map from deviations from it `[inputs, 64]`."""
        self.mean.copy_(mean)
        self.components.copy_(components)

    def forward(self, x0: Tensor | None, mel: Tensor | None = None) -> Tensor:
        """Encode whole pooling windows.

        Args:
            x0: standardised AudioAE latents `[B, n t, 128]`; None: only the bypass is used.
            mel: the sound's log-mel spectrum `[B, n t, 64 + fine]` (log_mel.py), which a bypass
                needs.

        Returns:
            z `[B, n, 64]`, unit RMS per vector where the config says so.

        Raises:
            ValueError: the log-mels are missing.
        """
        if self.needs_mel and mel is None:
            raise ValueError("an encoder with a bypass needs the log-mels as well")
        if not self.needs_mel:
            z = self._learnt(x0)  # [B, n, 64]
        else:
            z = (self.envelope.windows(mel) - self.mean) @ self.components
            if x0 is not None:
                z = self._learnt(x0) + z
        return F.rms_norm(z, z.shape[-1:], eps=1e-6) if self.config.unit_rms else z

    def _learnt(self, x0: Tensor) -> Tensor:
        """The transformer's part of z, `[B, n, 64]`, from latents `[B, n t, 128]`."""
        config = self.config
        if config.log_input:
            x0 = torch.cat((x0, ((x0 * x0 + POWER_FLOOR).log() + 4.0) / 3.0), -1)
        x = self.embed(x0.unflatten(1, (-1, config.stride)).flatten(2))  # [B, N, D]
        if config.window_positions:
            x = x + self.place.repeat(len(x[0]) // len(self.place), 1)
        # Positions are the tokens' centres in latent frames.
        offset = (config.stride - 1) / 2
        centres = torch.arange(x.shape[1], device=x.device) * config.stride + offset
        table = rope_table(centres, config.width // config.heads)
        for block in self.blocks:
            x = block(x, table)
        # The linear layer and the mean commute; pooling first is t times cheaper.
        pooled = self.norm(x).unflatten(1, (-1, config.pool // config.stride)).mean(2)
        return self.out(pooled)
